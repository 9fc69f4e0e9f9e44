//! Recorded runs: what a daemon saw and did, to be replayed elsewhere.

use std::{
    env,
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use log::warn;
use serde::Serialize;

use crate::{core::Now, limits};

/// Name of the variable that names the file to record to.
pub const RECORD_VARIABLE: &str = "HIRTE_RECORD";

/// Appends one line of JSON for each handled event to the file that `HIRTE_RECORD` names:
/// `{"now":…,"event":…,"actions":[…]}`.
///
/// An error of the file, or `limits::MAX_RECORD` bytes, ends the recording with one warning; the
/// daemon goes on.
pub struct Recorder {
    output: Option<Output>,
}

struct Output {
    file: BufWriter<File>,
    /// Length of the file.
    bytes: u64,
}

/// One line.
#[derive(Serialize)]
struct Line<'a, E, A> {
    now: Now,
    event: &'a E,
    actions: &'a [A],
}

impl Recorder {
    /// The recorder that the environment asks for.
    #[must_use]
    pub fn from_env() -> Self {
        match env::var_os(RECORD_VARIABLE) {
            Some(path) if !path.is_empty() => Self::to_file(Path::new(&path)),
            _ => Self { output: None },
        }
    }

    /// A recorder to the end of a file, which only its owner can read: events carry what units are
    /// configured with. An earlier run in it is kept, since it may be the one that failed.
    #[must_use]
    pub fn to_file(path: &Path) -> Self {
        let open = || -> io::Result<Output> {
            let file = OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(path)?;
            let bytes = file.metadata()?.len();
            let file = BufWriter::new(file);
            Ok(Output { file, bytes })
        };
        let output = open()
            .inspect_err(|error| warn!("Can't record to {}: {error}", path.display()))
            .ok();
        Self { output }
    }

    /// Whether events are recorded.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.output.is_some()
    }

    /// Adds one handled event with what followed from it.
    pub fn record<E: Serialize, A: Serialize>(&mut self, now: Now, event: &E, actions: &[A]) {
        self.write(|output| {
            let line = Line {
                now,
                event,
                actions,
            };
            let mut line = serde_json::to_vec(&line)?;
            line.push(b'\n');
            output.bytes += line.len() as u64;
            if output.bytes > limits::MAX_RECORD {
                return Err(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    format!("it has {} bytes", limits::MAX_RECORD),
                ));
            }
            output.file.write_all(&line)
        });
    }

    /// Writes to the file what was added: at the end of a turn, before the actions are done.
    pub fn flush(&mut self) {
        self.write(|output| output.file.flush());
    }

    fn write(&mut self, write: impl FnOnce(&mut Output) -> io::Result<()>) {
        if let Some(output) = &mut self.output
            && let Err(error) = write(output)
        {
            warn!("Recording ends: {error}");
            self.output = None;
        }
    }
}
