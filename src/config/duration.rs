//! Durations as people write them.

use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A positive length of time. Written as jiff writes spans (`10y`, `90d`, `87600h`, `1h30m`, `P30D`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Lifetime(SignedDuration);

impl Lifetime {
    /// The length.
    #[must_use]
    pub const fn get(self) -> SignedDuration {
        self.0
    }
}

impl FromStr for Lifetime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_duration(text).map(Self)
    }
}

impl TryFrom<String> for Lifetime {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Lifetime> for String {
    fn from(lifetime: Lifetime) -> Self {
        lifetime.to_string()
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

/// How long to wait; zero (`0`) means for ever, as in kubectl.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Timeout(SignedDuration);

impl Timeout {
    pub(super) const fn new(duration: SignedDuration) -> Self {
        Self(duration)
    }

    /// The longest wait; zero for ever.
    #[must_use]
    pub const fn get(self) -> SignedDuration {
        self.0
    }
}

impl TryFrom<String> for Timeout {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        parse_timeout(&text).map(Self)
    }
}

impl From<Timeout> for String {
    fn from(timeout: Timeout) -> Self {
        if timeout.0.is_zero() { "0".into() } else { Lifetime(timeout.0).to_string() }
    }
}

/// Reads how long to wait: a duration as in [`parse_duration`], or `0` for ever.
///
/// # Errors
/// As [`parse_duration`].
pub fn parse_timeout(text: &str) -> Result<SignedDuration, String> {
    if matches!(text, "0" | "0s") { Ok(SignedDuration::ZERO) } else { parse_duration(text) }
}

/// Reads a positive duration. A year is 365 days, as in kubeadm's constants (`cmd/kubeadm/app/constants/constants.go`), a day
/// 24 hours; months are refused, because nobody can say how long one is.
///
/// # Errors
/// A sentence that quotes the text.
pub fn parse_duration(text: &str) -> Result<SignedDuration, String> {
    let wrong = |why: &str| format!("`{text}` is not a duration: {why}; write for example 10y, 90d, 87600h or 5m");
    let span: Span = text.parse().map_err(|_| wrong("it cannot be read"))?;
    if span.get_months() != 0 {
        return Err(wrong("months differ in length"));
    }
    let days = i64::from(span.get_years()) * 365 + i64::from(span.get_weeks()) * 7 + i64::from(span.get_days());
    let time = span.years(0).weeks(0).days(0);
    let time = SignedDuration::try_from(time).map_err(|_| wrong("it is out of range"))?;
    let total = SignedDuration::from_hours(days * 24).checked_add(time).ok_or_else(|| wrong("it is out of range"))?;
    if total.is_positive() { Ok(total) } else { Err(wrong("it must be longer than zero")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn years_days_and_hours_mean_what_kubeadm_means() {
        assert_eq!(parse_duration("10y"), parse_duration("87600h"));
        assert_eq!(parse_duration("1w2d"), Ok(SignedDuration::from_hours(9 * 24)));
        assert_eq!(parse_duration("1h30m"), Ok(SignedDuration::from_mins(90)));
    }

    #[test]
    fn what_is_no_length_is_refused_and_quoted() {
        for text in ["", "soon", "5", "0s", "-1h", "1mo"] {
            let error = parse_duration(text).unwrap_err();
            assert!(error.starts_with(&format!("`{text}` is not a duration")), "{error}");
        }
    }

    #[test]
    fn only_a_timeout_may_be_zero() {
        assert_eq!(parse_timeout("0"), Ok(SignedDuration::ZERO));
        assert_eq!(String::from(Timeout(SignedDuration::ZERO)), "0");
        assert!(parse_duration("0s").is_err() && parse_timeout("-1s").is_err());
    }

    #[test]
    fn what_is_printed_can_be_read_again() {
        let lifetime = Lifetime(SignedDuration::from_mins(87_600 * 60 + 90));
        assert_eq!(lifetime.to_string().parse(), Ok(lifetime));
    }
}
