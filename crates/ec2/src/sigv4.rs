//! AWS Signature Version 4: who signed a request, for which region, and whether the signature holds.
//!
//! [`parse`] reads the claim of a request (the `Authorization` header, or the `X-Amz-…` parameters
//! of a presigned one), [`verify`] checks it against a source of [`Keys`], and [`sign`] makes
//! the headers for a client of our own. Source: [AWS IAM User Guide, "AWS Signature Version 4 for
//! API requests", 2026-11].
//!
//! The clock is an argument. Session tokens are taken as part of the signed request and mean
//! nothing here: there is no token service behind this card.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::error::{ApiError, excerpt};
use crate::query::decode_component;

/// The account of a key that does not name one. Source: [docs/design.md, "Conventions"].
pub const DEFAULT_ACCOUNT: &str = "000000000000";

/// How far a request's date may be from the card's clock, in seconds. Source: [AWS EC2 API
/// reference, "Common client error codes", `RequestExpired`: 15 minutes].
pub const DEFAULT_SKEW_S: i64 = 15 * 60;

/// The longest life of a presigned request, in seconds. Source: [AWS IAM User Guide, `X-Amz-Expires`:
/// 604,800].
pub const MAX_EXPIRES_S: i64 = 604_800;

/// A request as it came, before anything is believed.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// The path, still percent-encoded.
    pub path: &'a str,
    /// What follows the `?`, still encoded; empty when there is none.
    pub query: &'a str,
    /// Header names (any case) and values, in order. A value that is not UTF-8 is left out by the
    /// caller and is then not there.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// The first header of a name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers
            .iter()
            .find(|(have, _)| have.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }

    /// How many headers of a name there are.
    #[must_use]
    pub fn header_count(&self, name: &str) -> usize {
        self.headers
            .iter()
            .filter(|(have, _)| have.eq_ignore_ascii_case(name))
            .count()
    }
}

/// A secret access key. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// Where the secrets of known access keys come from.
pub trait Keys: fmt::Debug {
    /// The secret of an access key, if the key is known.
    fn lookup(&self, access_key: &str) -> Option<Secret>;
}

/// Known keys in memory. The default knows the conventional pair `test`/`test`.
#[derive(Debug, Clone)]
pub struct KeyTable(BTreeMap<String, Secret>);

impl KeyTable {
    /// A table that knows no key.
    #[must_use]
    pub fn empty() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds or replaces a key.
    pub fn insert(&mut self, access_key: impl Into<String>, secret: Secret) {
        self.0.insert(access_key.into(), secret);
    }
}

impl Default for KeyTable {
    fn default() -> Self {
        let mut table = Self::empty();
        table.insert("test", Secret::new("test"));
        table
    }
}

impl Keys for KeyTable {
    fn lookup(&self, access_key: &str) -> Option<Secret> {
        self.0.get(access_key).cloned()
    }
}

/// What to do with a well-formed signature by a key that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownKeys {
    /// Believe it. Right on loopback only, where whoever can connect is the user himself.
    AcceptAny,
    /// Refuse it with `InvalidClientTokenId`.
    Refuse,
}

/// The parts of a claim that came with the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The access key id.
    pub access_key: String,
    /// The scope's date, `YYYYMMDD`.
    pub date: String,
    /// The scope's region.
    pub region: String,
    /// The names of the signed headers, lower case, sorted, as the request gave them.
    pub signed_headers: Vec<String>,
    /// The signature.
    pub signature: [u8; 32],
    /// The time of signing as the request gave it, `YYYYMMDDTHHMMSSZ`.
    pub timestamp: String,
    /// The same as seconds since 1970.
    pub timestamp_s: i64,
    /// For a presigned request, for how many seconds it holds.
    pub expires_s: Option<i64>,
}

/// Who made a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The access key id.
    pub access_key: String,
    /// The account: the access key id if that is twelve digits, else [`DEFAULT_ACCOUNT`].
    pub account: String,
    /// The region of the signature's scope.
    pub region: String,
    /// Whether the key was known, so that the signature was checked in full.
    pub verified: bool,
}

/// Reads the claim of a request; nothing is verified yet.
///
/// # Errors
/// `MissingAuthenticationToken` for an unsigned request, `IncompleteSignature` for one whose parts
/// are missing or malformed, `AuthFailure` for a scope that is not EC2's.
pub fn parse(request: &Request<'_>) -> Result<Claim, ApiError> {
    let query = query_pairs(request.query)?;
    let presigned = query.iter().any(|(name, _)| name == "X-Amz-Algorithm");
    match (request.header("authorization"), presigned) {
        (Some(_), true) => Err(incomplete(
            "The request has both an Authorization header and an X-Amz-Algorithm parameter",
        )),
        (Some(_), false) if request.header_count("authorization") > 1 => {
            Err(incomplete("The request has more than one Authorization header"))
        }
        (Some(header), false) => parse_header(request, header),
        (None, true) => parse_presigned(&query),
        (None, false) => Err(ApiError::new(
            "MissingAuthenticationToken",
            "The request must be signed with an access key (any key will do on this endpoint)",
        )),
    }
}

/// Verifies a request's claim: its date, and its signature if the key is known.
///
/// `now_s` is the wall time in seconds since 1970.
///
/// # Errors
/// What [`parse`] returns; `RequestExpired` outside of the time that the request holds;
/// `SignatureDoesNotMatch` for a wrong signature by a known key; `InvalidClientTokenId` for an
/// unknown key under [`UnknownKeys::Refuse`].
pub fn verify(
    request: &Request<'_>,
    now_s: i64,
    keys: &dyn Keys,
    unknown: UnknownKeys,
    skew_s: i64,
) -> Result<Identity, ApiError> {
    let claim = parse(request)?;
    check_time(&claim, now_s, skew_s)?;
    let canonical = canonical_request(request, &claim)?;
    let verified = match (keys.lookup(&claim.access_key), unknown) {
        (Some(secret), _) => {
            let expected = signature(&secret, &claim, &canonical);
            if !bool::from(expected.ct_eq(&claim.signature)) {
                return Err(ApiError::new(
                    "SignatureDoesNotMatch",
                    "The request signature we calculated does not match the signature you \
                     provided. Check your secret access key and signing method.",
                )
                .with_context(canonical.chars().take(MAX_CONTEXT_CHARS).collect::<String>()));
            }
            true
        }
        (None, UnknownKeys::AcceptAny) => false,
        (None, UnknownKeys::Refuse) => {
            return Err(ApiError::new(
                "InvalidClientTokenId",
                "The access key id provided does not exist in our records.",
            ));
        }
    };
    Ok(Identity {
        account: account_of(&claim.access_key).to_owned(),
        access_key: claim.access_key,
        region: claim.region,
        verified,
    })
}

/// The account of an access key id.
#[must_use]
pub fn account_of(access_key: &str) -> &str {
    if access_key.len() == 12 && access_key.bytes().all(|byte| byte.is_ascii_digit()) {
        access_key
    } else {
        DEFAULT_ACCOUNT
    }
}

/// What a client signs with.
#[derive(Debug, Clone)]
pub struct Signer<'a> {
    /// The access key id.
    pub access_key: &'a str,
    /// Its secret.
    pub secret: &'a Secret,
    /// The region for the scope.
    pub region: &'a str,
    /// The wall time, in seconds since 1970.
    pub now_s: i64,
}

/// Signs a request for EC2: returns the headers to add (`X-Amz-Date` and `Authorization`).
///
/// The request must have its `Host` header and must not yet have the two. All headers it has are
/// signed except `User-Agent` and `Connection`, which proxies change.
///
/// # Errors
/// `IncompleteSignature` when the request has no `Host`, or a time before 1970 or after 9999.
pub fn sign(request: &Request<'_>, signer: &Signer<'_>) -> Result<[(&'static str, String); 2], ApiError> {
    let Some(timestamp) = format_timestamp(signer.now_s) else {
        return Err(incomplete("The time is outside of the years 1970 to 9999"));
    };
    let mut headers = request.headers.to_vec();
    headers.push(("x-amz-date", &timestamp));
    let mut signed: Vec<String> = headers
        .iter()
        .map(|(name, _)| name.to_ascii_lowercase())
        .filter(|name| name != "user-agent" && name != "connection")
        .collect();
    signed.sort_unstable();
    signed.dedup();
    let mut claim = Claim {
        access_key: signer.access_key.to_owned(),
        date: timestamp[..8].to_owned(),
        region: signer.region.to_owned(),
        signed_headers: signed,
        signature: [0; 32],
        timestamp: timestamp.clone(),
        timestamp_s: signer.now_s,
        expires_s: None,
    };
    let with_date = Request {
        headers: &headers,
        ..*request
    };
    let canonical = canonical_request(&with_date, &claim)?;
    claim.signature = signature(signer.secret, &claim, &canonical);
    let authorization = format!(
        "{ALGORITHM} Credential={}/{}, SignedHeaders={}, Signature={}",
        claim.access_key,
        scope(&claim),
        claim.signed_headers.join(";"),
        hex::encode(claim.signature)
    );
    Ok([("x-amz-date", timestamp), ("authorization", authorization)])
}

fn parse_header(request: &Request<'_>, header: &str) -> Result<Claim, ApiError> {
    let header = header.trim();
    let Some((algorithm, rest)) = header.split_once([' ', '\t']) else {
        return Err(incomplete("The Authorization header has no parameters"));
    };
    check_algorithm(algorithm)?;
    let mut fields = BTreeMap::new();
    for part in rest.split(',').take(MAX_FIELDS) {
        let Some((name, value)) = part.trim().split_once('=') else {
            return Err(incomplete(format!(
                "'{}' in the Authorization header is not a key=value pair",
                excerpt(part.trim())
            )));
        };
        if fields.insert(name.trim(), value.trim()).is_some() {
            return Err(incomplete("The Authorization header names a parameter twice"));
        }
    }
    let field = |name: &str| {
        fields.get(name).copied().ok_or_else(|| {
            incomplete(format!(
                "The Authorization header requires the parameter '{name}'"
            ))
        })
    };
    let (timestamp, timestamp_s) = header_time(request)?;
    let claim = build_claim(
        field("Credential")?,
        field("SignedHeaders")?,
        field("Signature")?,
        (timestamp, timestamp_s),
    )?;
    if request.header("x-amz-date").is_some() {
        require_signed(&claim, "x-amz-date")?;
    }
    Ok(claim)
}

fn parse_presigned(query: &[(String, String)]) -> Result<Claim, ApiError> {
    let field = |name: &str| {
        let mut found = query.iter().filter(|(have, _)| have == name);
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Ok(value.as_str()),
            (Some(_), Some(_)) => Err(incomplete(format!("The parameter {name} occurs twice"))),
            (None, _) => Err(incomplete(format!(
                "A presigned request requires the parameter {name}"
            ))),
        }
    };
    check_algorithm(field("X-Amz-Algorithm")?)?;
    let timestamp = field("X-Amz-Date")?;
    let Some(timestamp_s) = parse_timestamp(timestamp) else {
        return Err(incomplete(format!(
            "X-Amz-Date '{}' is not of the form YYYYMMDDTHHMMSSZ",
            excerpt(timestamp)
        )));
    };
    let expires = field("X-Amz-Expires")?;
    let Ok(expires_s @ 1..=MAX_EXPIRES_S) = expires.parse::<i64>() else {
        return Err(incomplete(format!(
            "X-Amz-Expires '{}' is not a number of seconds from 1 to {MAX_EXPIRES_S}",
            excerpt(expires)
        )));
    };
    let mut claim = build_claim(
        field("X-Amz-Credential")?,
        field("X-Amz-SignedHeaders")?,
        field("X-Amz-Signature")?,
        (timestamp.to_owned(), timestamp_s),
    )?;
    claim.expires_s = Some(expires_s);
    Ok(claim)
}

fn build_claim(
    credential: &str,
    signed_headers: &str,
    signature: &str,
    (timestamp, timestamp_s): (String, i64),
) -> Result<Claim, ApiError> {
    let parts: Vec<&str> = credential.split('/').take(6).collect();
    let &[access_key, date, region, service, terminator] = parts.as_slice() else {
        return Err(incomplete(
            "The credential is not of the form KEY/YYYYMMDD/REGION/ec2/aws4_request",
        ));
    };
    if access_key.is_empty()
        || access_key.len() > MAX_ACCESS_KEY_BYTES
        || !access_key.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(incomplete(
            "The credential's access key id is empty, too long or not ASCII",
        ));
    }
    if terminator != TERMINATOR || service != SERVICE {
        return Err(ApiError::new(
            "AuthFailure",
            format!(
                "The credential should be scoped to {SERVICE}/{TERMINATOR}, not {}/{}",
                excerpt(service),
                excerpt(terminator)
            ),
        ));
    }
    if !is_region(region) {
        return Err(ApiError::new(
            "AuthFailure",
            format!(
                "'{}' in the credential is not the name of a region",
                excerpt(region)
            ),
        ));
    }
    if timestamp.get(..8) != Some(date) {
        return Err(ApiError::new(
            "SignatureDoesNotMatch",
            "The date in the credential is not the date of the request",
        ));
    }
    let mut bytes = [0; 32];
    if hex::decode_to_slice(signature, &mut bytes).is_err() {
        return Err(incomplete("The signature is not 64 hexadecimal digits"));
    }
    let signed_headers: Vec<String> = signed_headers
        .split(';')
        .take(MAX_FIELDS + 1)
        .map(str::to_ascii_lowercase)
        .collect();
    if signed_headers.len() > MAX_FIELDS {
        return Err(incomplete(format!("More than {MAX_FIELDS} headers are signed")));
    }
    let claim = Claim {
        access_key: access_key.to_owned(),
        date: date.to_owned(),
        region: region.to_owned(),
        signed_headers,
        signature: bytes,
        timestamp,
        timestamp_s,
        expires_s: None,
    };
    require_signed(&claim, "host")?;
    Ok(claim)
}

fn require_signed(claim: &Claim, name: &str) -> Result<(), ApiError> {
    if claim.signed_headers.iter().any(|signed| signed == name) {
        return Ok(());
    }
    Err(incomplete(format!("The header '{name}' must be a signed header")))
}

fn check_algorithm(algorithm: &str) -> Result<(), ApiError> {
    if algorithm == ALGORITHM {
        return Ok(());
    }
    Err(incomplete(format!(
        "The signing algorithm '{}' is not supported, use {ALGORITHM}",
        excerpt(algorithm)
    )))
}

fn check_time(claim: &Claim, now_s: i64, skew_s: i64) -> Result<(), ApiError> {
    let age_s = now_s.saturating_sub(claim.timestamp_s);
    let limit_s = claim.expires_s.unwrap_or(skew_s);
    if age_s > limit_s {
        return Err(ApiError::new(
            "RequestExpired",
            format!(
                "Request has expired: it was signed at {}, {age_s} s ago",
                claim.timestamp
            ),
        ));
    }
    if age_s < -skew_s {
        return Err(ApiError::new(
            "RequestExpired",
            format!(
                "Request is not yet valid: it was signed at {}, in the future",
                claim.timestamp
            ),
        ));
    }
    Ok(())
}

fn header_time(request: &Request<'_>) -> Result<(String, i64), ApiError> {
    let bad =
        |name: &str, value: &str| incomplete(format!("The {name} header '{}' is not a date", excerpt(value)));
    if let Some(value) = request.header("x-amz-date") {
        let value = value.trim();
        return match parse_timestamp(value) {
            Some(seconds) => Ok((value.to_owned(), seconds)),
            None => Err(bad("X-Amz-Date", value)),
        };
    }
    let Some(value) = request.header("date") else {
        return Err(incomplete(
            "The Authorization header requires an X-Amz-Date or a Date header",
        ));
    };
    let parsed = parse_timestamp(value.trim()).or_else(|| {
        jiff::fmt::rfc2822::parse(value)
            .ok()
            .map(|zoned| zoned.timestamp().as_second())
    });
    match parsed.and_then(|seconds| Some((format_timestamp(seconds)?, seconds))) {
        Some(found) => Ok(found),
        None => Err(bad("Date", value)),
    }
}

/// The canonical request. Source: [AWS IAM User Guide, "Create a canonical request"].
fn canonical_request(request: &Request<'_>, claim: &Claim) -> Result<String, ApiError> {
    let mut query: Vec<(String, String)> = query_pairs(request.query)?
        .into_iter()
        .filter(|(name, _)| claim.expires_s.is_none() || name != "X-Amz-Signature")
        .map(|(name, value)| (encode(&name), encode(&value)))
        .collect();
    query.sort_unstable();
    let query: Vec<String> = query
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let mut headers = String::new();
    for name in &claim.signed_headers {
        let values: Vec<Cow<'_, str>> = request
            .headers
            .iter()
            .filter(|(have, _)| have.eq_ignore_ascii_case(name))
            .map(|(_, value)| collapse_spaces(value))
            .collect();
        if values.is_empty() {
            return Err(incomplete(format!(
                "The signed header '{}' is not in the request",
                excerpt(name)
            )));
        }
        headers.push_str(name);
        headers.push(':');
        headers.push_str(&values.join(","));
        headers.push('\n');
    }
    let path = if request.path.is_empty() {
        "/"
    } else {
        request.path
    };
    Ok(format!(
        "{}\n{}\n{}\n{headers}\n{}\n{}",
        request.method,
        encode_path(path),
        query.join("&"),
        claim.signed_headers.join(";"),
        hex::encode(Sha256::digest(request.body))
    ))
}

fn signature(secret: &Secret, claim: &Claim, canonical: &str) -> [u8; 32] {
    let to_sign = format!(
        "{ALGORITHM}\n{}\n{}\n{}",
        claim.timestamp,
        scope(claim),
        hex::encode(Sha256::digest(canonical.as_bytes()))
    );
    let mut key = hmac_sha256(format!("AWS4{}", secret.0).as_bytes(), claim.date.as_bytes());
    for part in [claim.region.as_str(), SERVICE, TERMINATOR] {
        key = hmac_sha256(&key, part.as_bytes());
    }
    hmac_sha256(&key, to_sign.as_bytes())
}

fn scope(claim: &Claim) -> String {
    format!("{}/{}/{SERVICE}/{TERMINATOR}", claim.date, claim.region)
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    // HMAC takes a key of any length (RFC 2104 §3), so the constructor cannot fail.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

fn query_pairs(query: &str) -> Result<Vec<(String, String)>, ApiError> {
    if query.len() > crate::query::MAX_REQUEST_BYTES {
        return Err(ApiError::new(
            "RequestEntityTooLarge",
            "The query string is too long",
        ));
    }
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((
                decode_component(name.as_bytes())?,
                decode_component(value.as_bytes())?,
            ))
        })
        .collect()
}

/// Percent-encodes all but the unreserved characters of RFC 3986 §2.3, as SigV4 wants it.
pub(crate) fn encode(text: &str) -> String {
    encode_except(text, |_| false)
}

fn encode_path(path: &str) -> String {
    encode_except(path, |byte| byte == b'/')
}

fn encode_except(text: &str, keep: impl Fn(u8) -> bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || keep(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push_str(&hex::encode_upper([byte]));
        }
    }
    encoded
}

fn collapse_spaces(value: &str) -> Cow<'_, str> {
    let value = value.trim();
    if !value.contains("  ") {
        return Cow::Borrowed(value);
    }
    let words: Vec<&str> = value.split(' ').filter(|word| !word.is_empty()).collect();
    Cow::Owned(words.join(" "))
}

fn is_region(region: &str) -> bool {
    (1..=MAX_REGION_BYTES).contains(&region.len())
        && region
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn parse_timestamp(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let number = |range: std::ops::Range<usize>| -> Option<i8> {
        let digits = text.get(range)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
        digits.parse().ok()
    };
    let century = i16::from(number(0..2)?);
    let year = century * 100 + i16::from(number(2..4)?);
    let date = jiff::civil::DateTime::new(
        year,
        number(4..6)?,
        number(6..8)?,
        number(9..11)?,
        number(11..13)?,
        number(13..15)?,
        0,
    )
    .ok()?;
    let zoned = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(zoned.timestamp().as_second())
}

fn format_timestamp(seconds: i64) -> Option<String> {
    let timestamp = jiff::Timestamp::from_second(seconds)
        .ok()
        .filter(|_| seconds >= 0)?;
    Some(timestamp.strftime("%Y%m%dT%H%M%SZ").to_string())
}

fn incomplete(message: impl Into<String>) -> ApiError {
    ApiError::new("IncompleteSignature", message)
}

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "ec2";
const TERMINATOR: &str = "aws4_request";
/// The most parts of an Authorization header and the most signed headers that are read.
const MAX_FIELDS: usize = 64;
/// Source: [botocore IAM model, `accessKeyIdType`: 16 to 128 characters]; conventional keys such as
/// `test` are shorter.
const MAX_ACCESS_KEY_BYTES: usize = 128;
const MAX_REGION_BYTES: usize = 32;
/// How much of a canonical request the log gets: enough to compare with a client's own.
const MAX_CONTEXT_CHARS: usize = 2048;
