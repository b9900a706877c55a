//! The value types that Kubernetes has no type of its own for, each kept exactly as it was typed.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::form;

/// Why a value was not understood. The API server refuses such a value already; this is for files
/// checked without one, and for objects stored under an older CRD.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error("{0:?} is not a decimal: write at most 39 digits and 38 decimals, such as 5000 or \"99.95\"")]
    Decimal(String),
    #[error("{0:?} is not a duration: write hours, minutes and seconds, such as 1h30m")]
    Duration(String),
    #[error("{0:?} is not a number of bytes: write a Kubernetes quantity, such as 10Gi")]
    Bytes(String),
}

/// An exact decimal, typed as an integer or a string: `5000`, `"99.95"`. Never a float, which would
/// already have been rounded before we see it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Decimal(String);

impl Decimal {
    /// The text as it was typed.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Decimal {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let digits = |part: &str, most: usize| {
            (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let fits = match unsigned.split_once('.') {
            Some((whole, decimals)) => digits(whole, 39) && digits(decimals, 38),
            None => digits(unsigned, 39),
        };
        if fits { Ok(Self(text.to_owned())) } else { Err(ValueError::Decimal(text.to_owned())) }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        int_or_string(deserializer, "an integer or a string such as \"99.95\"")
    }
}

impl JsonSchema for Decimal {
    fn schema_name() -> Cow<'static, str> {
        "Decimal".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "pattern": form::DECIMAL.pattern,
            "maxLength": 79,
        })
    }
}

/// A Go-style duration of whole hours, minutes and seconds: `1h`, `90m`, `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Duration(std::time::Duration);

impl Duration {
    pub const fn from_secs(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    pub const fn as_secs(self) -> u64 {
        self.0.as_secs()
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.as_secs();
        let parts = [(seconds / 3600, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
        if seconds == 0 {
            return formatter.write_str("0s");
        }
        parts.iter().filter(|(count, _)| *count > 0).try_for_each(|(count, unit)| write!(formatter, "{count}{unit}"))
    }
}

impl FromStr for Duration {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let error = || ValueError::Duration(text.to_owned());
        let (mut seconds, mut rest) = (0u64, text);
        for (unit, length) in [('h', 3600), ('m', 60), ('s', 1)] {
            let Some((count, after)) = rest.split_once(unit) else { continue };
            let count: u64 = count.parse().map_err(|_| error())?;
            seconds = count.checked_mul(length).and_then(|add| seconds.checked_add(add)).ok_or_else(error)?;
            rest = after;
        }
        if text.is_empty() || !rest.is_empty() || text.contains('+') {
            Err(error())
        } else {
            Ok(Self::from_secs(seconds))
        }
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": form::DURATION.pattern,
            "minLength": 2,
            "maxLength": 24,
        })
    }
}

/// A number of bytes, typed as a Kubernetes quantity: `10Gi`, `1.5Ti`, `500M`, `1048576`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

const BYTE_UNITS: [(&str, u64); 10] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
];

impl FromStr for Bytes {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let error = || ValueError::Bytes(text.to_owned());
        let (count, unit) = BYTE_UNITS
            .iter()
            .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|count| (count, *unit)))
            .unwrap_or((text, 1));
        let (whole, thousandths) = match count.split_once('.') {
            Some((whole, decimals)) if unit > 1 && (1..=3).contains(&decimals.len()) => {
                (whole, format!("{decimals:0<3}"))
            }
            Some(_) => return Err(error()),
            None => (count, "000".to_owned()),
        };
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(&thousandths) {
            return Err(error());
        }
        let count: u128 = format!("{whole}{thousandths}").parse().map_err(|_| error())?;
        // A part of a byte counts as one, as in Kubernetes. BigQuery takes an INT64.
        let bytes = count.checked_mul(u128::from(unit)).and_then(|bytes| i64::try_from(bytes.div_ceil(1000)).ok());
        bytes.map(|bytes| Self(bytes.unsigned_abs())).ok_or_else(error)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let largest = BYTE_UNITS[..5].iter().rev().find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(*unit));
        match largest {
            Some((suffix, unit)) => write!(formatter, "{}{suffix}", self.0 / unit),
            None => write!(formatter, "{}", self.0),
        }
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        int_or_string(deserializer, "a quantity of bytes such as \"10Gi\"")
    }
}

impl JsonSchema for Bytes {
    fn schema_name() -> Cow<'static, str> {
        "Bytes".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "pattern": form::BYTES.pattern,
            "maxLength": 20,
        })
    }
}

/// A calendar day: `2026-10-01`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Date(pub jiff::civil::Date);

impl fmt::Display for Date {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl JsonSchema for Date {
    fn schema_name() -> Cow<'static, str> {
        "Date".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date" })
    }
}

/// Reads what Kubernetes calls an int-or-string, whichever way it was typed.
fn int_or_string<'de, D, T>(deserializer: D, expected: &'static str) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = ValueError>,
{
    struct Visitor<T>(&'static str, std::marker::PhantomData<T>);

    impl<T: FromStr<Err = ValueError>> de::Visitor<'_> for Visitor<T> {
        type Value = T;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str(self.0)
        }

        fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
            self.visit_str(&value.to_string())
        }

        fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
            self.visit_str(&value.to_string())
        }

        fn visit_str<E: de::Error>(self, value: &str) -> Result<T, E> {
            value.parse().map_err(E::custom)
        }
    }

    deserializer.deserialize_any(Visitor(expected, std::marker::PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(json: &str) -> Result<String, String> {
        serde_json::from_str::<Decimal>(json).map(|decimal| decimal.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn decimals_are_kept_as_typed() {
        let widest = format!("-{}.{}", "9".repeat(39), "1".repeat(38));
        assert_eq!(decimal("5000"), Ok("5000".to_owned()));
        assert_eq!(decimal("\"99.950\""), Ok("99.950".to_owned()));
        assert_eq!(decimal(&format!("\"{widest}\"")), Ok(widest));
    }

    #[test]
    fn floats_and_other_text_are_not_decimals() {
        for json in ["99.95", "\"1e3\"", "\"\"", "\"-\"", "\"1.\"", "\".5\"", "\"+1\"", "\"NaN\"", "true"] {
            assert!(decimal(json).is_err(), "{json} was accepted");
        }
        assert!(decimal(&format!("\"{}\"", "9".repeat(40))).is_err());
    }

    #[test]
    fn durations_are_go_style() {
        let check = |text: &str, want: Option<u64>| {
            assert_eq!(text.parse::<Duration>().ok().map(Duration::as_secs), want, "{text}");
        };
        check("1h", Some(3600));
        check("90m", Some(5400));
        check("1h30m5s", Some(5405));
        check("336h", Some(1_209_600));
        for wrong in ["", "1", "h", "30m1h", "-1h", "1.5h", "1 h", "+1h", "1d"] {
            check(wrong, None);
        }
        assert_eq!(Duration::from_secs(5405).to_string(), "1h30m5s");
        assert_eq!(Duration::from_secs(3600).to_string(), "1h");
    }

    #[test]
    fn bytes_are_quantities() {
        let check = |text: &str, want: Option<u64>| {
            assert_eq!(text.parse::<Bytes>().ok().map(|bytes| bytes.0), want, "{text}");
        };
        check("1048576", Some(1 << 20));
        check("10Gi", Some(10 << 30));
        check("500M", Some(500_000_000));
        check("1.5Gi", Some(3 << 29));
        check("0.001Ki", Some(2));
        check("999.999Pi", Some(1_125_898_780_942_717_158));
        for wrong in ["", "Gi", ".5Gi", "1.Gi", "1.5", "1.5.5Gi", "1.0001Gi", "+1Gi", "-1", "1GiB", "99999999Pi"] {
            check(wrong, None);
        }
        assert_eq!(Bytes(10 << 30).to_string(), "10Gi");
        assert_eq!(Bytes(1_500).to_string(), "1500");
    }
}
