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
mod tests;
