//! A command of another program as a value, and the one way to run it.
//!
//! A [`Command`] is built, compared, printed and tested before anything happens; it displays as the line that a
//! person would type into a shell, standard input and redirection included. Only [`System`] starts processes:
//! each in a process group of its own, under a deadline, with both of its outputs read, so that none can hang,
//! fill a pipe or stay behind. Nothing here knows what docker, kind, helm or kubectl are.

use std::borrow::Cow;
use std::fmt;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, anyhow};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin};

use crate::shutdown::Shutdown;

/// How long a command may take that says nothing else.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// From asking a process group to end to killing it.
const GRACE: Duration = Duration::from_secs(3);
/// How long the outputs may stay open behind the end of the process: a grandchild may hold them.
const STRAGGLERS: Duration = Duration::from_secs(1);
/// Lines of a failed command that its error shows.
const LAST_LINES: usize = 8;

/// A command: what to run, with which input, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub program: String,
    pub args: Vec<String>,
    /// Set on top of this process's own environment.
    pub env: Vec<(String, String)>,
    /// What is written to its standard input, which is empty otherwise.
    pub stdin: Option<Vec<u8>>,
    /// A file, readable by the user alone, that takes its standard output once it has succeeded.
    pub stdout: Option<PathBuf>,
    pub deadline: Duration,
}

impl Command {
    pub fn new(program: impl Into<String>) -> Command {
        Command {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            stdin: None,
            stdout: None,
            deadline: DEADLINE,
        }
    }

    pub fn arg(mut self, arg: impl Into<String>) -> Command {
        self.args.push(arg.into());
        self
    }

    pub fn args<A: Into<String>>(mut self, args: impl IntoIterator<Item = A>) -> Command {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Command {
        self.env.push((name.into(), value.into()));
        self
    }

    pub fn stdin(mut self, input: impl Into<Vec<u8>>) -> Command {
        self.stdin = Some(input.into());
        self
    }

    pub fn stdout(mut self, file: impl Into<PathBuf>) -> Command {
        self.stdout = Some(file.into());
        self
    }

    pub fn within(mut self, deadline: Duration) -> Command {
        self.deadline = deadline;
        self
    }

    /// The command on one line, without what goes to its standard input.
    pub fn line(&self) -> String {
        let mut words: Vec<String> = self
            .env
            .iter()
            .map(|(name, value)| format!("{name}={}", quoted(value)))
            .collect();
        words.push(quoted(&self.program).into_owned());
        words.extend(self.args.iter().map(|arg| quoted(arg).into_owned()));
        if let Some(file) = &self.stdout {
            words.push(format!(">{}", quoted(&file.to_string_lossy())));
        }
        words.join(" ")
    }
}

/// As a shell reads it: the line, and the standard input as a here-document.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.line())?;
        let Some(input) = &self.stdin else {
            return Ok(());
        };
        let input = String::from_utf8_lossy(input);
        let mut end = String::from("EOF");
        while input.lines().any(|line| line == end) {
            end.push('_');
        }
        let newline = if input.ends_with('\n') { "" } else { "\n" };
        write!(f, " <<'{end}'\n{input}{newline}{end}")
    }
}

/// A word as a POSIX shell has to be given it.
pub fn quoted(word: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}

/// What a command left: how it ended and what it said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// The exit code; 128 and the signal's number for a process that a signal ended.
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Output {
    pub fn is_success(&self) -> bool {
        self.code == 0
    }

    /// Standard output as text.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stdout)
    }

    /// The last lines of what was said, the error output first looked at.
    pub fn last_lines(&self) -> String {
        let said = if self.stderr.trim_ascii().is_empty() {
            &self.stdout
        } else {
            &self.stderr
        };
        let text = String::from_utf8_lossy(said);
        let lines: Vec<_> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }

    /// An error that names the command and shows its last lines, unless it succeeded.
    pub fn checked(self, command: &Command) -> anyhow::Result<Output> {
        if self.is_success() {
            return Ok(self);
        }
        Err(Failed {
            line: command.line(),
            code: self.code,
            said: self.last_lines(),
        }
        .into())
    }
}

/// A command that ran and failed.
#[derive(Debug)]
pub struct Failed {
    pub line: String,
    pub code: i32,
    /// Its last lines.
    pub said: String,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` exited with {}", self.line, self.code)?;
        for line in self.said.lines() {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failed {}

/// A command on its way.
pub type Running<'a> = Pin<Box<dyn Future<Output = anyhow::Result<Output>> + Send + 'a>>;
/// Told every line that a command says on standard error, while it runs.
pub type Listener<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// Runs commands: the system, or a recorder in tests.
pub trait Runner: Send + Sync {
    /// Runs a command to its end. An error means that it could not run, was stopped, or took too long;
    /// a non-zero exit is an [`Output`]. Dropping the future ends the process.
    fn run_heard<'a>(&'a self, command: &'a Command, listener: Listener<'a>) -> Running<'a>;

    /// Runs a command to its end.
    fn run<'a>(&'a self, command: &'a Command) -> Running<'a> {
        self.run_heard(command, &|_| {})
    }

    /// Runs a command that must succeed.
    fn succeed<'a>(&'a self, command: &'a Command) -> Running<'a> {
        Box::pin(async move { self.run(command).await?.checked(command) })
    }
}

/// Runs commands as processes of this system.
#[derive(Clone, Debug)]
pub struct System {
    shutdown: Option<Shutdown>,
}

impl System {
    /// Commands end when a stop is requested.
    pub fn new(shutdown: Shutdown) -> System {
        System {
            shutdown: Some(shutdown),
        }
    }

    /// Commands end by themselves or by their deadline only: for what has to be undone after a stop.
    pub fn unstoppable() -> System {
        System { shutdown: None }
    }

    async fn stopped(&self) {
        match &self.shutdown {
            Some(shutdown) => shutdown.requested().await,
            None => std::future::pending().await,
        }
    }

    async fn execute(&self, command: &Command, listener: Listener<'_>) -> anyhow::Result<Output> {
        let mut child = start(command)?;
        let mut group = Group::of(&child);
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let mut output = Output::default();
        let ended = {
            let talk = async {
                tokio::join!(
                    feed(stdin, command.stdin.as_deref()),
                    hear(stdout, &mut output.stdout, &|_| {}),
                    hear(stderr, &mut output.stderr, listener),
                )
            };
            tokio::pin!(talk);
            let end = async {
                tokio::select! {
                    status = child.wait() => {
                        // A grandchild may hold the pipes; what was said so far is enough then.
                        drop(tokio::time::timeout(STRAGGLERS, &mut talk).await);
                        status
                    }
                    _ = &mut talk => child.wait().await,
                }
            };
            tokio::select! {
                status = end => status.map_err(Into::into),
                () = tokio::time::sleep(command.deadline) => Err(anyhow!(Overdue {
                    line: command.line(),
                    deadline: command.deadline,
                })),
                () = self.stopped() => Err(anyhow!(Stopped)),
            }
        };
        let status = match ended {
            Ok(status) => status,
            Err(error) => {
                group.end(&mut child).await;
                return Err(error);
            }
        };
        group.has_ended();
        output.code = status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        if let (true, Some(file)) = (output.is_success(), &command.stdout) {
            keep(file, &output.stdout)
                .with_context(|| format!("failed to write `{}`", file.display()))?;
        }
        Ok(output)
    }
}

impl Runner for System {
    fn run_heard<'a>(&'a self, command: &'a Command, listener: Listener<'a>) -> Running<'a> {
        Box::pin(self.execute(command, listener))
    }
}

/// A stop was requested while a command ran, or before.
#[derive(Debug)]
pub struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Stopped {}

/// A command that was ended because it took too long.
#[derive(Debug)]
pub struct Overdue {
    pub line: String,
    pub deadline: Duration,
}

impl fmt::Display for Overdue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deadline = humantime::format_duration(self.deadline);
        write!(f, "`{}` took longer than {deadline}", self.line)
    }
}

impl std::error::Error for Overdue {}

/// A program that is not there.
#[derive(Debug)]
pub struct Missing {
    pub program: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not installed, or not on the PATH", self.program)
    }
}

impl std::error::Error for Missing {}

fn start(command: &Command) -> anyhow::Result<Child> {
    let stdin = match command.stdin {
        Some(_) => Stdio::piped(),
        None => Stdio::null(),
    };
    let started = tokio::process::Command::new(&command.program)
        .args(&command.args)
        .envs(command.env.iter().map(|(name, value)| (name, value)))
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    match started {
        Ok(child) => Ok(child),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(anyhow!(Missing {
            program: command.program.clone()
        })),
        Err(error) => Err(error).with_context(|| format!("failed to run `{}`", command.line())),
    }
}

/// The process group of a child, which is asked to end when this is dropped before the child has.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Group {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Group(id.and_then(Pid::from_raw))
    }

    fn has_ended(&mut self) {
        self.0 = None;
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // It may be gone already.
            kill_process_group(group, signal).ok();
        }
    }

    /// Asks the group to end, and kills it where it doesn't.
    async fn end(&mut self, child: &mut Child) {
        self.signal(Signal::TERM);
        if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
            self.signal(Signal::KILL);
            drop(tokio::time::timeout(GRACE, child.wait()).await);
        }
        self.has_ended();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
    }
}

async fn feed(stdin: Option<ChildStdin>, input: Option<&[u8]>) {
    if let (Some(mut stdin), Some(input)) = (stdin, input) {
        // A program may end without reading all of it.
        drop(stdin.write_all(input).await);
    }
}

/// Reads all that is said, and passes on each line, the progress lines that end with a carriage return too.
async fn hear<P: AsyncRead + Unpin>(pipe: Option<P>, said: &mut Vec<u8>, listener: Listener<'_>) {
    let Some(mut pipe) = pipe else { return };
    let mut heard = 0;
    while pipe.read_buf(said).await.is_ok_and(|read| read > 0) {
        while let Some(end) = said[heard..].iter().position(|byte| b"\r\n".contains(byte)) {
            let line = String::from_utf8_lossy(&said[heard..heard + end]);
            if !line.trim().is_empty() {
                listener(line.trim());
            }
            heard += end + 1;
        }
    }
}

/// Writes a file that only the user can read, whole or not at all.
pub fn keep(file: &Path, content: &[u8]) -> std::io::Result<()> {
    let new = file.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let mut handle = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    handle.write_all(content)?;
    std::fs::rename(&new, file)
}

#[cfg(test)]
mod tests;
