//! Accounts and regions: whose resources, and where.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// An AWS account: 12 decimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct AccountId(u64);

impl AccountId {
    /// The account with this number; `None` above 12 digits.
    pub const fn new(number: u64) -> Option<Self> {
        if number < 1_000_000_000_000 {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The account that these 12 digits name.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 12 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        text.parse().ok().and_then(Self::new)
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012}", self.0)
    }
}

/// The name of a region (`us-east-1`), cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RegionName(Arc<str>);

impl RegionName {
    /// Parses a name: lower-case letters, digits and dashes, at most 32.
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let good = (1..=32).contains(&text.len())
            && text.bytes().all(allowed)
            && text.as_bytes()[0].is_ascii_lowercase();
        good.then(|| Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for RegionName {
    fn default() -> Self {
        Self("us-east-1".into())
    }
}

impl fmt::Display for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One account in one region: what a call sees.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Scope {
    /// The account.
    pub account: AccountId,
    /// The region.
    pub region: RegionName,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.account, self.region)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_have_12_digits() {
        assert_eq!(
            AccountId::parse("000000000012").unwrap().to_string(),
            "000000000012"
        );
        for text in ["", "12", "0000000000123", "00000000001x", "+00000000012"] {
            assert_eq!(AccountId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn region_names_are_bounded() {
        assert!(RegionName::parse("eu-west-1").is_some());
        for text in ["", "-x", "EU", "a b", &"a".repeat(33)] {
            assert_eq!(RegionName::parse(text), None, "{text}");
        }
    }
}
