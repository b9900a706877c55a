//! What people usually write, and what to write instead.

use jiff::civil::Date;

use crate::api::{Decimal, Duration};

use super::yaml::{Data, Node};

/// Fields by the names that people give them.
const SYNONYMS: [(&str, &str); 34] = [
    ("sql", "query"),
    ("statement", "query"),
    ("connection", "connectionRef"),
    ("connectionName", "connectionRef"),
    ("objective", "objectiveRef"),
    ("objectiveName", "objectiveRef"),
    ("goal", "objectiveRef"),
    ("parent", "parentRef"),
    ("parentObjective", "parentRef"),
    ("objectiveRef", "parentRef"),
    ("project", "projectId"),
    ("billingProject", "billingProjectId"),
    ("dataset", "defaultDataset"),
    ("region", "location"),
    ("start", "startDate"),
    ("from", "startDate"),
    ("begin", "startDate"),
    ("end", "endDate"),
    ("to", "endDate"),
    ("until", "endDate"),
    ("tz", "timeZone"),
    ("schedule", "interval"),
    ("frequency", "interval"),
    ("name", "title"),
    ("assignee", "owner"),
    ("team", "owner"),
    ("value", "target"),
    ("goalValue", "target"),
    ("min", "lower"),
    ("max", "upper"),
    ("start", "from"),
    ("status", "okrStatus"),
    ("params", "parameters"),
    ("secret", "secretRef"),
];

/// The known name that `typed` was probably meant to be.
pub fn close<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let known: Vec<&str> = known.into_iter().collect();
    let simple = |name: &str| name.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_ascii_lowercase();
    let typed_simple = simple(typed);
    if let Some(same) = known.iter().find(|name| simple(name) == typed_simple) {
        return Some(same);
    }
    let synonyms = SYNONYMS.iter().filter(|(wrong, _)| wrong.eq_ignore_ascii_case(typed));
    if let Some(name) = synonyms.filter_map(|(_, right)| known.iter().find(|name| *name == right)).next() {
        return Some(name);
    }
    // A third of the letters may be wrong, and not more than two.
    let most = (typed_simple.len() / 3).clamp(1, 2);
    known
        .into_iter()
        .map(|name| (distance(&typed_simple, &simple(name)), name))
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, name)| name)
}

/// How many letters must be changed, added, left out or swapped with the next.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let width = other.len() + 1;
    let mut rows = vec![(0..width).collect::<Vec<usize>>()];
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1; width];
        for (j, b) in other.iter().enumerate() {
            let changed = rows[i][j] + usize::from(a != b);
            let mut best = changed.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && Some(a) == other.get(j - 1) && one.get(i - 1) == Some(b) {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row[j + 1] = best;
        }
        rows.push(row);
    }
    rows.last().and_then(|row| row.last()).copied().unwrap_or_default()
}

/// A decimal as it should have been written: quoted where it is no integer.
pub fn decimal(node: &Node) -> Option<String> {
    let typed = match &node.data {
        Data::Text(text) => text.as_str(),
        Data::Integer(_) | Data::Float(_) => node.typed.as_deref()?,
        Data::Null | Data::Bool(_) | Data::List(_) | Data::Map(_) => return None,
    };
    let typed = typed.trim();
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | '_' | '\'' | ' ' | '\u{a0}' | '\u{202f}');
    let (sign, unsigned) = match typed.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", typed.strip_prefix('+').unwrap_or(typed)),
    };
    let unsigned =
        unsigned.trim_start_matches(|c: char| !c.is_ascii_digit() && !c.is_alphanumeric() && c != '.').trim();
    let end = unsigned.find(|c: char| !is_part(c)).unwrap_or(unsigned.len());
    let (number, unit) = (unsigned[..end].trim(), unsigned[end..].trim());
    // 1e6 and 5k are numbers of which the unit is a part.
    let factor = match unit {
        "" | "%" => 0,
        "k" | "K" => 3,
        "M" | "m" | "Mio" => 6,
        other if other.starts_with(['e', 'E']) && other[1..].parse::<i32>().is_ok() => {
            let value = format!("{number}{other}").parse::<f64>().ok()?;
            return written(sign, &value.to_string());
        }
        _ => 0,
    };
    let number: String = number.chars().filter(|c| matches!(c, '.' | ',') || c.is_ascii_digit()).collect();
    let (whole, fraction) = split_number(&number)?;
    let number = if factor > 0 {
        let zeros = factor - fraction.len().min(factor);
        if fraction.len() > factor {
            return None;
        }
        format!("{whole}{fraction}{}", "0".repeat(zeros))
    } else if fraction.is_empty() {
        whole
    } else {
        format!("{whole}.{fraction}")
    };
    written(sign, &number)
}

fn written(sign: &str, number: &str) -> Option<String> {
    let number = format!("{sign}{number}");
    let _: Decimal = number.parse().ok()?;
    Some(if number.parse::<i64>().is_ok() && !number.trim_start_matches('-').starts_with("00") {
        number
    } else {
        format!("\"{number}\"")
    })
}

/// Which of points and commas part thousands: the last one does not, unless three digits follow a comma.
fn split_number(number: &str) -> Option<(String, String)> {
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    if digits(number).is_empty() {
        return None;
    }
    let last = number.rfind(['.', ',']);
    let (whole, fraction) = match last {
        None => (digits(number), String::new()),
        Some(at) => {
            let (whole, fraction) = (&number[..at], &number[at + 1..]);
            let mark = number[at..].chars().next()?;
            let repeated = whole.contains(mark);
            let is_group = fraction.len() == 3 && (mark == ',' || repeated) && !whole.is_empty();
            if repeated && !is_group {
                return None;
            }
            if is_group { (digits(number), String::new()) } else { (digits(whole), fraction.to_owned()) }
        }
    };
    let whole = if whole.is_empty() { "0".to_owned() } else { whole };
    Some((whole, fraction))
}

/// A duration as it should have been written.
pub fn duration(node: &Node) -> Option<String> {
    let typed = match &node.data {
        Data::Text(text) => text.trim().to_ascii_lowercase(),
        Data::Integer(_) | Data::Float(_) => node.typed.clone()?,
        Data::Null | Data::Bool(_) | Data::List(_) | Data::Map(_) => return None,
    };
    if typed.parse::<u64>().is_ok() {
        return Some(format!("{typed}s, {typed}m or {typed}h"));
    }
    let mut seconds = 0.0;
    let mut rest = match typed.as_str() {
        "hourly" => "1h",
        "daily" => "24h",
        "weekly" => "168h",
        other => other,
    };
    while !rest.is_empty() {
        rest = rest.trim_start();
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let count: f64 = rest[..end].parse().ok()?;
        let after = rest[end..].trim_start();
        let end = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let length = match &after[..end] {
            "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3600.0,
            "d" | "day" | "days" => 86400.0,
            "w" | "week" | "weeks" => 604800.0,
            "ms" => 0.001,
            _ => return None,
        };
        seconds += count * length;
        rest = after[end..].trim_start();
        rest = rest.strip_prefix(',').or(rest.strip_prefix("and ")).unwrap_or(rest);
    }
    let whole = (1.0..1e9).contains(&seconds).then_some(seconds.round() as u64)?;
    Some(Duration::from_secs(whole).to_string())
}

/// A date as it should have been written. None where day and month could be either.
pub fn date(node: &Node) -> Option<String> {
    let typed = match &node.data {
        Data::Text(text) => text.trim(),
        Data::Integer(_) | Data::Float(_) => node.typed.as_deref()?,
        Data::Null | Data::Bool(_) | Data::List(_) | Data::Map(_) => return None,
    };
    let day = typed.split(['T', 't', ' ']).next()?;
    let parts: Vec<&str> = day.split(['.', '/', '-']).filter(|part| !part.is_empty()).collect();
    let number = |text: &str| text.parse::<i16>().ok();
    let (year, month, day) = match parts.as_slice() {
        [whole] if whole.len() == 8 => (number(whole.get(..4)?)?, number(whole.get(4..6)?)?, number(whole.get(6..)?)?),
        [year, month, day] if year.len() == 4 => (number(year)?, number(month)?, number(day)?),
        [first, second, year] if year.len() == 4 => {
            let (first, second) = (number(first)?, number(second)?);
            // Points are written where the day comes first.
            if day.contains('.') || first > 12 {
                (number(year)?, second, first)
            } else if second > 12 || first == second {
                (number(year)?, first, second)
            } else {
                return None;
            }
        }
        _ => return None,
    };
    Date::new(year, month.try_into().ok()?, day.try_into().ok()?).ok().map(|date| date.to_string())
}

/// The form `format: date` has: Go's `2006-01-02`.
pub fn is_date(text: &str) -> bool {
    let has_shape = text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() });
    has_shape && text.parse::<Date>().is_ok()
}

/// A time zone of the tz database, as the operator looks it up, that `typed` was probably meant to be.
pub fn zone(typed: &str) -> Option<String> {
    let typed = typed.trim();
    let abbreviation = match typed.to_ascii_uppercase().as_str() {
        "CET" | "CEST" | "MEZ" | "MESZ" => Some("Europe/Berlin"),
        "EST" | "EDT" | "ET" => Some("America/New_York"),
        "CST" | "CDT" => Some("America/Chicago"),
        "MST" | "MDT" => Some("America/Denver"),
        "PST" | "PDT" | "PT" => Some("America/Los_Angeles"),
        "BST" => Some("Europe/London"),
        "IST" => Some("Asia/Kolkata"),
        "JST" => Some("Asia/Tokyo"),
        "GMT" | "Z" | "UTC" => Some("UTC"),
        _ => None,
    };
    if let Some(name) = abbreviation {
        return Some(name.to_owned());
    }
    let simple = |text: &str| text.replace([' ', '_', '-'], "").to_ascii_lowercase();
    let wanted = simple(typed.rsplit('/').next().unwrap_or(typed));
    let names = jiff::tz::db().available();
    let cities: Vec<String> = names.map(|name| name.to_string()).filter(|name| name.contains('/')).collect();
    let city = |name: &String| name.rsplit('/').next().unwrap_or(name).to_owned();
    cities
        .iter()
        .find(|name| simple(&city(name)) == wanted && !name.starts_with("posix") && !name.starts_with("right"))
        .or_else(|| cities.iter().find(|name| wanted.len() > 4 && distance(&simple(&city(name)), &wanted) == 1))
        .cloned()
}

#[cfg(test)]
mod tests {
    use super::{super::yaml, *};

    fn node(text: &str) -> Node {
        yaml::read(&format!("a: {text}"), 0).unwrap().unwrap().root.get("a").unwrap().clone()
    }

    fn check(advice: fn(&Node) -> Option<String>, cases: &[(&str, Option<&str>)]) {
        for (text, want) in cases {
            assert_eq!(advice(&node(text)).as_deref(), *want, "{text}");
        }
    }

    #[test]
    fn decimals() {
        check(
            decimal,
            &[
                ("99.95", Some("\"99.95\"")),
                ("5,000", Some("5000")),
                ("\"5,000.50\"", Some("\"5000.50\"")),
                ("5.000,50", Some("\"5000.50\"")),
                ("1.234.567", Some("1234567")),
                ("99,5", Some("\"99.5\"")),
                ("75%", Some("75")),
                ("75.5 %", Some("\"75.5\"")),
                ("5000 leads", Some("5000")),
                ("€5000", Some("5000")),
                ("5k", Some("5000")),
                ("1.5M", Some("1500000")),
                ("\"1e6\"", Some("1000000")),
                ("12345678901234567890123", Some("\"12345678901234567890123\"")),
                ("many", None),
                ("1.2.3", None),
            ],
        );
    }

    #[test]
    fn durations() {
        check(
            duration,
            &[
                ("1 hour", Some("1h")),
                ("60", Some("60s, 60m or 60h")),
                ("1d", Some("24h")),
                ("1.5h", Some("1h30m")),
                ("30min", Some("30m")),
                ("1h 30m", Some("1h30m")),
                ("daily", Some("24h")),
                ("2 weeks", Some("336h")),
                ("soon", None),
                ("500ms", None),
            ],
        );
    }

    #[test]
    fn dates() {
        check(
            date,
            &[
                ("31.12.2026", Some("2026-12-31")),
                ("2026/12/31", Some("2026-12-31")),
                ("12/31/2026", Some("2026-12-31")),
                ("03/04/2026", None),
                ("2026-1-5", Some("2026-01-05")),
                ("20261231", Some("2026-12-31")),
                ("2026-12-31T10:00:00Z", Some("2026-12-31")),
                ("2026-02-30", None),
            ],
        );
    }

    #[test]
    fn zones_and_names() {
        for (typed, want) in [
            ("Berlin", "Europe/Berlin"),
            ("CET", "Europe/Berlin"),
            ("Europe/Pariss", "Europe/Paris"),
            ("new york", "America/New_York"),
        ] {
            assert_eq!(zone(typed).as_deref(), Some(want), "{typed}");
        }
        for (typed, want) in
            [("Title", Some("title")), ("tilte", Some("title")), ("owners", Some("owner")), ("xyz", None)]
        {
            assert_eq!(close(typed, ["title", "owner"]), want, "{typed}");
        }
    }
}
