//! The date that templates may ask for.
use std::time::{SystemTime, UNIX_EPOCH};

/// A moment by the calendar, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateTime {
    year: i64,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

impl DateTime {
    /// A moment by its parts; each is cut to what the calendar has.
    pub fn new(year: i64, month: u32, day: u32, hour: u32, minute: u32, second: u32) -> Self {
        Self {
            year: year.clamp(1, 9999),
            month: month.clamp(1, 12),
            day: day.clamp(1, 31),
            hour: hour.min(23),
            minute: minute.min(59),
            second: second.min(59),
        }
    }

    /// This moment.
    pub fn now() -> Self {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        Self::from_unix(seconds)
    }

    fn from_unix(seconds: u64) -> Self {
        let mut days = seconds / 86_400;
        let mut year = 1970;
        while days >= days_in_year(year) {
            days -= days_in_year(year);
            year += 1;
        }
        let mut month = 1;
        while days >= days_in_month(year, month) {
            days -= days_in_month(year, month);
            month += 1;
        }
        let of_day = (seconds % 86_400) as u32;
        Self::new(year, month, days as u32 + 1, of_day / 3600, of_day / 60 % 60, of_day % 60)
    }

    /// The moment in the words of C's `strftime`; none where `format` asks for what is not known here.
    pub(super) fn format(&self, format: &str) -> Option<String> {
        let (month, weekday) = (MONTHS[self.month as usize - 1], WEEKDAYS[self.weekday()]);
        let hour = (self.hour + 11) % 12 + 1;
        let mut out = String::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let mut conversion = chars.next()?;
            let is_bare = conversion == '-';
            if is_bare {
                conversion = chars.next()?;
            }
            let number = |value: u32| if is_bare { value.to_string() } else { format!("{value:02}") };
            out.push_str(&match conversion {
                'Y' => self.year.to_string(),
                'y' => number((self.year % 100) as u32),
                'm' => number(self.month),
                'd' => number(self.day),
                'H' => number(self.hour),
                'I' => number(hour),
                'M' => number(self.minute),
                'S' => number(self.second),
                'j' if is_bare => self.day_of_year().to_string(),
                'j' => format!("{:03}", self.day_of_year()),
                'p' => if self.hour < 12 { "AM" } else { "PM" }.to_owned(),
                'B' => month.to_owned(),
                'b' | 'h' => month[..3].to_owned(),
                'A' => weekday.to_owned(),
                'a' => weekday[..3].to_owned(),
                'F' => self.format("%Y-%m-%d")?,
                'T' => self.format("%H:%M:%S")?,
                '%' => "%".to_owned(),
                _ => return None,
            });
        }
        Some(out)
    }

    fn day_of_year(&self) -> u64 {
        (1..self.month).map(|month| days_in_month(self.year, month)).sum::<u64>() + u64::from(self.day)
    }

    /// Days since the last Monday.
    fn weekday(&self) -> usize {
        // The first day of the year 1 was a Monday.
        let years = self.year - 1;
        let days = years * 365 + years / 4 - years / 100 + years / 400 + self.day_of_year() as i64 - 1;
        (days % 7) as usize
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_year(year: i64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

fn days_in_month(year: i64, month: u32) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_c_writes_them() {
        let moment = DateTime::new(2026, 1, 2, 15, 4, 5);
        let format = "%A %a, %d %B %b %Y, %-d.%-m.%y, %H:%M:%S, %-I:%M %p, %j, %F %T, 100%%";
        let expected =
            "Friday Fri, 02 January Jan 2026, 2.1.26, 15:04:05, 3:04 PM, 002, 2026-01-02 15:04:05, 100%";
        assert_eq!(moment.format(format).as_deref(), Some(expected));
        assert_eq!((moment.format("%Q"), moment.format("%")), (None, None));
    }

    #[test]
    fn seconds_become_dates() {
        let date = |seconds| DateTime::from_unix(seconds).format("%F %T %a").unwrap();
        assert_eq!(date(0), "1970-01-01 00:00:00 Thu");
        assert_eq!(date(951_782_399), "2000-02-28 23:59:59 Mon");
        assert_eq!(date(951_782_400), "2000-02-29 00:00:00 Tue");
        assert_eq!(date(4_102_444_800), "2100-01-01 00:00:00 Fri");
    }
}
