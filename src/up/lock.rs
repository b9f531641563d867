//! One at a time: a lock that a second `up` or `down` of the same target meets.
//!
//! The kernel lets go of it when the process ends, however it ends.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, anyhow};
use rustix::fs::{FlockOperation, flock};

use crate::error::Help;

/// Held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of a target's folder, which is made where it is missing, or says who has it.
    pub fn take(folder: &Path) -> anyhow::Result<Lock> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("failed to make the folder `{}`", folder.display()))
            .help(|| "set XDG_STATE_HOME to a folder that can be written to".into())?;
        let path = folder.join("lock");
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("failed to open `{}`", path.display()))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut who = String::new();
            file.read_to_string(&mut who)?;
            let who = who.trim();
            return Err(anyhow!(
                "another fireworks is at work on this cluster: process {who}"
            ))
            .help(|| format!("wait until it is done, or interrupt it: kill -INT {who}"));
        }
        file.set_len(0)?;
        write!(file, "{}", std::process::id())?;
        Ok(Lock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_up_is_told_who_is_at_work() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("not/made/yet");
        let first = Lock::take(&folder).unwrap();
        let error = Lock::take(&folder).unwrap_err();
        let id = std::process::id();
        assert_eq!(
            crate::error::report(&error),
            format!(
                "error: another fireworks is at work on this cluster: process {id}\n\
                 help: wait until it is done, or interrupt it: kill -INT {id}"
            )
        );
        drop(first);
        Lock::take(&folder).unwrap();
    }
}
