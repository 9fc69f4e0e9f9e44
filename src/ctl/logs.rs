//! `hirtectl logs NODE UNIT`: what a node's journal has of a unit.
//!
//! A node sends lines of journalctl's JSON. They are shown as journalctl shows them, at the time of
//! this computer and with the name that the node has in the fleet.

use std::{fmt::Write as _, future::pending, io, mem::MaybeUninit, os::fd::OwnedFd, pin::pin};

use rustix::event::{Timespec, epoll};
use serde_json::Value as Json;
use smol::future::FutureExt;

use super::{
    arguments::{commands::Logs, words::LogFormat},
    client::Client,
    error::Error,
    exit_status::ExitStatus,
    local_time::{Civil, Zone},
    output::Output,
    stream::{Piece, Stream, exit_status},
};
use crate::{
    bus::{Value, body::Entry},
    limits,
    reactor::Async,
};

/// What the options of the command are on the node; what is not given is journalctl's choice.
fn wanted(of: &Logs) -> Vec<Entry<&'static str, Value>> {
    let text = |name, value: &Option<String>| {
        let value = value.as_ref()?;
        Some(Entry(name, Value::Str(value.clone())))
    };
    let lines = of.lines.map(|lines| Entry("lines", Value::U32(lines)));
    let follow = of.follow.then_some(Entry("follow", Value::Bool(true)));
    let options = [
        lines,
        follow,
        text("since", &of.since),
        text("until", &of.until),
        text("priority", &of.priority),
    ];
    options.into_iter().flatten().collect()
}

/// Prints the log of a unit until it ends.
pub(super) async fn run(
    client: &mut Client,
    output: &mut Output,
    of: &Logs,
) -> Result<ExitStatus, Error> {
    let node = of.node.as_str();
    let arguments = (of.unit.as_str(), wanted(of));
    let mut stream = Stream::open(client, node, "OpenLog", &arguments).await?;
    let (mut entries, mut errors) = (Lines::default(), Lines::default());
    let zone = Zone::of_this_computer();
    let mut reader_left = pin!(reader_leaves());
    loop {
        let piece = async { Some(stream.next().await) }
            .or(async {
                (&mut reader_left).await;
                None
            })
            .await;
        // A reader that had enough is no error.
        let Some(piece) = piece else {
            return Ok(ExitStatus::Done);
        };
        match piece? {
            Piece::Output(bytes) => {
                entries.add(&bytes, |line| show(output, node, line, &zone, of.format));
                output.flush();
                if output.is_closed() {
                    return Ok(ExitStatus::Done);
                }
            }
            Piece::Errors(bytes) => errors.add(&bytes, |line| {
                output.complain(&String::from_utf8_lossy(line));
            }),
            Piece::End { status, result } => {
                errors.end(|line| output.complain(&String::from_utf8_lossy(line)));
                let status = exit_status(node, "the log", (status, result))?;
                return Ok(match status {
                    0 => ExitStatus::Done,
                    _ => ExitStatus::Failed,
                });
            }
        }
    }
}

/// The latest entries of a unit, as [`LogFormat::Short`] shows them.
pub(super) async fn last_lines(
    client: &mut Client,
    node: &str,
    unit: &str,
    count: u32,
) -> Result<Vec<String>, Error> {
    let arguments = (unit, vec![Entry("lines", Value::U32(count))]);
    let mut stream = Stream::open(client, node, "OpenLog", &arguments).await?;
    let zone = Zone::of_this_computer();
    let (mut entries, mut shown) = (Lines::default(), Vec::new());
    loop {
        match stream.next().await? {
            Piece::Output(bytes) => entries.add(&bytes, |line| {
                shown.extend(text_of(node, line, &zone, LogFormat::Short));
            }),
            Piece::Errors(_) => {}
            Piece::End { .. } => return Ok(shown),
        }
    }
}

/// Waits until nobody reads standard output any more, of which nothing else tells while there is
/// nothing to write. What is no pipe or terminal has no such end.
async fn reader_leaves() {
    let Ok(stdout) = stdout_ends() else {
        return pending().await;
    };
    let has_ended = |watch: &OwnedFd| {
        let mut events = [MaybeUninit::uninit()];
        match epoll::wait(watch, &mut events, Some(&Timespec::default()))? {
            ([], _) => {}
            _ => return Ok(()),
        }
        Err(io::ErrorKind::WouldBlock.into())
    };
    if stdout.read_with(has_ended).await.is_err() {
        pending::<()>().await;
    }
}

/// What can be read when standard output has no reader any more. It is a descriptor of its own,
/// because others may have standard output too and want it to block.
fn stdout_ends() -> io::Result<Async<OwnedFd>> {
    let watch = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    // Its end is told without being asked for (epoll_ctl(2), EPOLLERR and EPOLLHUP).
    let nothing = epoll::EventFlags::empty();
    epoll::add(&watch, io::stdout(), epoll::EventData::new_u64(0), nothing)?;
    Async::new(watch)
}

fn show(output: &mut Output, node: &str, line: &[u8], zone: &Zone, format: LogFormat) {
    if format == LogFormat::Json {
        output.text(&String::from_utf8_lossy(line));
        output.text("\n");
        return;
    }
    for line in text_of(node, line, zone, format) {
        output.line(&line);
    }
}

/// Lines out of pieces. Of a line that is too long nothing is given.
#[derive(Debug, Default)]
struct Lines {
    rest: Vec<u8>,
    /// Whether the line that is under way is too long.
    is_skipped: bool,
}

impl Lines {
    fn add(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let is_whole = piece.ends_with(b"\n");
            if self.rest.len() + piece.len() > limits::LOG_ENTRY_BYTES {
                self.is_skipped = true;
                self.rest.clear();
            }
            if !self.is_skipped {
                self.rest.extend_from_slice(piece);
            }
            if is_whole {
                if !self.is_skipped {
                    self.rest.pop();
                    each(&self.rest);
                }
                self.rest.clear();
                self.is_skipped = false;
            }
        }
    }

    /// The last line may have no end.
    fn end(&mut self, mut each: impl FnMut(&[u8])) {
        if !self.rest.is_empty() {
            each(&self.rest);
            self.rest.clear();
        }
    }
}

/// An entry as lines of text. What is no entry is shown as it is.
fn text_of(node: &str, line: &[u8], zone: &Zone, format: LogFormat) -> Vec<String> {
    let Ok(Json::Object(entry)) = serde_json::from_slice::<Json>(line) else {
        return vec![String::from_utf8_lossy(line).into_owned()];
    };
    let field = |name: &str| text(entry.get(name)?);
    let message = field("MESSAGE").unwrap_or_default();
    let head = if format == LogFormat::Cat {
        String::new()
    } else {
        // As journalctl: when it was said, or else when the journal heard of it.
        let times = ["_SOURCE_REALTIME_TIMESTAMP", "__REALTIME_TIMESTAMP"];
        let time_us = times.into_iter().find_map(|name| field(name)?.parse().ok());
        let mut head = time(time_us.unwrap_or_default(), zone, format);
        let name = field("SYSLOG_IDENTIFIER").or_else(|| field("_COMM"));
        let name = name.unwrap_or_else(|| "unknown".to_owned());
        // A String takes all that is written to it.
        let _ = write!(head, " {node} {name}");
        if let Some(pid) = field("_PID").or_else(|| field("SYSLOG_PID")) {
            let _ = write!(head, "[{pid}]");
        }
        head.push_str(": ");
        head
    };
    let indent = " ".repeat(head.chars().count());
    let mut lines = Vec::new();
    for (number, part) in message.split('\n').enumerate() {
        let start = if number == 0 { &head } else { &indent };
        lines.push(format!("{start}{}", part.replace('\t', "        ")));
    }
    lines
}

/// The value of a field: text; bytes that are no text are told by their number, as journalctl does;
/// of several values the first.
fn text(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Array(bytes) if bytes.iter().all(Json::is_u64) => {
            let numbers = bytes.iter().filter_map(Json::as_u64);
            let bytes: Option<Vec<u8>> = numbers.map(|byte| u8::try_from(byte).ok()).collect();
            let bytes = bytes?;
            let count = bytes.len();
            let as_text = String::from_utf8(bytes);
            Some(as_text.unwrap_or_else(|_| format!("[{count}B blob data]")))
        }
        Json::Array(values) => values.first().and_then(text),
        _ => None,
    }
}

fn time(time_us: u64, zone: &Zone, format: LogFormat) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (seconds, micros) = (time_us / 1_000_000, time_us % 1_000_000);
    if format == LogFormat::ShortUnix {
        return format!("{seconds}.{micros:06}");
    }
    let Civil {
        year,
        month,
        day,
        hour,
        minute,
        second,
        offset_s,
    } = zone.civil(i64::try_from(seconds).unwrap_or(i64::MAX));
    let clock = format!("{hour:02}:{minute:02}:{second:02}");
    let month_name = MONTHS[month as usize - 1];
    match format {
        LogFormat::ShortPrecise => format!("{month_name} {day:02} {clock}.{micros:06}"),
        LogFormat::ShortIso => {
            let sign = if offset_s < 0 { '-' } else { '+' };
            let minutes = offset_s.abs() / 60;
            let (hours, minutes) = (minutes / 60, minutes % 60);
            format!("{year:04}-{month:02}-{day:02}T{clock}{sign}{hours:02}:{minutes:02}")
        }
        _ => format!("{month_name} {day:02} {clock}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str, format: LogFormat) -> Vec<String> {
        text_of("rpi4", line.as_bytes(), &Zone::utc(), format)
    }

    const ENTRY: &str = r#"{"__REALTIME_TIMESTAMP":"1700000000123456","SYSLOG_IDENTIFIER":"httpd",
        "_PID":"7","MESSAGE":"one\ntwo\tx","_COMM":"other"}"#;

    #[test]
    fn entries_are_shown_as_journalctl_shows_them() {
        let indent = " ".repeat("Nov 14 22:13:20 rpi4 httpd[7]: ".len());
        assert_eq!(
            shown(ENTRY, LogFormat::Short),
            [
                "Nov 14 22:13:20 rpi4 httpd[7]: one".to_owned(),
                format!("{indent}two        x")
            ]
        );
        for (format, start) in [
            (
                LogFormat::ShortPrecise,
                "Nov 14 22:13:20.123456 rpi4 httpd[7]: one",
            ),
            (
                LogFormat::ShortIso,
                "2023-11-14T22:13:20+00:00 rpi4 httpd[7]: one",
            ),
            (LogFormat::ShortUnix, "1700000000.123456 rpi4 httpd[7]: one"),
            (LogFormat::Cat, "one"),
        ] {
            assert_eq!(shown(ENTRY, format)[0], start);
        }
    }

    #[test]
    fn fields_may_be_bytes_or_missing() {
        let cat = |message: &str| shown(&format!(r#"{{"MESSAGE":{message}}}"#), LogFormat::Cat);
        assert_eq!(cat("[104,105]"), ["hi"]);
        assert_eq!(cat("[255,0,1]"), ["[3B blob data]"]);
        assert_eq!(cat(r#"["first","second"]"#), ["first"]);
        assert_eq!(cat("null"), [""]);
        assert_eq!(cat("[256]"), [""]);
        assert_eq!(
            shown("-- no entry --", LogFormat::Short),
            ["-- no entry --"]
        );
        assert_eq!(
            shown("{}", LogFormat::Short),
            ["Jan 01 00:00:00 rpi4 unknown: "]
        );
    }

    #[test]
    fn lines_are_cut_wherever_the_pieces_end() {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for piece in ["on", "e\ntw", "o\n\nthr", "ee"] {
            lines.add(piece.as_bytes(), |line| found.push(line.to_vec()));
        }
        lines.end(|line| found.push(line.to_vec()));
        assert_eq!(found, [&b"one"[..], b"two", b"", b"three"]);
    }

    #[test]
    fn a_line_that_is_too_long_is_left_out_and_costs_no_memory() {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        let long = vec![b'x'; limits::LOG_ENTRY_BYTES / 2 + 1];
        for piece in [&long[..], &long, &long, b"x\nnext\n"] {
            lines.add(piece, |line| found.push(line.to_vec()));
            assert!(lines.rest.len() <= limits::LOG_ENTRY_BYTES);
        }
        assert_eq!(found, [b"next"]);
    }
}
