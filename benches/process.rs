//! A process that is measured from outside: what it has used, as the kernel tells it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::Signal;

/// How long a process may take to end when it is asked to.
const ENDING: Duration = Duration::from_secs(30);

/// Where the project stands.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `fireworks`, with these arguments and nothing of ours in its environment.
pub fn fireworks(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fireworks"));
    command.args(arguments).env_clear();
    command
}

/// A program of `benches/peers`.
pub fn peer(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(root().join("benches/peers/run"));
    command.arg(name).args(arguments);
    command
}

/// A process that runs, and is killed when it is dropped. What it says goes to `target/bench/NAME.log`.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    pub fn start(name: &str, mut command: Command) -> Running {
        let directory = root().join("target/bench");
        fs::create_dir_all(&directory).unwrap();
        let log = directory.join(format!("{name}.log"));
        let file = File::create(&log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("failed to start {command:?}: {error}"));
        Running { child, log }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where it is kept what it says.
    pub fn log_path(&self) -> PathBuf {
        self.log.clone()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Fails, with what it has said, where it has ended.
    pub fn assert_runs(&self) {
        let has_ended = state(self.id()) == 'Z';
        assert!(!has_ended, "it has ended:\n{}", self.log());
    }

    /// Waits for its end; what it has used until then. It must have succeeded.
    pub fn finish(mut self, patience: Duration) -> Duration {
        let deadline = Instant::now() + patience;
        // Its parent has not asked for it yet, so its figures are still there.
        while state(self.id()) != 'Z' {
            let log = || self.log();
            assert!(Instant::now() < deadline, "it does not end:\n{}", log());
            std::thread::sleep(Duration::from_millis(2));
        }
        let used = processor_time(self.id());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}:\n{}", self.log());
        used
    }

    /// Asks it to end, and waits for that.
    pub fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        let deadline = Instant::now() + ENDING;
        while self.child.try_wait().unwrap().is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.child.kill().is_err();
        let _reaped_already = self.child.wait().is_err();
    }
}

/// What a process has used of the processors, with all its threads, of which Linux keeps hundredths of a second.
pub fn processor_time(process: u32) -> Duration {
    Duration::from_millis(ticks(&fields(&stat(process))) * 10)
}

/// What the threads of a process have used whose names begin so.
pub fn processor_time_of_threads(process: u32, prefix: &str) -> Duration {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let ticks = threads.filter_map(|thread| {
        // It may have ended meanwhile.
        let stat = fs::read_to_string(thread.unwrap().path().join("stat")).ok()?;
        let (_, name) = stat.split_once('(')?;
        name.starts_with(prefix).then(|| ticks(&fields(&stat)))
    });
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

/// What this process has used.
pub fn own_processor_time() -> Duration {
    processor_time(std::process::id())
}

fn state(process: u32) -> char {
    fields(&stat(process))[0].chars().next().unwrap()
}

fn stat(process: u32) -> String {
    fs::read_to_string(format!("/proc/{process}/stat")).unwrap()
}

/// The fields of a `stat`, from the state on: the name before may hold anything.
fn fields(stat: &str) -> Vec<&str> {
    let (_, rest) = stat.rsplit_once(')').unwrap();
    rest.split_whitespace().collect()
}

/// The hundredths of a second in user and kernel mode.
fn ticks(fields: &[&str]) -> u64 {
    let ticks = |field: usize| fields[field].parse::<u64>().unwrap();
    ticks(11) + ticks(12)
}
