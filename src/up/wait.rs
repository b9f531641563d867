//! Waiting for Kubernetes while telling what it is waiting for, and giving up on what won't come.
//!
//! A command waits (`kubectl rollout status`, `kubectl wait`); beside it the objects are looked at once a second,
//! and [`look`](Look) makes a sentence of them: pulled, unschedulable, crash looping, a probe failing. What is
//! said is a pure function of what Kubernetes answered.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::anyhow;
use serde_json::Value;
use tokio::time::Instant;

use super::command::{Command, Failed, Overdue, Runner};
use super::plan::Watch;
use super::{nodes, pods};
use crate::error::Help;

/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_secs(1);

/// What a look at the objects says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// What is being waited for, in a sentence; nothing where all is there.
    pub reason: Option<String>,
    /// Why it won't come by itself.
    pub hopeless: Option<Hopeless>,
}

/// A state that does not end by itself, unless it does so soon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hopeless {
    pub help: String,
    /// How long it may last before the wait is given up.
    pub patience: Duration,
    /// The pod whose last words say more.
    pub pod: Option<String>,
}

/// Waits until the command has waited, telling why it still does.
pub async fn wait(
    command: &Command,
    watch: &Watch,
    runner: &dyn Runner,
    told: &(dyn Fn(&str) + Send + Sync),
) -> anyhow::Result<()> {
    let last = Mutex::new(None);
    let tell = |look: &Look| {
        if let Some(reason) = &look.reason {
            told(reason);
        }
        *last.lock().unwrap_or_else(PoisonError::into_inner) = look.reason.clone();
    };
    let waited = tokio::select! {
        waited = runner.run(command) => waited.and_then(|output| output.checked(command).map(drop)),
        given_up = give_up(watch, runner, &tell) => given_up,
    };
    let reason = last.into_inner().unwrap_or_else(PoisonError::into_inner);
    match (waited, reason) {
        (Err(error), Some(reason)) if error.is::<Overdue>() || error.is::<Failed>() => {
            Err(error.context(reason))
        }
        (waited, _) => waited,
    }
}

/// Looks until what is waited for has been hopeless for too long.
async fn give_up(
    watch: &Watch,
    runner: &dyn Runner,
    tell: &(dyn Fn(&Look) + Send + Sync),
) -> anyhow::Result<()> {
    let mut since: Option<Instant> = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let Ok(output) = runner.run(&watch.command()).await else {
            continue;
        };
        let Ok(answer) = serde_json::from_slice::<Value>(&output.stdout) else {
            continue;
        };
        let look = watch.look(&answer);
        tell(&look);
        let Some(hopeless) = &look.hopeless else {
            since = None;
            continue;
        };
        if since.get_or_insert_with(Instant::now).elapsed() >= hopeless.patience {
            let reason = look.reason.clone().unwrap_or_default();
            let words = watch.last_words(hopeless, runner).await;
            return Err(anyhow!("{reason}{words}")).help(|| hopeless.help.clone());
        }
    }
}

impl Watch {
    /// Lists what is waited for.
    pub fn command(&self) -> Command {
        match self {
            Watch::Nodes { kubectl } => kubectl.clone().args(["get", "nodes", "--output=json"]),
            Watch::Release { kubectl, .. } => {
                let kinds = "statefulsets,deployments,pods,events";
                kubectl.clone().args(["get", kinds, "--output=json"])
            }
        }
    }

    fn look(&self, answer: &Value) -> Look {
        match self {
            Watch::Nodes { .. } => nodes::look(answer),
            Watch::Release { name, .. } => pods::look(answer, name),
        }
    }

    /// What the pod said last, on lines of its own.
    async fn last_words(&self, hopeless: &Hopeless, runner: &dyn Runner) -> String {
        let (Watch::Release { kubectl, .. }, Some(pod)) = (self, &hopeless.pod) else {
            return String::new();
        };
        let logs = |previous: &[&str]| {
            let command = kubectl.clone().args(["logs", "--tail=5", pod.as_str()]);
            command.args(previous.iter().copied())
        };
        for command in [logs(&["--previous"]), logs(&[])] {
            if let Ok(output) = runner.run(&command).await
                && output.is_success()
            {
                return output
                    .text()
                    .lines()
                    .map(|line| format!("\n  {line}"))
                    .collect();
            }
        }
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::super::recorder::{Recorder, fails, says};
    use super::*;
    use serde_json::json;

    fn watch() -> Watch {
        Watch::Release {
            name: "kafka".into(),
            kubectl: Command::new("kubectl"),
        }
    }

    fn crashing() -> String {
        json!({"items": [{
            "kind": "Pod",
            "metadata": {"name": "kafka-0", "labels": {"app.kubernetes.io/instance": "kafka"}},
            "status": {"phase": "Running", "containerStatuses": [{
                "name": "kafka", "ready": false, "restartCount": 6, "image": "apache/kafka",
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
                "lastState": {"terminated": {"exitCode": 3, "reason": "Error"}}
            }]}
        }]})
        .to_string()
    }

    #[tokio::test]
    async fn hopeless_wait_is_given_up_with_the_last_words_of_the_pod() {
        // The rollout never ends; the objects say why.
        let recorder = Recorder::with_delays(|command| {
            let line = command.line();
            if line.contains("rollout") {
                (Duration::from_secs(300), fails(1, "timed out"))
            } else if line.contains(" get ") {
                (Duration::ZERO, says(&crashing()))
            } else if line.contains("logs") {
                (Duration::ZERO, says("no space\nleft\n"))
            } else {
                panic!("{line}")
            }
        });
        let told = Mutex::new(Vec::new());
        let began = Instant::now();
        let command = Command::new("kubectl").args(["rollout", "status"]);
        let error = wait(&command, &watch(), &recorder, &|reason| {
            told.lock().unwrap().push(reason.to_owned());
        })
        .await
        .unwrap_err();
        assert_eq!(
            crate::error::report(&error),
            "error: kafka-0 crashed 6 times, the last with exit code 3\n  no space\n  left\n\
             help: see what it said: kubectl logs kafka-0 --previous"
        );
        assert_eq!(
            told.lock().unwrap()[0],
            "kafka-0 crashed 6 times, the last with exit code 3"
        );
        assert!(began.elapsed() < Duration::from_secs(60));
    }

    #[tokio::test]
    async fn wait_that_runs_out_says_what_it_waited_for() {
        let recorder = Recorder::with_delays(|command| {
            let pending = json!({"items": [{"kind": "Pod",
                "metadata": {"name": "kafka-0", "labels": {"app.kubernetes.io/instance": "kafka"}},
                "status": {"phase": "Pending", "containerStatuses": [{"name": "kafka", "ready": false, "restartCount": 0,
                    "image": "apache/kafka", "state": {"waiting": {"reason": "ContainerCreating"}}}]}}]});
            match command.args.first().map(String::as_str) {
                Some("rollout") => (Duration::from_millis(2_500), fails(1, "timed out")),
                _ => (Duration::ZERO, says(&pending.to_string())),
            }
        });
        let command = Command::new("kubectl").args(["rollout", "status"]);
        let error = wait(&command, &watch(), &recorder, &|_| {})
            .await
            .unwrap_err();
        assert_eq!(
            crate::error::report(&error),
            "error: kafka-0: its container is being made: `kubectl rollout status` exited with 1\n  timed out"
        );
    }
}
