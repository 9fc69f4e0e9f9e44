//! The time of day on this computer, from the file of its time zone (RFC 9636).

use std::{env, fs};

const DAY: i64 = 24 * 60 * 60;
const HOUR: i64 = 60 * 60;

/// A time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Zone {
    /// Seconds since 1970 and the offset from then on, in order.
    changes: Vec<(i64, i32)>,
    /// The offset before the first change.
    first_offset_s: i32,
    /// What holds after the last change.
    rule: Option<Rule>,
}

/// What holds for all years, as the last line of the file tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    standard_s: i32,
    /// Offset in summer, its start and its end.
    summer: Option<(i32, Day, Day)>,
}

/// A day of a year and the time of day, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Day {
    month: u32,
    /// The first to the fourth, or 5 for the last.
    week: u32,
    /// 0 is Sunday.
    weekday: i64,
    time_s: i64,
}

/// A date and the time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Civil {
    pub year: i64,
    /// 1 to 12.
    pub month: u32,
    pub day: u32,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
    /// Seconds east of Greenwich.
    pub offset_s: i32,
}

impl Zone {
    /// Greenwich.
    pub fn utc() -> Self {
        Self {
            changes: Vec::new(),
            first_offset_s: 0,
            rule: None,
        }
    }

    /// The zone that `TZ` names, otherwise that of the computer; Greenwich where neither can be
    /// read.
    pub fn of_this_computer() -> Self {
        let named = env::var("TZ").ok();
        let path = match named.as_deref().map(|name| name.trim_start_matches(':')) {
            None => "/etc/localtime".to_owned(),
            Some("") => return Self::utc(),
            Some(path) if path.starts_with('/') => path.to_owned(),
            Some(name) => format!("/usr/share/zoneinfo/{name}"),
        };
        let file = fs::read(path).ok();
        let of_file = file.and_then(|bytes| Self::read(&bytes));
        let of_rule = || {
            Some(Self {
                rule: Some(Rule::parse(named.as_deref()?)?),
                ..Self::utc()
            })
        };
        of_file.or_else(of_rule).unwrap_or_else(Self::utc)
    }

    /// Reads the second block of a file, whose times have 64 bits.
    fn read(bytes: &[u8]) -> Option<Self> {
        let first = Header::read(bytes)?;
        let bytes = bytes.get(Header::LENGTH + first.length(4)..)?;
        let header = Header::read(bytes)?;
        let body = bytes.get(Header::LENGTH..)?;
        let (times, rest) = body.split_at_checked(header.times * 8)?;
        let (indexes, rest) = rest.split_at_checked(header.times)?;
        let types = rest.get(..header.types * 6)?;
        let offset = |index: usize| {
            let kind = types.get(index * 6..index * 6 + 4)?;
            Some(i32::from_be_bytes(kind.try_into().ok()?))
        };
        let mut changes = Vec::with_capacity(header.times);
        for (time, index) in times.chunks_exact(8).zip(indexes) {
            let time = i64::from_be_bytes(time.try_into().ok()?);
            changes.push((time, offset(usize::from(*index))?));
        }
        let footer = body.get(header.length(8)..)?;
        let footer = std::str::from_utf8(footer).ok()?.trim_matches('\n');
        Some(Self {
            changes,
            first_offset_s: offset(0)?,
            rule: Rule::parse(footer),
        })
    }

    fn offset_s(&self, time_s: i64) -> i32 {
        let passed = self.changes.partition_point(|(at, _)| *at <= time_s);
        if passed == self.changes.len()
            && let Some(rule) = self.rule
        {
            return rule.offset_s(time_s);
        }
        match passed.checked_sub(1) {
            Some(last) => self.changes[last].1,
            None => self.first_offset_s,
        }
    }

    /// Date and time of day at this number of seconds since 1970.
    pub fn civil(&self, time_s: i64) -> Civil {
        let offset_s = self.offset_s(time_s);
        let local = time_s.saturating_add(i64::from(offset_s));
        let (year, month, day) = date(local.div_euclid(DAY));
        let second = local.rem_euclid(DAY);
        Civil {
            year,
            month,
            day,
            hour: second / HOUR,
            minute: second % HOUR / 60,
            second: second % 60,
            offset_s,
        }
    }
}

/// How many there are of each thing in a block.
struct Header {
    universal: usize,
    standard: usize,
    leaps: usize,
    times: usize,
    types: usize,
    names: usize,
}

impl Header {
    const LENGTH: usize = 44;

    fn read(bytes: &[u8]) -> Option<Self> {
        let header = bytes.get(..Self::LENGTH)?;
        // Version 1 has no second block.
        if !header.starts_with(b"TZif") || header[4] < b'2' {
            return None;
        }
        let count = |index: usize| {
            let at = 20 + 4 * index;
            let count = u32::from_be_bytes(header[at..at + 4].try_into().ok()?);
            usize::try_from(count).ok().filter(|count| *count < 1 << 16)
        };
        Some(Self {
            universal: count(0)?,
            standard: count(1)?,
            leaps: count(2)?,
            times: count(3)?,
            types: count(4)?,
            names: count(5)?,
        })
    }

    /// Bytes behind the header, where a time has `time` bytes.
    const fn length(&self, time: usize) -> usize {
        self.times * (time + 1)
            + self.types * 6
            + self.names
            + self.leaps * (time + 4)
            + self.standard
            + self.universal
    }
}

impl Rule {
    /// Reads the form of `TZ` in POSIX: `CET-1CEST,M3.5.0,M10.5.0/3`.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(',');
        let names = parts.next()?;
        let rest = after_name(names)?;
        let (standard, rest) = time(rest)?;
        let standard_s = i32::try_from(-standard).ok()?;
        let summer = match (parts.next(), parts.next()) {
            (Some(start), Some(end)) => {
                let rest = after_name(rest)?;
                let offset_s = match rest {
                    "" => standard_s + 3600,
                    rest => i32::try_from(-time(rest)?.0).ok()?,
                };
                Some((offset_s, Day::parse(start)?, Day::parse(end)?))
            }
            _ => None,
        };
        Some(Self { standard_s, summer })
    }

    fn offset_s(&self, time_s: i64) -> i32 {
        let Some((summer_s, start, end)) = self.summer else {
            return self.standard_s;
        };
        let (year, ..) = date((time_s + i64::from(self.standard_s)).div_euclid(DAY));
        let start = start.in_year(year) - i64::from(self.standard_s);
        let end = end.in_year(year) - i64::from(summer_s);
        let is_summer = if start < end {
            (start..end).contains(&time_s)
        } else {
            !(end..start).contains(&time_s)
        };
        if is_summer { summer_s } else { self.standard_s }
    }
}

impl Day {
    /// `M3.5.0/2`
    fn parse(text: &str) -> Option<Self> {
        let (day, time_s) = match text.split_once('/') {
            Some((day, at)) => (day, time(at)?.0),
            None => (text, 2 * HOUR),
        };
        let mut numbers = day.strip_prefix('M')?.split('.');
        let mut number = || numbers.next()?.parse::<u32>().ok();
        let (month, week, weekday) = (number()?, number()?, number()?);
        let is_right = (1..=12).contains(&month) && (1..=5).contains(&week) && weekday < 7;
        is_right.then_some(Self {
            month,
            week,
            weekday: i64::from(weekday),
            time_s,
        })
    }

    /// Seconds since 1970 on the clock of the zone.
    fn in_year(self, year: i64) -> i64 {
        let first = days(year, self.month);
        // 1 January 1970 was a Thursday.
        let weekday = (first + 4).rem_euclid(7);
        let mut day = first + (self.weekday - weekday).rem_euclid(7) + 7 * i64::from(self.week - 1);
        let next = match self.month {
            12 => days(year + 1, 1),
            month => days(year, month + 1),
        };
        if day >= next {
            day -= 7;
        }
        day * DAY + self.time_s
    }
}

/// What follows the name of a zone: letters, or anything between `<` and `>`.
fn after_name(text: &str) -> Option<&str> {
    if let Some(quoted) = text.strip_prefix('<') {
        return quoted.split_once('>').map(|(_, rest)| rest);
    }
    let rest = text.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    (rest.len() < text.len()).then_some(rest)
}

/// Hours, minutes and seconds with a sign, in seconds, and what follows.
fn time(text: &str) -> Option<(i64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && !"+-:".contains(c));
    let (time, rest) = text.split_at(end.unwrap_or(text.len()));
    let (sign, time) = match time.strip_prefix('-') {
        Some(time) => (-1, time),
        None => (1, time.strip_prefix('+').unwrap_or(time)),
    };
    let mut seconds = 0;
    for (part, unit) in time.split(':').zip([HOUR, 60, 1]) {
        seconds += part.parse::<u16>().ok().map(i64::from)? * unit;
    }
    Some((sign * seconds, rest))
}

/// Days from 1 January 1970 to the first of a month (the algorithm `days_from_civil`, which counts
/// years from March).
fn days(year: i64, month: u32) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * i64::from(month) + 2) / 5;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a number of days since 1970.
fn date(day: i64) -> (i64, u32, u32) {
    let mut year = 1970 + day.div_euclid(366);
    while days(year + 1, 1) <= day {
        year += 1;
    }
    let month = (1..=12).rev().find(|month| days(year, *month) <= day);
    let month = month.unwrap_or(1);
    let day_of_month = day - days(year, month) + 1;
    (year, month, u32::try_from(day_of_month).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(zone: &Zone, time_s: i64) -> String {
        let Civil {
            year,
            month,
            day,
            hour,
            minute,
            second,
            offset_s,
        } = zone.civil(time_s);
        format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} {offset_s}")
    }

    fn of_rule(text: &str) -> Zone {
        Zone {
            rule: Rule::parse(text),
            ..Zone::utc()
        }
    }

    #[test]
    fn seconds_are_dates() {
        for (time_s, text) in [
            (0, "1970-01-01 00:00:00 0"),
            (951_782_400, "2000-02-29 00:00:00 0"),
            (1_700_000_000, "2023-11-14 22:13:20 0"),
            (4_102_444_799, "2099-12-31 23:59:59 0"),
            (-1, "1969-12-31 23:59:59 0"),
        ] {
            assert_eq!(told(&Zone::utc(), time_s), text);
        }
    }

    #[test]
    fn rules_of_summer_time_hold_to_the_second() {
        let berlin = of_rule("CET-1CEST,M3.5.0,M10.5.0/3");
        for (time_s, text) in [
            (1_711_846_799, "2024-03-31 01:59:59 3600"),
            (1_711_846_800, "2024-03-31 03:00:00 7200"),
            (1_729_990_799, "2024-10-27 02:59:59 7200"),
            (1_729_990_800, "2024-10-27 02:00:00 3600"),
        ] {
            assert_eq!(told(&berlin, time_s), text);
        }
        let sydney = of_rule("AEST-10AEDT,M10.1.0,M4.1.0/3");
        assert_eq!(told(&sydney, 1_704_067_200), "2024-01-01 11:00:00 39600");
        assert_eq!(told(&sydney, 1_719_792_000), "2024-07-01 10:00:00 36000");
        let kathmandu = of_rule("<+0545>-5:45");
        assert_eq!(told(&kathmandu, 0), "1970-01-01 05:45:00 20700");
        for wrong in ["", "X", "CET-1CEST,M3.5.0,J5", "CET-1CEST,M13.5.0,M10.5.0"] {
            assert_eq!(Rule::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_file_tells_changes_and_what_follows_them() {
        let header = |times: u32, types: u32, names: u32| {
            let mut header = b"TZif2".to_vec();
            header.extend([0; 15]);
            for count in [0, 0, 0, times, types, names] {
                header.extend(count.to_be_bytes());
            }
            header
        };
        let mut file = header(0, 1, 1);
        file.extend([0; 7]);
        file.extend(header(1, 2, 2));
        file.extend(1_000_000_000_i64.to_be_bytes());
        file.push(1);
        for offset in [60_i32, 3600] {
            file.extend(offset.to_be_bytes());
            file.extend([0, 0]);
        }
        file.extend(b"A\0\nCET-1\n");
        let zone = Zone::read(&file).unwrap();
        assert_eq!(told(&zone, 999_999_999), "2001-09-09 01:47:39 60");
        assert_eq!(told(&zone, 1_000_000_000), "2001-09-09 02:46:40 3600");
        for length in 0..file.len() - 9 {
            assert_eq!(Zone::read(&file[..length]), None, "{length}");
        }
    }
}
