//! Messages as lines on standard error.

use std::{
    env, fmt,
    io::{self, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use env_logger::{Builder, Logger, Target};
use log::{LevelFilter, Log, Record};

use super::{from_log, priority};

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `TIME LEVEL<tab>: message`
    Plain,
    /// `TIME LEVEL<tab>file:line<tab>msg="message"`
    Full,
    /// What should have gone to the journal: the message alone where standard error leads there
    /// after all, because the journal adds the rest, otherwise as [`Format::Plain`].
    Fallback,
}

/// Standard error, a logger for each format.
pub(super) struct Stderr {
    is_journal: bool,
    plain: Logger,
    full: Logger,
    fallback: Logger,
}

impl Stderr {
    pub(super) fn new() -> Self {
        let is_journal = is_journal_stream();
        let logger = |format| {
            Builder::new()
                .filter_level(LevelFilter::Trace)
                .target(Target::Stderr)
                .format(move |out, record| {
                    let style = Style { format, is_journal };
                    write_lines(out, style, SystemTime::now(), record)
                })
                .build()
        };
        Self {
            is_journal,
            plain: logger(Format::Plain),
            full: logger(Format::Full),
            fallback: logger(Format::Fallback),
        }
    }

    /// Whether standard error leads to the journal.
    pub(super) const fn is_journal(&self) -> bool {
        self.is_journal
    }

    /// Writes `message` in place of the record's own text. What can not be written is dropped: there
    /// is nowhere left to say so.
    pub(super) fn write(&self, record: &Record<'_>, message: &str, format: Format) {
        let logger = match format {
            Format::Plain => &self.plain,
            Format::Full => &self.full,
            Format::Fallback => &self.fallback,
        };
        logger.log(
            &Record::builder()
                .metadata(record.metadata().clone())
                .file(record.file())
                .line(record.line())
                .args(format_args!("{message}"))
                .build(),
        );
    }
}

/// Whether standard error is the stream that systemd connected to the journal: systemd.exec(5) asks
/// to compare device and inode, because the variable is inherited where the stream is not.
fn is_journal_stream() -> bool {
    env::var("JOURNAL_STREAM").is_ok_and(|stream| {
        rustix::fs::fstat(io::stderr())
            .is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
    })
}

#[derive(Clone, Copy)]
struct Style {
    format: Format,
    /// Whether each line starts with its priority as in sd-daemon(3).
    is_journal: bool,
}

/// Writes one record, with the same beginning on each of its lines.
fn write_lines(
    out: &mut impl Write,
    style: Style,
    time: SystemTime,
    record: &Record<'_>,
) -> io::Result<()> {
    let level = from_log(record.level());
    let message = record.args().to_string();
    for (index, line) in message.split('\n').enumerate() {
        let indent = if index == 0 { "" } else { "    " };
        if style.is_journal {
            write!(out, "<{}>", priority(level))?;
        }
        let (time, name) = (Timestamp(time), level.name());
        match style.format {
            Format::Fallback if style.is_journal => writeln!(out, "{indent}{line}")?,
            Format::Plain | Format::Fallback => writeln!(out, "{time} {name}\t: {indent}{line}")?,
            Format::Full => {
                let file = record.file().unwrap_or("?");
                let number = record.line().unwrap_or(0);
                writeln!(
                    out,
                    "{time} {name}\t{file}:{number}\tmsg=\"{indent}{line}\""
                )?;
            }
        }
    }
    Ok(())
}

/// A time as `2026-11-22 01:00:46,407+0000`.
struct Timestamp(SystemTime);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A clock before 1970 is not set; it shows as 1970.
        let time = self.0.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let seconds = time.as_secs();
        let (year, month, day) = civil_date(seconds / 86_400);
        write!(
            f,
            "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02},{:03}+0000",
            seconds / 3_600 % 24,
            seconds / 60 % 60,
            seconds % 60,
            time.subsec_millis()
        )
    }
}

/// Year, month and day of a number of days since 1970 in the Gregorian calendar.
///
/// Counts from 1 March of the year 0 in eras of 400 years, so that the day a leap year adds is the
/// last of its year.
pub(crate) const fn civil_date(days_since_1970: u64) -> (u64, u64, u64) {
    let days = days_since_1970 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March on have 153 days in five.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(format: Format, is_journal: bool, message: &str) -> String {
        let mut out = Vec::new();
        let time = UNIX_EPOCH + Duration::from_millis(1_795_309_246_407);
        let style = Style { format, is_journal };
        write_lines(
            &mut out,
            style,
            time,
            &Record::builder()
                .level(log::Level::Warn)
                .file(Some("src/x.rs"))
                .line(Some(7))
                .args(format_args!("{message}"))
                .build(),
        )
        .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_look_as_documented() {
        assert_eq!(
            lines(Format::Plain, false, "Starting"),
            "2026-11-22 01:00:46,407+0000 WARN\t: Starting\n"
        );
        assert_eq!(
            lines(Format::Full, false, "Starting"),
            "2026-11-22 01:00:46,407+0000 WARN\tsrc/x.rs:7\tmsg=\"Starting\"\n"
        );
        assert_eq!(
            lines(Format::Fallback, false, "Starting"),
            lines(Format::Plain, false, "Starting")
        );
        assert_eq!(lines(Format::Fallback, true, "Starting"), "<4>Starting\n");
        assert_eq!(
            lines(Format::Plain, true, "Starting"),
            "<4>2026-11-22 01:00:46,407+0000 WARN\t: Starting\n"
        );
    }

    #[test]
    fn every_line_has_its_prefix_and_none_but_the_first_starts_a_message() {
        assert_eq!(
            lines(Format::Fallback, true, "one\n<0>two"),
            "<4>one\n<4>    <0>two\n"
        );
        assert_eq!(
            lines(Format::Plain, false, "one\ntwo"),
            "2026-11-22 01:00:46,407+0000 WARN\t: one\n\
             2026-11-22 01:00:46,407+0000 WARN\t:     two\n"
        );
    }

    #[test]
    fn dates_are_gregorian() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (58, (1970, 2, 28)),
            (59, (1970, 3, 1)),
            (789, (1972, 2, 29)),
            (10_957, (2000, 1, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_778, (2026, 11, 21)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(civil_date(days), date, "{days}");
        }
        // Every day follows the one before it.
        let mut previous = civil_date(0);
        for days in 1..200_000 {
            let (year, month, day) = civil_date(days);
            let expected = match previous {
                (y, 12, 31) => (y + 1, 1, 1),
                (y, m, d) if (year, month) == (y, m) => (y, m, d + 1),
                (y, m, _) => (y, m + 1, 1),
            };
            assert_eq!((year, month, day), expected);
            previous = expected;
        }
    }

    #[test]
    fn times_before_1970_do_not_panic() {
        let time = UNIX_EPOCH - Duration::from_secs(5);
        assert_eq!(Timestamp(time).to_string(), "1970-01-01 00:00:00,000+0000");
    }
}
