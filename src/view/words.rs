//! Numbers, times and statuses as people read them.

use jiff::Timestamp;

use crate::api::OkrStatus;

/// A status as two words at most.
pub fn status(okr_status: OkrStatus) -> &'static str {
    match okr_status {
        OkrStatus::NotStarted => "Not Started",
        OkrStatus::InProgress => "In Progress",
        OkrStatus::OnTrack => "On Track",
        OkrStatus::Behind => "Behind",
        OkrStatus::AtRisk => "At Risk",
        OkrStatus::Postponed => "Postponed",
        OkrStatus::Closed => "Closed",
    }
}

/// How far something is and should be, where its own sentence is of another day or not for these eyes.
pub fn far(progress: &str, expected: &str, okr_status: OkrStatus) -> String {
    format!("{progress} % progress where {expected} % is expected by now: {}.", status(okr_status))
}

/// "4 minutes ago", "in 12 minutes", "just now".
pub fn relative(time: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second() - time.as_second();
    match span(seconds.unsigned_abs()) {
        None if seconds >= 0 => "just now".to_owned(),
        None => "in a moment".to_owned(),
        Some(span) if seconds >= 0 => format!("{span} ago"),
        Some(span) => format!("in {span}"),
    }
}

/// A length of time in its largest unit. None below ten seconds, which nobody needs counted.
fn span(seconds: u64) -> Option<String> {
    let (count, unit) = match seconds {
        0..10 => return None,
        10..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    Some(counted(count, unit))
}

/// "1 minute", "2 minutes".
pub fn counted(count: u64, unit: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{}{unit}{plural}", number(&format!("{count} ")))
}

/// Every plain decimal of a text with its thousands apart: "5000 to 12000.5" is "5,000 to 12,000.5". Everything else
/// stays exactly as it was written.
pub fn number(text: &str) -> String {
    text.split(' ').map(grouped).collect::<Vec<_>>().join(" ")
}

fn grouped(word: &str) -> String {
    let unsigned = word.strip_prefix('-').unwrap_or(word);
    let (whole, decimals) = match unsigned.split_once('.') {
        Some((whole, decimals)) => (whole, Some(decimals)),
        None => (unsigned, None),
    };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    // Four digits and more; a leading zero is no number of people's.
    if whole.len() < 4 || !digits(whole) || !decimals.is_none_or(digits) {
        return word.to_owned();
    }
    let mut shown = String::from(if word.starts_with('-') { "-" } else { "" });
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    if let Some(decimals) = decimals {
        shown.push('.');
        shown.push_str(decimals);
    }
    shown
}

/// At most `most` characters, the last an ellipsis where something was left out.
pub fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// A number of bytes: "1.2 GiB".
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return counted(count, "byte");
    }
    let power = (count.ilog2() / 10).min(6);
    let tenths = (u128::from(count) * 10) >> (10 * power);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[power as usize - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_their_largest_unit() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let check = |seconds: i64, want: &str| {
            assert_eq!(relative(Timestamp::from_second(1_000_000 + seconds).unwrap(), now), want);
        };
        check(0, "just now");
        check(-9, "just now");
        check(5, "in a moment");
        check(-60, "1 minute ago");
        check(-299, "4 minutes ago");
        check(720, "in 12 minutes");
        check(-3600, "1 hour ago");
        check(-90_000, "25 hours ago");
        check(-172_800, "2 days ago");
    }

    #[test]
    fn only_plain_decimals_are_grouped() {
        let check = |text: &str, want: &str| assert_eq!(number(text), want);
        check("5000", "5,000");
        check("-1234567.891", "-1,234,567.891");
        check("999", "999");
        check("10000 to 20000", "10,000 to 20,000");
        check("below 2500", "below 2,500");
        check("1.0E300", "1.0E300");
        check("1000x", "1000x");
        check("1234.", "1234.");
        check("", "");
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("äöüß", 3), "äö…");
    }

    #[test]
    fn bytes_are_told_in_their_largest_unit() {
        let check = |count: u64, want: &str| assert_eq!(bytes(count), want);
        check(0, "0 bytes");
        check(1, "1 byte");
        check(1023, "1,023 bytes");
        check(1536, "1.5 KiB");
        check(1 << 30, "1.0 GiB");
        check(u64::MAX, "15.9 EiB");
    }
}
