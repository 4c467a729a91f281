//! Durations as Go's `time.ParseDuration` reads them.

use std::time::Duration;

/// The units, in nanoseconds; the long ones before those that they begin with.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("\u{b5}s", 1e3),
    ("\u{3bc}s", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
];

/// `60s`, `1m30s`, `1.5h`, `0`; `None` if it is no duration, is negative, or longer than Go can say.
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.strip_prefix('+').unwrap_or(text);
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut nanoseconds) = (text, 0.0);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let (unit, factor) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        nanoseconds += number * factor;
    }
    let longest = Duration::from_nanos(i64::MAX.unsigned_abs()).as_secs_f64();
    let seconds = nanoseconds / 1e9;
    (!text.is_empty() && seconds <= longest).then(|| Duration::try_from_secs_f64(seconds).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        let check = |text: &str, milliseconds: Option<u64>| {
            assert_eq!(parse(text), milliseconds.map(Duration::from_millis), "{text}");
        };
        check("60s", Some(60_000));
        check("1m30s", Some(90_000));
        check("1.5h", Some(5_400_000));
        check("300ms", Some(300));
        check("+5s", Some(5000));
        check(".5s", Some(500));
        check("0", Some(0));
        check("1000us", Some(1));
        check("1000\u{b5}s", Some(1));
        for wrong in ["", "60", "s", "-5s", "5 s", "5x", "1.2.3s", "9999999h", ".s"] {
            check(wrong, None);
        }
    }
}
