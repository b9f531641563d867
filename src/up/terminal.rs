//! Progress on a terminal: one live line a running step, with its reason and its time, and finished lines above.

use std::collections::HashMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::report::{Event, Sink, sentence};

/// Live lines on standard error.
#[derive(Debug, Default)]
pub struct Terminal {
    lines: MultiProgress,
    running: HashMap<&'static str, ProgressBar>,
}

impl Terminal {
    fn start(&mut self, step: &'static str, title: &str) {
        let line = self.lines.add(ProgressBar::new_spinner());
        if let Ok(style) =
            ProgressStyle::with_template("{spinner} {prefix} {msg:.dim} {elapsed:.dim}")
        {
            line.set_style(style);
        }
        line.set_prefix(title.to_owned());
        line.enable_steady_tick(Duration::from_millis(120));
        self.running.insert(step, line);
    }

    fn print(&self, text: &str) {
        // What can't be shown is no reason to stop.
        self.lines.println(text).ok();
    }
}

impl Sink for Terminal {
    fn tell(&mut self, event: &Event, _: Duration) {
        match event {
            Event::Started { step, title } => self.start(step, title),
            Event::Waiting { step, reason } => {
                if let Some(line) = self.running.get(step) {
                    line.set_message(reason.clone());
                }
            }
            Event::Finished { step, .. } | Event::Failed { step, .. } => {
                if let Some(line) = self.running.remove(step) {
                    line.finish_and_clear();
                }
                if let Some(text) = sentence(event) {
                    self.print(&text);
                }
            }
            Event::Command { command, .. } => {
                self.print(&console::style(format!("  $ {command}")).dim().to_string());
            }
            other => {
                if let Some(text) = sentence(other) {
                    self.print(&text);
                }
            }
        }
    }
}
