//! What is to be done, as a value: steps of commands that check, act and wait, and what must come before what.
//!
//! A plan does nothing. [`super::run`](mod@super::run) carries it out and [`Plan::script`] writes the same commands as a shell
//! script, so what `--dry-run` prints can be read, compared, and run.

use std::time::Duration;

use super::command::{Command, quoted};

/// Steps in an order in which they could be done one by one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub steps: Vec<Step>,
}

/// One thing that will be there afterwards. Steps that don't come after each other run side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// A word: what other steps and scripts call it.
    pub name: &'static str,
    /// What a person is told.
    pub title: String,
    pub after: Vec<&'static str>,
    pub parts: Vec<Part>,
    /// Done when the run is interrupted or fails after this step began.
    pub undo: Vec<Command>,
    /// What to do where it fails and nothing better is known.
    pub help: Option<String>,
}

/// Commands that belong together, and when they are needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// All of these must hold, or the part does not apply.
    pub when: Vec<Check>,
    /// Where there are any and all of them hold, the part is done already.
    pub unless: Vec<Check>,
    pub acts: Vec<Act>,
    /// Done in their place where one of them fails.
    pub otherwise: Vec<Act>,
}

/// A question to a command that changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub command: Command,
    pub holds: Holds,
}

/// When a check holds. A command that fails never does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holds {
    /// It succeeds.
    Succeeds,
    /// A line that it prints has this in it.
    Says(String),
    /// It prints nothing.
    Empty,
}

/// Something to do or to wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    Run(Command),
    /// A command that waits by itself; meanwhile it is asked what it is waiting for.
    Wait {
        command: Command,
        watch: Watch,
    },
    /// A command that is repeated until its output has a text in it.
    Until {
        command: Command,
        says: String,
        deadline: Duration,
    },
}

/// What tells why a wait isn't over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watch {
    Nodes {
        kubectl: Command,
    },
    /// The objects of one helm release, in the namespace that this `kubectl` is told.
    Release {
        name: String,
        kubectl: Command,
    },
}

impl Step {
    pub fn new(name: &'static str, title: impl Into<String>) -> Step {
        Step {
            name,
            title: title.into(),
            after: Vec::new(),
            parts: Vec::new(),
            undo: Vec::new(),
            help: None,
        }
    }

    pub fn after(mut self, names: &[&'static str]) -> Step {
        self.after.extend(names);
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Step {
        self.help = Some(help.into());
        self
    }

    pub fn part(mut self, part: Part) -> Step {
        self.parts.push(part);
        self
    }
}

impl Part {
    /// Commands that are always run.
    pub fn always(commands: impl IntoIterator<Item = Command>) -> Part {
        Part {
            acts: commands.into_iter().map(Act::Run).collect(),
            ..Part::default()
        }
    }

    /// Commands that are run unless all of these hold.
    pub fn unless(
        checks: impl IntoIterator<Item = Check>,
        commands: impl IntoIterator<Item = Command>,
    ) -> Part {
        Part {
            unless: checks.into_iter().collect(),
            ..Part::always(commands)
        }
    }

    /// Commands that are run when all of these hold.
    pub fn when(
        checks: impl IntoIterator<Item = Check>,
        commands: impl IntoIterator<Item = Command>,
    ) -> Part {
        Part {
            when: checks.into_iter().collect(),
            ..Part::always(commands)
        }
    }

    /// A wait.
    pub fn wait(act: Act) -> Part {
        Part {
            acts: vec![act],
            ..Part::default()
        }
    }
}

impl Check {
    pub fn succeeds(command: Command) -> Check {
        Check {
            command,
            holds: Holds::Succeeds,
        }
    }

    pub fn says(command: Command, text: impl Into<String>) -> Check {
        Check {
            command,
            holds: Holds::Says(text.into()),
        }
    }

    pub fn is_empty(command: Command) -> Check {
        Check {
            command,
            holds: Holds::Empty,
        }
    }

    fn script(&self) -> String {
        let line = self.command.line();
        match &self.holds {
            Holds::Succeeds => format!("{line} >/dev/null 2>&1"),
            Holds::Says(text) => format!("{line} 2>/dev/null | grep -qF -e {}", quoted(text)),
            Holds::Empty => format!("said=$({line} 2>/dev/null) && [ -z \"$said\" ]"),
        }
    }
}

impl Act {
    pub fn command(&self) -> &Command {
        match self {
            Act::Run(command) | Act::Wait { command, .. } | Act::Until { command, .. } => command,
        }
    }

    fn script(&self) -> String {
        match self {
            Act::Run(command) | Act::Wait { command, .. } => command.to_string(),
            Act::Until { command, says, .. } => format!(
                "until {} 2>/dev/null | grep -qF -e {}; do sleep 1; done",
                command.line(),
                quoted(says)
            ),
        }
    }
}

impl Plan {
    /// The plan as a shell script that does the same, one step after the other.
    pub fn script(&self) -> String {
        let mut script = String::from("#!/bin/sh\nset -eu\n");
        for step in &self.steps {
            script += &format!("\n# {}: {}\n", step.name, step.title);
            for part in &step.parts {
                script += &part.script();
            }
        }
        script
    }

    /// The same steps, each after the one before it.
    pub fn in_sequence(mut self) -> Plan {
        let mut before = None;
        for step in &mut self.steps {
            step.after.extend(before);
            before = Some(step.name);
        }
        self
    }
}

impl Part {
    fn script(&self) -> String {
        let all = |checks: &[Check]| {
            let checks: Vec<_> = checks.iter().map(Check::script).collect();
            checks.join(" &&\n   ")
        };
        let (mut before, mut after) = (String::new(), String::new());
        if !self.when.is_empty() {
            before += &format!("if {}; then\n", all(&self.when));
            after += "fi\n";
        }
        if !self.unless.is_empty() {
            before += &format!("if ! {{ {}; }}; then\n", all(&self.unless));
            after += "fi\n";
        }
        before + &self.acts_script() + &after
    }

    fn acts_script(&self) -> String {
        let lines =
            |acts: &[Act]| -> String { acts.iter().map(|act| act.script() + "\n").collect() };
        if self.otherwise.is_empty() {
            return lines(&self.acts);
        }
        let first: Vec<_> = self.acts.iter().map(Act::script).collect();
        format!(
            "{} || {{\n{}}}\n",
            first.join(" &&\n"),
            lines(&self.otherwise)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let sh = |script: &str| Command::new("sh").args(["-c", script]);
        let check = |script: &str| Check::succeeds(sh(script));
        Plan {
            steps: vec![
                Step::new("first", "a file")
                    .part(Part::unless(
                        [check("test -e a"), Check::says(sh("echo b c"), "c")],
                        [Command::new("tee").arg("a").stdin("it's\n$HOME\n")],
                    ))
                    .part(Part::when([check("test -e missing")], [sh("touch never")]))
                    .part(Part::unless([Check::is_empty(sh("ls"))], [sh("touch b")])),
                Step::new("second", "a way out")
                    .after(&["first"])
                    .part(Part {
                        acts: vec![
                            Act::Run(sh("touch c")),
                            Act::Run(sh("exit 3")),
                            Act::Run(sh("touch never")),
                        ],
                        otherwise: vec![Act::Run(sh("touch d"))],
                        ..Part::default()
                    }),
                Step::new("third", "a wait")
                    .after(&["second"])
                    .part(Part::wait(Act::Until {
                        command: sh("echo x >>e; cat e | tr -d '\\n'"),
                        says: "xx".into(),
                        deadline: Duration::from_secs(9),
                    })),
            ],
        }
    }

    #[test]
    fn plan_is_readable_as_a_script() {
        insta::assert_snapshot!(plan().script());
    }

    #[test]
    fn script_of_a_plan_does_what_the_plan_says() {
        let directory = tempfile::tempdir().unwrap();
        let run = || {
            let output = std::process::Command::new("sh")
                .args(["-c", &plan().script()])
                .current_dir(directory.path())
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
        };
        run();
        run();
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
        assert_eq!(
            (read("a"), read("e")),
            ("it's\n$HOME\n".into(), "x\nx\nx\n".into())
        );
        for (name, is_there) in [("b", true), ("c", true), ("d", true), ("never", false)] {
            assert_eq!(directory.path().join(name).exists(), is_there, "{name}");
        }
    }
}
