//! The high-water mark of the job ids, kept over restarts of the manager.
//!
//! An agent that outlives the manager may still speak of a job of the earlier run; its id must not
//! be given to another job. /run is the right place: it lives exactly as long as any agent does.

use std::{fs, io, path::PathBuf};

/// The file that holds the mark.
pub(super) struct JobIds {
    file: PathBuf,
    has_failed: bool,
}

impl Default for JobIds {
    fn default() -> Self {
        Self {
            file: super::runtime_folder().join("job-id"),
            has_failed: false,
        }
    }
}

impl JobIds {
    /// The mark of earlier runs; 0 where there was none.
    pub(super) fn read(&self) -> u32 {
        match fs::read_to_string(&self.file) {
            Ok(text) => text.trim().parse().unwrap_or_else(|_| {
                self.warn(&format!("expected a number, found '{}'", text.trim()));
                0
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => {
                self.warn(&error.to_string());
                0
            }
        }
    }

    /// Replaces the mark as a whole, so that a crash leaves the old one or the new one.
    pub(super) fn keep(&mut self, mark: u32) {
        let beside = self.file.with_extension("tmp");
        let written = self
            .file
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&beside, format!("{mark}\n")))
            .and_then(|()| fs::rename(&beside, &self.file));
        match written {
            Ok(()) => self.has_failed = false,
            Err(error) if !self.has_failed => {
                self.has_failed = true;
                self.warn(&error.to_string());
            }
            Err(_) => {}
        }
    }

    fn warn(&self, problem: &str) {
        let file = self.file.display();
        log::warn!("{file}: {problem}; job ids may be used again after a restart");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_survives_a_restart() {
        let folder = std::env::temp_dir().join(format!("hirte-job-ids-{}", std::process::id()));
        let file = folder.join("deep").join("job-id");
        let mut ids = JobIds {
            file,
            has_failed: false,
        };
        assert_eq!(ids.read(), 0);
        ids.keep(1024);
        assert_eq!(ids.read(), 1024);
        fs::write(&ids.file, "junk").unwrap();
        assert_eq!(ids.read(), 0);
        fs::remove_dir_all(&folder).unwrap();
    }
}
