//! The journal's native protocol (systemd's `docs/JOURNAL_NATIVE_PROTOCOL.md`): one datagram for each
//! entry.

use std::{
    io,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
};

use log::Record;

use super::{from_log, priority};
use crate::{core::Level, limits::LOG_JOURNAL_WAIT};

/// Where journald listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The journal has it.
    Accepted,
    /// There is no journal, or it does not take this message.
    NoJournal,
    /// The journal does not read.
    Stalled,
}

/// The connection to the journal.
pub(super) struct Journal {
    identifier: String,
    path: PathBuf,
    socket: Option<UnixDatagram>,
    /// Whether the last message was not taken in time; then the next ones do not wait.
    stalled: bool,
    /// Messages that went nowhere since the journal stopped reading.
    lost: u64,
}

impl Journal {
    /// Connects with the first message.
    pub(super) fn new(identifier: &str, path: &Path) -> Self {
        Self {
            identifier: identifier.to_owned(),
            path: path.to_owned(),
            socket: None,
            stalled: false,
            lost: 0,
        }
    }

    /// Sends one message, which the journal stamps with time, process and unit.
    pub(super) fn send(&mut self, record: &Record<'_>, message: &str) -> Sent {
        let entry = self.entry(
            from_log(record.level()),
            message,
            record.file(),
            record.line(),
        );
        let sent = self.send_entry(&entry);
        if sent == Sent::Accepted && self.lost > 0 {
            let text = format!(
                "{} messages were lost while the journal did not read",
                self.lost
            );
            let entry = self.entry(Level::Warn, &text, None, None);
            if self.send_entry(&entry) == Sent::Accepted {
                self.lost = 0;
            }
        }
        sent
    }

    /// Counts a message that could go nowhere; the number is reported once the journal reads again.
    pub(super) fn count_lost(&mut self) {
        self.lost = self.lost.saturating_add(1);
    }

    fn entry(&self, level: Level, message: &str, file: Option<&str>, line: Option<u32>) -> Vec<u8> {
        let mut entry = Vec::with_capacity(message.len() + 160);
        field(&mut entry, "MESSAGE", message);
        field(&mut entry, "PRIORITY", &priority(level).to_string());
        field(&mut entry, "SYSLOG_IDENTIFIER", &self.identifier);
        if let Some(file) = file {
            field(&mut entry, "CODE_FILE", file);
        }
        if let Some(line) = line {
            field(&mut entry, "CODE_LINE", &line.to_string());
        }
        entry
    }

    fn send_entry(&mut self, entry: &[u8]) -> Sent {
        let mut result = self.try_send(entry);
        if result.as_ref().is_err_and(is_gone) {
            // journald's socket was replaced.
            self.socket = None;
            result = self.try_send(entry);
        }
        match result {
            Ok(()) => {
                self.set_stalled(false);
                Sent::Accepted
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.set_stalled(true);
                Sent::Stalled
            }
            Err(_) => Sent::NoJournal,
        }
    }

    fn try_send(&mut self, entry: &[u8]) -> io::Result<()> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(connect(&self.path, self.stalled)?),
        };
        loop {
            match socket.send(entry) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map(drop),
            }
        }
    }

    fn set_stalled(&mut self, stalled: bool) {
        if self.stalled != stalled {
            self.stalled = stalled;
            let set = self.socket.as_ref().map(|s| s.set_nonblocking(stalled));
            if let Some(Err(_)) = set {
                // The next message gets a socket in the right mode.
                self.socket = None;
            }
        }
    }
}

fn connect(path: &Path, stalled: bool) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_write_timeout(Some(LOG_JOURNAL_WAIT))?;
    socket.set_nonblocking(stalled)?;
    Ok(socket)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected
            | io::ErrorKind::BrokenPipe
    )
}

/// Appends a field. A value of one line stands after `=`; one with line feeds after its length, so
/// that no line of it can be taken for a field.
fn field(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Instant};

    use super::*;

    /// A folder of its own that goes with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("hirte-journal-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn send(journal: &mut Journal, message: &str) -> Sent {
        journal.send(
            &Record::builder()
                .level(log::Level::Info)
                .file(Some("src/x.rs"))
                .line(Some(7))
                .build(),
            message,
        )
    }

    fn receive(socket: &UnixDatagram) -> Vec<u8> {
        let mut bytes = vec![0; 1 << 20];
        let length = socket.recv(&mut bytes).unwrap();
        bytes.truncate(length);
        bytes
    }

    fn message_of(entry: &[u8]) -> String {
        let entry = String::from_utf8(entry.to_vec()).unwrap();
        entry.lines().next().unwrap().to_owned()
    }

    #[test]
    fn entries_carry_every_field() {
        let (near, far) = UnixDatagram::pair().unwrap();
        let mut journal = Journal::new("hirte", Path::new("/nowhere"));
        journal.socket = Some(near);
        assert_eq!(send(&mut journal, "Starting"), Sent::Accepted);
        assert_eq!(
            String::from_utf8(receive(&far)).unwrap(),
            "MESSAGE=Starting\nPRIORITY=6\nSYSLOG_IDENTIFIER=hirte\nCODE_FILE=src/x.rs\nCODE_LINE=7\n"
        );
    }

    #[test]
    fn priorities_are_those_of_syslog() {
        let journal = Journal::new("hirte", Path::new("/nowhere"));
        for (level, expected) in [
            (Level::Debug, "7"),
            (Level::Info, "6"),
            (Level::Warn, "4"),
            (Level::Error, "3"),
        ] {
            assert_eq!(
                String::from_utf8(journal.entry(level, "m", None, None)).unwrap(),
                format!("MESSAGE=m\nPRIORITY={expected}\nSYSLOG_IDENTIFIER=hirte\n")
            );
        }
    }

    #[test]
    fn a_line_feed_starts_no_field() {
        let (near, far) = UnixDatagram::pair().unwrap();
        let mut journal = Journal::new("hirte", Path::new("/nowhere"));
        journal.socket = Some(near);
        assert_eq!(send(&mut journal, "a\nPRIORITY=0"), Sent::Accepted);
        let entry = receive(&far);
        let head = b"MESSAGE\n\x0c\0\0\0\0\0\0\0a\nPRIORITY=0\nPRIORITY=6\n";
        assert_eq!(&entry[..head.len()], head);
    }

    #[test]
    fn a_missing_journal_is_tried_again_with_each_message() {
        let folder = Folder::new("missing");
        let path = folder.0.join("socket");
        let mut journal = Journal::new("hirte", &path);
        assert_eq!(send(&mut journal, "one"), Sent::NoJournal);
        let listener = UnixDatagram::bind(&path).unwrap();
        assert_eq!(send(&mut journal, "two"), Sent::Accepted);
        assert_eq!(message_of(&receive(&listener)), "MESSAGE=two");
    }

    #[test]
    fn a_replaced_socket_is_found() {
        let folder = Folder::new("replaced");
        let path = folder.0.join("socket");
        let listener = UnixDatagram::bind(&path).unwrap();
        let mut journal = Journal::new("hirte", &path);
        assert_eq!(send(&mut journal, "one"), Sent::Accepted);
        drop(listener);
        fs::remove_file(&path).unwrap();
        assert_eq!(send(&mut journal, "two"), Sent::NoJournal);
        let listener = UnixDatagram::bind(&path).unwrap();
        assert_eq!(send(&mut journal, "three"), Sent::Accepted);
        assert_eq!(message_of(&receive(&listener)), "MESSAGE=three");
    }

    #[test]
    fn a_stalled_journal_delays_once_and_the_loss_is_reported() {
        let folder = Folder::new("stalled");
        let path = folder.0.join("socket");
        let listener = UnixDatagram::bind(&path).unwrap();
        let mut journal = Journal::new("hirte", &path);
        let start = Instant::now();
        let mut sent = 0;
        while send(&mut journal, "fill") == Sent::Accepted {
            sent += 1;
        }
        assert!(start.elapsed() >= LOG_JOURNAL_WAIT, "{:?}", start.elapsed());
        journal.count_lost();
        let start = Instant::now();
        for _ in 0..100 {
            assert_eq!(send(&mut journal, "lost"), Sent::Stalled);
            journal.count_lost();
        }
        assert!(start.elapsed() < LOG_JOURNAL_WAIT, "{:?}", start.elapsed());

        for _ in 0..sent {
            assert_eq!(message_of(&receive(&listener)), "MESSAGE=fill");
        }
        assert_eq!(send(&mut journal, "back"), Sent::Accepted);
        assert_eq!(message_of(&receive(&listener)), "MESSAGE=back");
        assert_eq!(
            message_of(&receive(&listener)),
            "MESSAGE=101 messages were lost while the journal did not read"
        );
        assert_eq!(journal.lost, 0);
    }
}
