//! Checks and conversions that several actions share.

use std::hash::{Hash, Hasher};
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use crate::draft::Draft;
use crate::error::{Ec2Error, ErrorCode};
use crate::ids::{VpcId, clip};
use crate::quota;
use crate::resource::{Idempotency, Kind, Tags, Vpc};
use crate::shape::{Tag, TagSpecification};
pub(super) use crate::view::tag_list as show_tags;

/// Refuses an empty required string.
pub(super) fn required<'c>(parameter: &str, text: &'c str) -> Result<&'c str, Ec2Error> {
    if text.is_empty() {
        return Err(Ec2Error::missing(parameter));
    }
    Ok(text)
}

/// Refuses an empty list.
pub(super) fn some<'c, T>(parameter: &str, list: &'c [T]) -> Result<&'c [T], Ec2Error> {
    if list.is_empty() {
        return Err(Ec2Error::missing(parameter));
    }
    Ok(list)
}

/// The error for a value that a parameter does not take.
pub(super) fn bad_value(parameter: &str, value: &str, why: &str) -> Ec2Error {
    let value = clip(value);
    Ec2Error::invalid_value(format!(
        "Value ({value}) for parameter {parameter} is invalid. {why}"
    ))
}

/// An IPv4 block in canonical form; host bits are cleared, as EC2 does.
pub(super) fn ipv4_block(parameter: &str, text: &str) -> Result<Ipv4Net, Ec2Error> {
    let block: Result<Ipv4Net, _> = text.parse();
    let block = block.map_err(|_| bad_value(parameter, text, "This is not a valid CIDR block."))?;
    Ok(block.trunc())
}

/// An IPv6 block in canonical form.
pub(super) fn ipv6_block(parameter: &str, text: &str) -> Result<Ipv6Net, Ec2Error> {
    let block: Result<Ipv6Net, _> = text.parse();
    let block = block.map_err(|_| bad_value(parameter, text, "This is not a valid IPv6 CIDR block."))?;
    Ok(block.trunc())
}

/// An IPv4 address.
pub(super) fn ipv4_address(parameter: &str, text: &str) -> Result<Ipv4Addr, Ec2Error> {
    text.parse()
        .map_err(|_| bad_value(parameter, text, "This is not a valid IPv4 address."))
}

/// An IPv6 address.
pub(super) fn ipv6_address(parameter: &str, text: &str) -> Result<Ipv6Addr, Ec2Error> {
    text.parse()
        .map_err(|_| bad_value(parameter, text, "This is not a valid IPv6 address."))
}

/// A count of a request: not negative, and small enough to mean something.
pub(super) fn count(parameter: &str, value: i32) -> Result<usize, Ec2Error> {
    match usize::try_from(value) {
        Ok(count) if count <= MAX_COUNT => Ok(count),
        _ => Err(bad_value(
            parameter,
            &value.to_string(),
            "Expecting a small positive number.",
        )),
    }
}

/// The tags that a request gives to the resource of one kind that it makes.
pub(super) fn tags(specifications: &[TagSpecification], kind: Kind) -> Result<Tags, Ec2Error> {
    for specification in specifications {
        let text = specification.resource_type.as_deref().unwrap_or_default();
        if text != kind.as_str() {
            return Err(Ec2Error::invalid_value(format!(
                "'{}' is not a valid taggable resource type for this operation.",
                clip(text)
            )));
        }
    }
    tags_of(specifications, kind)
}

/// The tags that a request gives to one of the kinds of resource that it makes.
pub(super) fn tags_of(specifications: &[TagSpecification], kind: Kind) -> Result<Tags, Ec2Error> {
    let mut tags = Tags::new();
    let wanted = specifications
        .iter()
        .filter(|s| s.resource_type.as_deref() == Some(kind.as_str()));
    for tag in wanted.flat_map(|s| &s.tags) {
        let (key, value) = tag_pair(tag)?;
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(Ec2Error::invalid_value(
                "Duplicate tag key found. Please specify each tag key once.",
            ));
        }
    }
    check_tag_count(&tags)?;
    Ok(tags)
}

/// Key and value of a tag that a caller sets.
pub(super) fn tag_pair(tag: &Tag) -> Result<(&str, &str), Ec2Error> {
    let key = tag.key.as_deref().unwrap_or_default();
    let value = tag.value.as_deref().unwrap_or_default();
    if key.is_empty() {
        return Err(Ec2Error::invalid_value("Tag keys cannot be empty"));
    }
    if key.starts_with("aws:") {
        return Err(Ec2Error::invalid_value(
            "Tag keys starting with 'aws:' are reserved for internal use",
        ));
    }
    if key.chars().count() > quota::TAG_KEY_CHARS {
        return Err(Ec2Error::invalid_value(
            "Tag key exceeds the maximum length of 128 characters",
        ));
    }
    if value.chars().count() > quota::TAG_VALUE_CHARS {
        return Err(Ec2Error::invalid_value(
            "Tag value exceeds the maximum length of 256 characters",
        ));
    }
    Ok((key, value))
}

/// Refuses more tags than a resource may have.
pub(super) fn check_tag_count(tags: &Tags) -> Result<(), Ec2Error> {
    if tags.len() > quota::TAGS_PER_RESOURCE {
        return Err(Ec2Error::new(
            ErrorCode::TagLimitExceeded,
            "The maximum number of tags has been reached for the resource.",
        ));
    }
    Ok(())
}

/// The default VPC, or the error of a call that needs one.
pub(super) fn default_vpc(draft: &Draft<'_>) -> Result<VpcId, Ec2Error> {
    let mut vpcs = draft.all::<Vpc>().filter(|vpc| vpc.is_default);
    let id = vpcs.next().map(|vpc| vpc.id);
    id.ok_or_else(|| Ec2Error::new(ErrorCode::VpcIdNotSpecified, "No default VPC for this user."))
}

/// Refuses a call that would take a count over its quota.
pub(super) fn within(
    have: usize,
    more: usize,
    quota: usize,
    code: ErrorCode,
    what: &str,
) -> Result<(), Ec2Error> {
    if have + more > quota {
        return Err(Ec2Error::new(
            code,
            format!("The maximum number of {what} has been reached."),
        ));
    }
    Ok(())
}

/// What an idempotent call leaves on what it makes; `None` without a token.
///
/// The digest is of the request's text; it only has to differ where requests differ, so that a token
/// used for something else is refused.
pub(super) fn idempotency(
    action: &str,
    token: Option<&str>,
    request: &impl std::fmt::Debug,
) -> Result<Option<Idempotency>, Ec2Error> {
    let Some(token) = token.filter(|t| !t.is_empty()) else {
        return Ok(None);
    };
    if token.len() > quota::CLIENT_TOKEN_BYTES || !token.is_ascii() {
        return Err(bad_value(
            "clientToken",
            token,
            "Expecting at most 64 ASCII characters.",
        ));
    }
    let mut hasher = Fnv::default();
    format!("{request:?}").hash(&mut hasher);
    Ok(Some(Idempotency {
        token: format!("{action}:{token}"),
        digest: hasher.finish(),
    }))
}

/// Refuses a token that came with other parameters before.
pub(super) fn same_request(before: &Idempotency, now: &Idempotency) -> Result<(), Ec2Error> {
    if before.digest != now.digest {
        return Err(Ec2Error::new(
            ErrorCode::IdempotentParameterMismatch,
            "The client token was used before with other parameters.",
        ));
    }
    Ok(())
}

/// FNV-1a, 64 bits: digests are stored, so they must not change with the toolchain.
///
/// Source: [RFC 9923 §6].
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// No request makes more of anything in one call.
const MAX_COUNT: usize = 256;
