//! A runner for tests: it runs nothing, answers by script, and remembers what it was asked.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::command::{Command, Listener, Output, Runner, Running};

type Answer = dyn Fn(&Command) -> (Duration, anyhow::Result<Output>) + Send + Sync;

/// Answers commands without running them.
pub struct Recorder {
    answer: Box<Answer>,
    seen: Mutex<Vec<Command>>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

impl Recorder {
    /// A recorder that gives this answer to each command.
    pub fn new(
        answer: impl Fn(&Command) -> anyhow::Result<Output> + Send + Sync + 'static,
    ) -> Recorder {
        Recorder::with_delays(move |command| (Duration::ZERO, answer(command)))
    }

    /// A recorder that gives each command its answer after some time.
    pub fn with_delays(
        answer: impl Fn(&Command) -> (Duration, anyhow::Result<Output>) + Send + Sync + 'static,
    ) -> Recorder {
        Recorder {
            answer: Box::new(answer),
            seen: Mutex::default(),
        }
    }

    /// The commands so far, in their order.
    pub fn seen(&self) -> Vec<Command> {
        self.lock().clone()
    }

    /// The commands so far as one would type them, without their input.
    pub fn lines(&self) -> Vec<String> {
        self.lock().iter().map(Command::line).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Command>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Runner for Recorder {
    fn run_heard<'a>(&'a self, command: &'a Command, _: Listener<'a>) -> Running<'a> {
        self.lock().push(command.clone());
        let (delay, answer) = (self.answer)(command);
        Box::pin(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            answer
        })
    }
}

/// An answer: success, with this on standard output.
pub fn says(text: &str) -> anyhow::Result<Output> {
    Ok(Output {
        stdout: text.into(),
        ..Output::default()
    })
}

/// An answer: this exit code, with this on standard error.
pub fn fails(code: i32, text: &str) -> anyhow::Result<Output> {
    Ok(Output {
        code,
        stderr: text.into(),
        ..Output::default()
    })
}
