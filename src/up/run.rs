//! Carries out a plan: each step as soon as what it comes after is done, check → act → verify.
//!
//! The first step that fails ends the others. Where the run was interrupted, what had begun is undone as the plan
//! says; after a failure it stays, for whoever looks into it. Nothing is remembered for the next run, which finds out
//! by the checks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use super::command::{Command, Missing, Output, Runner, Stopped};
use super::plan::{Act, Check, Holds, Part, Plan, Step};
use super::report::{Event, Report};
use super::wait;
use crate::error::or_help;
use crate::shutdown::Trigger;

/// Between two looks at something that is waited for by looking.
const POLL: Duration = Duration::from_millis(250);

/// How long the other steps have to end their commands when one has failed: they are asked, then killed.
const LET_GO: Duration = Duration::from_secs(8);

/// What a run of a plan needs of the world.
#[derive(Clone)]
pub struct Stage {
    pub runner: Arc<dyn Runner>,
    /// Runs what has to be undone, after a stop too.
    pub undo: Arc<dyn Runner>,
    /// Ends the commands of the runner.
    pub halt: Trigger,
    pub report: Report,
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stage").finish_non_exhaustive()
    }
}

/// Whether anything was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// There was nothing to find out: it is a wait, or is done every time and changes nothing of note.
    Passed,
    /// It was looked for, and found to be there.
    Already,
    Changed,
}

/// Carries out a plan. An error is that of the first step that failed.
pub async fn run(plan: &Plan, stage: &Stage) -> anyhow::Result<Outcome> {
    stage.report.send(&Event::planned(plan));
    let mut done: HashMap<_, _> = plan
        .steps
        .iter()
        .map(|step| (step.name, watch::Sender::new(false)))
        .collect();
    let mut running = JoinSet::new();
    for step in &plan.steps {
        let before: Vec<_> = step
            .after
            .iter()
            .filter_map(|name| done.get(name))
            .map(watch::Sender::subscribe)
            .collect();
        let (step, stage) = (step.clone(), stage.clone());
        running.spawn(async move {
            for mut before in before {
                // Where the sender is gone the run has failed elsewhere.
                if before.wait_for(|is_done| *is_done).await.is_err() {
                    return (step.name, Err(Stopped.into()));
                }
            }
            let outcome = carry_out(&step, &stage).await;
            (step.name, outcome)
        });
    }
    let mut whole = Outcome::Already;
    let (mut failure, mut deadline) = (None, None);
    while let Some(joined) = next(&mut running, deadline).await {
        let outcome = match joined {
            Ok((name, Ok(outcome))) => Ok((name, outcome)),
            Ok((_, Err(error))) => Err(error),
            // Whoever comes after it would wait for ever.
            Err(error) => Err(anyhow!(error).context("a step ended before it was done")),
        };
        match outcome {
            Ok((name, outcome)) => {
                whole = whole.max(outcome);
                if let Some(done) = done.get(name) {
                    done.send_replace(true);
                }
            }
            Err(error) if failure.is_none() => {
                failure = Some(error);
                deadline = Some(tokio::time::Instant::now() + LET_GO);
                stage.halt.request();
                done.clear();
            }
            Err(_) => {}
        }
    }
    match failure {
        None => Ok(whole),
        Some(error) => {
            if error.is::<Stopped>() {
                undo(plan, stage).await;
            }
            Err(error)
        }
    }
}

/// The next step that ends; after the deadline none does.
async fn next<T: 'static>(
    running: &mut JoinSet<T>,
    deadline: Option<tokio::time::Instant>,
) -> Option<Result<T, JoinError>> {
    let Some(deadline) = deadline else {
        return running.join_next().await;
    };
    let joined = tokio::time::timeout_at(deadline, running.join_next()).await;
    joined.unwrap_or_else(|_| {
        running.abort_all();
        None
    })
}

async fn undo(plan: &Plan, stage: &Stage) {
    let mut undone = Vec::new();
    for step in plan.steps.iter().rev() {
        if !stage.report.has_begun(step.name) {
            continue;
        }
        for command in &step.undo {
            // Two steps may have the same way back.
            if undone.contains(&command) {
                continue;
            }
            undone.push(command);
            stage.report.send(&Event::command(step.name, command));
            if let Err(error) = stage.undo.succeed(command).await {
                tracing::warn!("failed to undo {}: {error:#}", step.title);
            }
        }
    }
}

async fn carry_out(step: &Step, stage: &Stage) -> anyhow::Result<Outcome> {
    let began = Instant::now();
    stage.report.send(&Event::started(step));
    let mut outcome = Outcome::Passed;
    for part in &step.parts {
        match carry_out_part(step, part, stage).await {
            Ok(of_part) => outcome = outcome.max(of_part),
            Err(error) => {
                stage
                    .report
                    .send(&Event::failed(step, &error, began.elapsed()));
                return Err(match &step.help {
                    Some(help) if !is_final(&error) => or_help(error, || help.clone()),
                    _ => error,
                });
            }
        }
    }
    stage.report.send(&Event::finished(
        step,
        outcome == Outcome::Already,
        began.elapsed(),
    ));
    Ok(outcome)
}

async fn carry_out_part(step: &Step, part: &Part, stage: &Stage) -> anyhow::Result<Outcome> {
    if !hold(&part.when, stage).await?
        || !part.unless.is_empty() && hold(&part.unless, stage).await?
    {
        return Ok(Outcome::Already);
    }
    let done = act(step, &part.acts, stage).await;
    match done {
        Err(error) if !part.otherwise.is_empty() && !is_final(&error) => {
            let said = error.to_string();
            let why = said.lines().last().unwrap_or_default().trim();
            let why = format!("another way, because: {why}");
            stage.report.send(&Event::waiting(step.name, &why));
            act(step, &part.otherwise, stage).await?;
        }
        other => other?,
    }
    let is_conditional = !part.when.is_empty() || !part.unless.is_empty();
    Ok(if is_conditional {
        Outcome::Changed
    } else {
        Outcome::Passed
    })
}

/// Whether all of the checks hold.
async fn hold(checks: &[Check], stage: &Stage) -> anyhow::Result<bool> {
    for check in checks {
        let holds = match stage.runner.run(&check.command).await {
            Ok(output) => is_true(&check.holds, &output),
            Err(error) if is_final(&error) => return Err(error),
            Err(_) => false,
        };
        if !holds {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_true(holds: &Holds, output: &Output) -> bool {
    output.is_success()
        && match holds {
            Holds::Succeeds => true,
            Holds::Says(text) => output.text().lines().any(|line| line.contains(text)),
            Holds::Empty => output.text().trim().is_empty(),
        }
}

/// Whether nothing else should be tried: a stop was requested, or a tool isn't there.
fn is_final(error: &anyhow::Error) -> bool {
    error.is::<Stopped>() || error.is::<Missing>()
}

async fn act(step: &Step, acts: &[Act], stage: &Stage) -> anyhow::Result<()> {
    for act in acts {
        stage.report.send(&Event::command(step.name, act.command()));
        match act {
            Act::Run(command) => {
                let heard = |line: &str| stage.report.send(&Event::waiting(step.name, line));
                let output = stage.runner.run_heard(command, &heard).await?;
                output.checked(command)?;
            }
            Act::Wait { command, watch } => {
                let told = |reason: &str| stage.report.send(&Event::waiting(step.name, reason));
                wait::wait(command, watch, stage.runner.as_ref(), &told).await?;
            }
            Act::Until {
                command,
                says,
                deadline,
            } => {
                until(step, command, says, *deadline, stage).await?;
            }
        }
    }
    Ok(())
}

/// Repeats a command until it says something.
async fn until(
    step: &Step,
    command: &Command,
    says: &str,
    deadline: Duration,
    stage: &Stage,
) -> anyhow::Result<()> {
    let end = Instant::now() + deadline;
    let holds = Holds::Says(says.to_owned());
    loop {
        // An answer that takes too long is one that isn't there yet, as is one that can't be read.
        let answer = match stage.runner.run(command).await {
            Ok(output) if is_true(&holds, &output) => return Ok(()),
            Ok(output) => output.checked(command),
            Err(error) if is_final(&error) => return Err(error),
            Err(error) => Err(error),
        };
        if Instant::now() >= end {
            let last = answer.map(|_| anyhow!("it never said `{says}`"));
            return Err(last.unwrap_or_else(|error| error)).with_context(|| {
                format!(
                    "{} is not there after {}",
                    step.title,
                    humantime::format_duration(deadline)
                )
            });
        }
        if let Err(error) = answer {
            let said = error.to_string();
            let reason = said.lines().last().unwrap_or_default().trim();
            stage.report.send(&Event::waiting(step.name, reason));
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::recorder::{Recorder, fails, says};
    use super::super::report::Json;
    use super::*;
    use crate::shutdown::Shutdown;

    fn stage(runner: &Arc<Recorder>, undo: &Arc<Recorder>) -> Stage {
        Stage {
            runner: Arc::<Recorder>::clone(runner),
            undo: Arc::<Recorder>::clone(undo),
            halt: Shutdown::manual().0,
            report: Report::new(Json(std::io::sink())),
        }
    }

    fn command(name: &str) -> Command {
        Command::new(name)
    }

    fn step(name: &'static str, after: &[&'static str]) -> Step {
        Step::new(name, name)
            .after(after)
            .part(Part::always([command(name)]))
    }

    fn always() -> Arc<Recorder> {
        Arc::new(Recorder::new(|_| says("")))
    }

    #[tokio::test]
    async fn steps_run_side_by_side_unless_one_comes_after_the_other() {
        // Each of the two first takes as long as the other needs to begin.
        let runner = Arc::new(Recorder::with_delays(|command| {
            let long = matches!(command.program.as_str(), "image" | "cluster");
            (Duration::from_millis(if long { 300 } else { 0 }), says(""))
        }));
        let plan = Plan {
            steps: vec![
                step("image", &[]),
                step("cluster", &[]),
                step("load", &["image", "cluster"]),
            ],
        };
        let began = Instant::now();
        run(&plan, &stage(&runner, &always())).await.unwrap();
        let lines = runner.lines();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[2], "load");
        assert!(
            began.elapsed() < Duration::from_millis(590),
            "{:?}",
            began.elapsed()
        );
    }

    #[tokio::test]
    async fn what_is_there_is_not_done_again() {
        let runner = always();
        let part = Part::unless([Check::succeeds(command("check"))], [command("act")]);
        let plan = Plan {
            steps: vec![Step::new("a", "a").part(part)],
        };
        assert_eq!(
            run(&plan, &stage(&runner, &always())).await.unwrap(),
            Outcome::Already
        );
        assert_eq!(runner.lines(), ["check"]);
    }

    #[tokio::test]
    async fn interruption_undoes_what_had_begun_and_only_that_and_a_failure_nothing() {
        for is_stopped in [true, false] {
            let runner = Arc::new(Recorder::with_delays(move |command| {
                match command.program.as_str() {
                    "kafka" if is_stopped => (Duration::from_millis(50), Err(Stopped.into())),
                    "kafka" => (Duration::from_millis(50), fails(1, "no room")),
                    "slow" => (Duration::from_secs(600), says("")),
                    _ => (Duration::ZERO, says("")),
                }
            }));
            let undo = always();
            let undoing = |name: &'static str, after: &[&'static str], way_back: &str| {
                let mut step = step(name, after);
                step.undo = vec![command(way_back)];
                step
            };
            let plan = Plan {
                steps: vec![
                    undoing("cluster", &[], "net-down"),
                    undoing("bridge", &[], "net-down"),
                    step("slow", &[]),
                    step("kafka", &[]),
                    undoing("later", &["kafka"], "never"),
                ],
            };
            let error = run(&plan, &stage(&runner, &undo)).await.unwrap_err();
            let (said, undone): (_, &[&str]) = match is_stopped {
                true => ("interrupted", &["net-down"]),
                false => ("`kafka` exited with 1\n  no room", &[]),
            };
            assert_eq!(error.to_string(), said);
            assert_eq!(undo.lines(), undone);
            assert!(!runner.lines().contains(&"later".to_owned()));
        }
    }

    #[tokio::test]
    async fn step_that_panics_ends_the_run() {
        let runner = Arc::new(Recorder::new(|command| {
            assert_ne!(command.program, "a", "a bug");
            says("")
        }));
        let plan = Plan {
            steps: vec![step("a", &[]), step("b", &["a"])],
        };
        let stage = stage(&runner, &always());
        let ended = tokio::time::timeout(Duration::from_secs(20), run(&plan, &stage)).await;
        let error = format!("{:#}", ended.unwrap().unwrap_err());
        assert!(
            error.starts_with("a step ended before it was done: "),
            "{error}"
        );
        assert_eq!(runner.lines(), ["a"]);
    }

    #[tokio::test]
    async fn answer_that_takes_too_long_is_asked_for_again() {
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let runner = Arc::new(Recorder::new(move |command| {
            match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                0 => Err(super::super::command::Overdue {
                    line: command.line(),
                    deadline: Duration::from_secs(10),
                }
                .into()),
                _ => says("ok"),
            }
        }));
        let act = Act::Until {
            command: command("readyz"),
            says: "ok".into(),
            deadline: Duration::from_secs(20),
        };
        let plan = Plan {
            steps: vec![Step::new("nodes", "the cluster").part(Part::wait(act))],
        };
        run(&plan, &stage(&runner, &always())).await.unwrap();
        assert_eq!(runner.lines(), ["readyz", "readyz"]);
    }

    #[tokio::test]
    async fn wait_is_neither_there_already_nor_a_change() {
        let waiting = step("wait", &[]);
        let checked = Step::new("a", "a").part(Part::unless(
            [Check::succeeds(command("check"))],
            [command("act")],
        ));
        let checked = checked.part(Part::always([command("wait")]));
        let stage = stage(&always(), &always());
        let outcomes = (
            carry_out(&waiting, &stage).await.unwrap(),
            carry_out(&checked, &stage).await.unwrap(),
        );
        assert_eq!(outcomes, (Outcome::Passed, Outcome::Already));
    }

    #[tokio::test]
    async fn other_way_is_taken_where_the_first_fails_but_not_where_it_was_stopped() {
        for (answer, lines) in [(false, vec!["packed", "source"]), (true, vec!["packed"])] {
            let runner = Arc::new(Recorder::new(move |command| {
                match (command.program.as_str(), answer) {
                    ("packed", true) => Err(Stopped.into()),
                    ("packed", false) => fails(1, "version `GLIBC_2.38' not found"),
                    _ => says(""),
                }
            }));
            let mut part = Part::always([command("packed")]);
            part.otherwise = vec![Act::Run(command("source"))];
            let plan = Plan {
                steps: vec![Step::new("image", "image").part(part)],
            };
            assert_eq!(
                run(&plan, &stage(&runner, &always())).await.is_err(),
                answer
            );
            assert_eq!(runner.lines(), lines);
        }
    }

    #[tokio::test]
    async fn step_that_never_comes_is_given_up_with_its_remedy() {
        let runner = Arc::new(Recorder::new(|_| fails(1, "connection refused")));
        let act = Act::Until {
            command: command("readyz"),
            says: "ok".into(),
            deadline: Duration::from_millis(300),
        };
        let step = Step::new("nodes", "the cluster")
            .help("down, then up")
            .part(Part::wait(act));
        let error = run(&Plan { steps: vec![step] }, &stage(&runner, &always()))
            .await
            .unwrap_err();
        assert_eq!(
            crate::error::report(&error),
            "error: the cluster is not there after 300ms: `readyz` exited with 1\n  connection refused\nhelp: down, then up"
        );
    }
}
