//! Exact numbers: fractions of integers, so that a third is a third. Rounded only for show.

use std::cmp::Ordering;

use num_bigint::{BigInt, Sign};
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{Signed, ToPrimitive, Zero};

use crate::api::Decimal;

/// An exact fraction.
pub type Exact = BigRational;

/// BigQuery's largest exponent is that of FLOAT64 (308, and -324 for the smallest). A text beyond
/// that is not a value of ours, and would cost memory in proportion to its exponent.
const MAX_EXPONENT: i32 = 400;

/// BIGNUMERIC needs 79 characters at most, FLOAT64 fewer than 30.
const MAX_LENGTH: usize = 100;

/// The exact value of a decimal as BigQuery writes one: `42`, `-99.95`, `1.0E300`. None for NaN,
/// infinities and anything else.
pub fn parse(text: &str) -> Option<Exact> {
    if text.len() > MAX_LENGTH {
        return None;
    }
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let unsigned = whole.strip_prefix(['-', '+']).unwrap_or(whole);
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if unsigned.is_empty()
        || !all_digits(unsigned)
        || !all_digits(decimals)
        || !(-MAX_EXPONENT..=MAX_EXPONENT).contains(&exponent)
    {
        return None;
    }
    let digits: BigInt = format!("{whole}{decimals}").parse().ok()?;
    let scale = exponent - i32::try_from(decimals.len()).ok()?;
    let power = BigInt::from(10).pow(scale.unsigned_abs());
    Some(if scale < 0 { Exact::new(digits, power) } else { Exact::from_integer(digits * power) })
}

impl From<&Decimal> for Exact {
    fn from(decimal: &Decimal) -> Self {
        parse(decimal.as_str()).expect("a Decimal holds digits, one point and a sign only")
    }
}

/// An exact integer.
pub fn integer(value: i64) -> Exact {
    Exact::from_integer(value.into())
}

/// For people: rounded half-even to at most two decimals, without trailing zeros: `33.33`, `-10`.
pub fn two_places(value: &Exact) -> String {
    let hundredths = hundredths(value);
    let (whole, rest) = hundredths.magnitude().div_rem(&100u32.into());
    let sign = if hundredths.sign() == Sign::Minus { "-" } else { "" };
    let text = format!("{sign}{whole}.{rest:0>2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The nearest float. Only for what is shown: no status is decided by floats.
pub fn to_f64(value: &Exact) -> Option<f64> {
    ToPrimitive::to_f64(value).filter(|value| value.is_finite())
}

/// The same as a number.
pub fn rounded(value: &Exact) -> Exact {
    Exact::new(hundredths(value), 100.into())
}

/// Rounded half-even. On integers alone: the fractions of a roll-up may be long and not reduced, and to reduce one takes
/// time in proportion to the square of its length.
fn hundredths(value: &Exact) -> BigInt {
    let hundredfold: BigInt = value.numer() * 100u32;
    let (floor, rest) = hundredfold.div_mod_floor(value.denom());
    let up = match (rest * 2u32).cmp(value.denom()) {
        Ordering::Less => false,
        Ordering::Equal => floor.is_odd(),
        Ordering::Greater => true,
    };
    if up { floor + 1 } else { floor }
}

/// `a - b`, not reduced: see [`two_places`] for why.
pub fn difference(a: &Exact, b: &Exact) -> Exact {
    Exact::new_raw(a.numer() * b.denom() - b.numer() * a.denom(), a.denom() * b.denom())
}

/// `value` held between 0 and 100.
pub fn clamp_percent(value: &Exact) -> Exact {
    if value.is_negative() { Exact::zero() } else { value.clone().min(integer(100)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Option<String> {
        parse(text).map(|value| two_places(&value))
    }

    #[test]
    fn numbers_are_read_as_bigquery_writes_them() {
        let check = |text: &str, want: &str| assert_eq!(shown(text).as_deref(), Some(want), "{text}");
        check("42", "42");
        check("-0.5", "-0.5");
        check("1.0E2", "100");
        check("2.5e-1", "0.25");
        check("-0.0", "0");
        for not_a_number in
            ["NaN", "Infinity", "-Infinity", "", "-", "1.2.3", "0x10", "1e", "1e999999999", "1e-2147483648", "١"]
        {
            assert_eq!(parse(not_a_number), None, "{not_a_number}");
        }
        assert_eq!(parse(&"9".repeat(101)), None);
    }

    #[test]
    fn thirty_nine_digits_and_thirty_eight_decimals_survive() {
        let text = format!("{}.{}", "9".repeat(39), "1".repeat(38));
        let value = parse(&text).unwrap();
        let scale = Exact::from_integer(BigInt::from(10).pow(38));
        assert_eq!((value * scale).to_integer().to_string(), text.replace('.', ""));
    }

    #[test]
    fn halves_are_rounded_to_the_even_neighbour() {
        let check = |text: &str, want: &str| assert_eq!(shown(text).as_deref(), Some(want), "{text}");
        check("0.125", "0.12");
        check("0.135", "0.14");
        check("0.1350000000000000000000000000000000001", "0.14");
        check("-0.125", "-0.12");
        check("-0.004", "0");
        check("99.995", "100");
    }

    #[test]
    fn a_third_is_a_third() {
        let third = integer(1) / integer(3);
        assert_eq!(third.clone() + &third + &third, integer(1));
        assert_eq!(two_places(&(third * integer(100))), "33.33");
    }
}
