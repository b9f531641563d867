//! What is told while a plan is carried out: events, and where they go.
//!
//! Progress goes to standard error: live lines on a terminal, plain ones elsewhere, with a sign of life every ten
//! seconds. With `--json` each event is a line on standard output instead. Nothing of a command's standard input is
//! told, where passwords are.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::command::Command;
use super::doctor::Row;
use super::plan::{Plan, Step};
use crate::error;

/// Of the JSON lines: raised when a field changes its meaning or goes.
const VERSION: u32 = 1;

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    Planned {
        steps: Vec<Planned>,
    },
    Checked(Row),
    Started {
        step: &'static str,
        title: String,
    },
    /// A command begins.
    Command {
        step: &'static str,
        command: String,
    },
    /// What a step waits for, or what its command says.
    Waiting {
        step: &'static str,
        reason: String,
    },
    Finished {
        step: &'static str,
        title: String,
        already: bool,
        elapsed_ms: u128,
    },
    Failed {
        step: &'static str,
        title: String,
        error: String,
        elapsed_ms: u128,
    },
    /// For people; scripts need none of it.
    Note {
        text: String,
    },
    Done(Done),
    Error {
        error: String,
    },
}

#[derive(Clone, Debug, Serialize)]
pub struct Planned {
    pub step: &'static str,
    pub title: String,
    pub after: Vec<&'static str>,
}

/// The end of a run that succeeded.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Done {
    /// Whether anything was changed.
    pub changed: bool,
    /// Where the dashboard is, if it is anywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dashboard: Option<String>,
    pub elapsed_ms: u128,
    /// The part of it in which no other program was at work.
    pub own_ms: u128,
}

impl Event {
    pub fn planned(plan: &Plan) -> Event {
        let steps = plan.steps.iter().map(|step| Planned {
            step: step.name,
            title: step.title.clone(),
            after: step.after.clone(),
        });
        Event::Planned {
            steps: steps.collect(),
        }
    }

    pub fn started(step: &Step) -> Event {
        Event::Started {
            step: step.name,
            title: step.title.clone(),
        }
    }

    pub fn command(step: &'static str, command: &Command) -> Event {
        Event::Command {
            step,
            command: command.line(),
        }
    }

    pub fn waiting(step: &'static str, reason: &str) -> Event {
        Event::Waiting {
            step,
            reason: reason.to_owned(),
        }
    }

    pub fn finished(step: &Step, already: bool, elapsed: Duration) -> Event {
        let (step, title) = (step.name, step.title.clone());
        Event::Finished {
            step,
            title,
            already,
            elapsed_ms: elapsed.as_millis(),
        }
    }

    pub fn failed(step: &Step, error: &anyhow::Error, elapsed: Duration) -> Event {
        Event::Failed {
            step: step.name,
            title: step.title.clone(),
            error: error::report(error),
            elapsed_ms: elapsed.as_millis(),
        }
    }
}

/// Takes events; a clone tells the same.
#[derive(Clone)]
pub struct Report {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    sink: Box<dyn Sink>,
    began: Instant,
    /// What each running step waits for, and since when that has not been told.
    running: HashMap<&'static str, Running>,
    begun: Vec<&'static str>,
}

struct Running {
    title: String,
    since: Instant,
    told: Instant,
    reason: String,
}

/// A form in which events are told.
pub trait Sink: Send {
    fn tell(&mut self, event: &Event, elapsed: Duration);
    /// Called now and then.
    fn tick(&mut self) {}
    /// Whether a step that has been silent for long needs a sign of life.
    fn wants_life(&self) -> bool {
        false
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report").finish_non_exhaustive()
    }
}

/// A step that has been silent for so long gives a sign of life.
const LIFE: Duration = Duration::from_secs(10);

impl Report {
    pub fn new(sink: impl Sink + 'static) -> Report {
        Report {
            inner: Arc::new(Mutex::new(Inner {
                sink: Box::new(sink),
                began: Instant::now(),
                running: HashMap::new(),
                begun: Vec::new(),
            })),
        }
    }

    pub fn send(&self, event: &Event) {
        let mut inner = self.lock();
        let elapsed = inner.began.elapsed();
        match event {
            Event::Started { step, title } => {
                let (now, title) = (Instant::now(), title.clone());
                inner.begun.push(*step);
                inner.running.insert(
                    *step,
                    Running {
                        title,
                        since: now,
                        told: now,
                        reason: String::new(),
                    },
                );
            }
            Event::Waiting { step, reason } => match inner.running.get_mut(step) {
                Some(running) if running.reason == *reason => return,
                Some(running) => {
                    running.reason.clone_from(reason);
                    running.told = Instant::now();
                }
                None => {}
            },
            Event::Finished { step, .. } | Event::Failed { step, .. } => {
                inner.running.remove(step);
            }
            _ => {}
        }
        inner.sink.tell(event, elapsed);
    }

    pub fn has_begun(&self, step: &str) -> bool {
        self.lock().begun.contains(&step)
    }

    /// Gives signs of life for as long as it is polled.
    pub async fn live(&self) {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.lock().tick();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn tick(&mut self) {
        self.sink.tick();
        if !self.sink.wants_life() {
            return;
        }
        let elapsed = self.began.elapsed();
        for (step, running) in &mut self.running {
            if running.told.elapsed() >= LIFE {
                running.told = Instant::now();
                let what = if running.reason.is_empty() {
                    &running.title
                } else {
                    &running.reason
                };
                let reason = format!("{what} ({} s)", running.since.elapsed().as_secs());
                self.sink.tell(&Event::Waiting { step, reason }, elapsed);
            }
        }
    }
}

/// One JSON object a line.
pub struct Json<W>(pub W);

#[derive(Serialize)]
struct Line<'a> {
    v: u32,
    at_ms: u128,
    #[serde(flatten)]
    event: &'a Event,
}

impl<W: std::io::Write + Send> Sink for Json<W> {
    fn tell(&mut self, event: &Event, elapsed: Duration) {
        let line = Line {
            v: VERSION,
            at_ms: elapsed.as_millis(),
            event,
        };
        if let Ok(line) = serde_json::to_string(&line) {
            // A reader that has gone does not stop the work.
            writeln!(self.0, "{line}")
                .and_then(|()| self.0.flush())
                .ok();
        }
    }
}

/// One line an event, for logs.
pub struct Plain<W>(pub W);

impl<W: std::io::Write + Send> Sink for Plain<W> {
    fn tell(&mut self, event: &Event, elapsed: Duration) {
        if let Some(text) = sentence(event) {
            let seconds = elapsed.as_secs();
            for line in text.lines() {
                writeln!(self.0, "{seconds:>4}s  {line}").ok();
            }
            self.0.flush().ok();
        }
    }

    fn wants_life(&self) -> bool {
        true
    }
}

/// An event as a person reads it.
pub fn sentence(event: &Event) -> Option<String> {
    Some(match event {
        Event::Planned { .. } | Event::Started { .. } | Event::Done(_) | Event::Error { .. } => {
            return None;
        }
        Event::Checked(row) => row.to_string(),
        Event::Command { step, command } => format!("{step}: $ {command}"),
        Event::Waiting { step, reason } => format!("{step}: {reason}"),
        Event::Finished {
            title,
            already: true,
            ..
        } => format!("✓ {title} (already)"),
        Event::Finished {
            title, elapsed_ms, ..
        } => format!("✓ {title} ({})", seconds(*elapsed_ms)),
        Event::Failed {
            title, elapsed_ms, ..
        } => format!("✗ {title} ({})", seconds(*elapsed_ms)),
        Event::Note { text } => text.clone(),
    })
}

pub fn seconds(elapsed_ms: u128) -> String {
    format!("{}.{} s", elapsed_ms / 1000, elapsed_ms % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that a test can look at while the sink writes them.
    #[derive(Clone, Default)]
    pub struct Shared(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Shared {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn tell_all(report: &Report) {
        let step = Step::new("kafka", "Kafka: 1 broker");
        report.send(&Event::planned(&Plan {
            steps: vec![step.clone()],
        }));
        report.send(&Event::started(&step));
        report.send(&Event::command(
            "kafka",
            &Command::new("helm").arg("upgrade").stdin("sasl.password=b"),
        ));
        for _ in 0..3 {
            report.send(&Event::waiting("kafka", "kafka-0: pulling"));
        }
        report.send(&Event::finished(&step, false, Duration::from_millis(1_234)));
        report.send(&Event::failed(
            &step,
            &anyhow::anyhow!("no"),
            Duration::from_millis(50),
        ));
        report.send(&Event::Done(Done {
            changed: true,
            dashboard: Some("http://x".into()),
            elapsed_ms: 9,
            own_ms: 1,
        }));
    }

    #[test]
    fn plain_lines_tell_each_thing_once() {
        let out = Shared::default();
        tell_all(&Report::new(Plain(out.clone())));
        assert_eq!(
            out.text(),
            "   0s  kafka: $ helm upgrade\n   0s  kafka: kafka-0: pulling\n   \
             0s  ✓ Kafka: 1 broker (1.2 s)\n   0s  ✗ Kafka: 1 broker (0.0 s)\n"
        );
    }

    #[test]
    fn json_lines_are_versioned_and_hold_no_secret() {
        let out = Shared::default();
        tell_all(&Report::new(Json(out.clone())));
        let text = out.text();
        let names: Vec<_> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .inspect(|line| assert_eq!(line["v"], 1))
            .map(|line| line["event"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(
            names,
            [
                "planned", "started", "command", "waiting", "finished", "failed", "done"
            ]
        );
        assert!(!text.contains("password"));
    }

    #[test]
    fn silent_step_gives_signs_of_life() {
        let out = Shared::default();
        let report = Report::new(Plain(out.clone()));
        report.send(&Event::started(&Step::new("kafka", "Kafka: 1 broker")));
        let mut inner = report.lock();
        inner.tick();
        assert_eq!(out.text(), "");
        let long_ago = Instant::now().checked_sub(LIFE).unwrap();
        inner.running.get_mut("kafka").unwrap().told = long_ago;
        inner.tick();
        inner.tick();
        assert_eq!(out.text(), "   0s  kafka: Kafka: 1 broker (0 s)\n");
    }
}
