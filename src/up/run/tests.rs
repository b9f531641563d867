//! Plans run with recorded commands: what runs, what is undone, and what is said.

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
