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
const RECORD_VARIABLE: &str = "HIRTE_RECORD";

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
    fn to_file(path: &Path) -> Self {
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

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

    use super::*;
    use crate::core::Instant;

    fn file(name: &str) -> PathBuf {
        env::temp_dir().join(format!("hirte-record-{name}-{}", std::process::id()))
    }

    #[test]
    fn runs_are_appended_as_lines_of_json() {
        let path = file("lines");
        let now = Now {
            monotonic: Instant(1),
            boottime: Instant(2),
            realtime_us: 3,
        };
        for run in 0..2 {
            let mut recorder = Recorder::to_file(&path);
            recorder.record(now, &("start", run), &["log", "connect"]);
            recorder.record(now, &"tick", &[] as &[()]);
            recorder.flush();
            assert!(recorder.is_on());
        }
        let text = fs::read_to_string(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        fs::remove_file(&path).unwrap();
        let now = r#"{"now":{"monotonic":1,"boottime":2,"realtime_us":3},"#;
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[..2],
            [
                format!(r#"{now}"event":["start",0],"actions":["log","connect"]}}"#),
                format!(r#"{now}"event":"tick","actions":[]}}"#),
            ]
        );
        assert_eq!(lines.len(), 4);
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn an_error_ends_the_recording_only() {
        let mut recorder = Recorder::to_file(Path::new("/dev/full"));
        recorder.record(Now::default(), &"event", &[] as &[()]);
        recorder.flush();
        assert!(!recorder.is_on());
        recorder.record(Now::default(), &"event", &[] as &[()]);
        assert!(!Recorder::to_file(Path::new("/nowhere/file")).is_on());
    }

    #[test]
    fn a_recording_has_an_end() {
        let path = file("limit");
        let earlier = File::create(&path).unwrap();
        earlier.set_len(limits::MAX_RECORD - 10).unwrap();
        let mut recorder = Recorder::to_file(&path);
        assert!(recorder.is_on());
        recorder.record(Now::default(), &"event", &[] as &[()]);
        assert!(!recorder.is_on());
        fs::remove_file(&path).unwrap();
    }
}
