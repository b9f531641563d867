//! Errors that say what to do next.
//!
//! anyhow carries what failed and why; this leaf adds one optional line, the remedy, which `main`
//! prints under the error as `help: …`. A remedy never repeats the error.

use std::error::Error;
use std::fmt;

/// An error together with the remedy for it. It displays as the error itself, so that a chain reads
/// the same with and without the remedy.
#[derive(Debug)]
struct Helped {
    error: anyhow::Error,
    help: String,
}

impl fmt::Display for Helped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl Error for Helped {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// Attaches a remedy to a failing result.
pub trait Help<T> {
    /// Adds the line that is printed as `help: …` below the error.
    fn help(self, help: impl FnOnce() -> String) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Help<T> for Result<T, E> {
    fn help(self, help: impl FnOnce() -> String) -> anyhow::Result<T> {
        self.map_err(|error| {
            anyhow::Error::new(Helped {
                error: error.into(),
                help: help(),
            })
        })
    }
}

/// Adds a remedy to an error that has none.
pub fn or_help(error: anyhow::Error, help: impl FnOnce() -> String) -> anyhow::Error {
    if error.chain().any(|cause| cause.is::<Helped>()) {
        return error;
    }
    let help = help();
    anyhow::Error::new(Helped { error, help })
}

/// What is printed for an error: the whole chain on one line, then the remedy, if one is known.
pub fn report(error: &anyhow::Error) -> String {
    let help = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Helped>())
        .map(|helped| format!("\nhelp: {}", helped.help));
    // Some libraries put a cause's text into their own and name it as the cause as well: say it once.
    let mut text = String::from("error");
    for cause in error.chain().map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text + &help.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};

    #[test]
    fn report_prints_the_chain_once_and_the_remedy_below_it() {
        let error = Err::<(), _>(anyhow!("connection refused"))
            .context("failed to reach `localhost:9092`")
            .help(|| "start a broker: fireworks broker".into())
            .context("failed to create topic `readings`")
            .expect_err("the value is an error");
        assert_eq!(
            report(&error),
            "error: failed to create topic `readings`: failed to reach `localhost:9092`: \
             connection refused\nhelp: start a broker: fireworks broker"
        );
    }

    #[test]
    fn report_says_a_cause_once_that_its_error_says_already() {
        let error = anyhow!("no route")
            .context("unreachable: no route")
            .context("failed to connect");
        assert_eq!(
            report(&error),
            "error: failed to connect: unreachable: no route"
        );
    }

    #[test]
    fn report_without_a_remedy_is_one_line() {
        assert_eq!(report(&anyhow!("no")), "error: no");
    }
}
