//! The instance metadata service (IMDS) at 169.254.169.254 and fd00:ec2::254, port 80.
//!
//! [`tree`] makes what is served, [`http`] reads requests and writes replies, [`token`] makes and
//! checks session tokens, and [`answer`] is the service itself: one request in, one reply out, with
//! no socket and no clock. The TCP connections that carry both are
//! the responder's.
//!
//! Source: [AWS doc docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html].
//!
//! Every dated version below `/` serves the same, newest tree; EC2 hides from an older version the
//! categories that came after it. There are no IAM roles, so `iam/` answers 404 as on an instance
//! without an instance profile, and the identity document comes without signatures. [assumed A-21]

pub mod http;
pub mod token;
pub mod tree;

use crate::metadata::{InstanceMetadata, MetadataOptions};
use crate::refusal::Refusal;
use http::{Request, Response};
use token::Tokens;
use tree::Content;

/// Answers one request of an instance; what was refused comes beside the reply, to be counted.
///
/// `wall_ns` is the time since 1970 and `draw` gives the random part of a new token.
pub fn answer(
    tokens: &Tokens,
    wall_ns: u64,
    draw: &mut dyn FnMut() -> [u8; token::NONCE_BYTES],
    metadata: &InstanceMetadata,
    request: &Request<'_>,
) -> (Response, Option<Refusal>) {
    if !metadata.options.enabled {
        return refuse(403, Refusal::ImdsDisabled);
    }
    let Some(path) = http::decoded_path(request.target) else {
        return refuse(400, Refusal::ImdsBadRequest);
    };
    let is_token_path = is_token_path(&path);
    match request.method {
        "PUT" if is_token_path => put_token(tokens, wall_ns, draw(), metadata, request),
        "OPTIONS" => (Response::empty(200).with_allow(allowed(is_token_path)), None),
        "GET" | "HEAD" if !is_token_path => get(tokens, wall_ns, metadata, request, &path),
        _ => {
            let (response, why) = refuse(405, Refusal::ImdsMethod);
            (response.with_allow(allowed(is_token_path)), why)
        }
    }
}

/// The reply to bytes that are no request at all, and which close the connection.
pub fn bad_request(status: u16) -> Response {
    Response::error(status).closing()
}

fn refuse(status: u16, why: Refusal) -> (Response, Option<Refusal>) {
    (Response::error(status), Some(why))
}

fn allowed(is_token_path: bool) -> &'static str {
    if is_token_path {
        "OPTIONS, PUT"
    } else {
        "OPTIONS, GET, HEAD"
    }
}

/// `/latest/api/token`: the path of token requests exists in the `latest` version only.
fn is_token_path(path: &str) -> bool {
    path.trim_end_matches('/') == "/latest/api/token"
}

/// `PUT /latest/api/token`: a session token, for the time that the caller asked for.
fn put_token(
    tokens: &Tokens,
    wall_ns: u64,
    nonce: [u8; token::NONCE_BYTES],
    metadata: &InstanceMetadata,
    request: &Request<'_>,
) -> (Response, Option<Refusal>) {
    let hop_limit = hop_limit(metadata.options);
    // A reverse proxy adds this header; a token must not travel through one.
    if request.header("x-forwarded-for").is_some() {
        let (response, why) = refuse(403, Refusal::ImdsForwarded);
        return (response.with_hop_limit(hop_limit), why);
    }
    let ttl_s = request
        .header("x-aws-ec2-metadata-token-ttl-seconds")
        .and_then(parse_ttl);
    let Some(ttl_s) = ttl_s else {
        let (response, why) = refuse(400, Refusal::ImdsTokenTtl);
        return (response.with_hop_limit(hop_limit), why);
    };
    let token = tokens.issue(&metadata.instance_id, wall_ns, ttl_s, nonce);
    let response = Response::text(token.into_bytes())
        .with_token_ttl(ttl_s)
        .with_hop_limit(hop_limit);
    (response, None)
}

/// 1 to 64; a value outside (an old state file, a bug above) must not make the reply immortal.
fn hop_limit(options: MetadataOptions) -> u8 {
    options.hop_limit.clamp(1, 64)
}

/// Whole seconds, 1 to 21,600 (six hours).
fn parse_ttl(value: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(value).ok()?.trim();
    if text.is_empty() || text.len() > 5 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let ttl_s = text.parse().ok()?;
    (1..=token::TTL_MAX_S).contains(&ttl_s).then_some(ttl_s)
}

fn get(
    tokens: &Tokens,
    wall_ns: u64,
    metadata: &InstanceMetadata,
    request: &Request<'_>,
    path: &str,
) -> (Response, Option<Refusal>) {
    let remaining_s = match request.header("x-aws-ec2-metadata-token") {
        None if metadata.options.tokens_required => return refuse(401, Refusal::ImdsTokenMissing),
        None => None,
        Some(token) => match tokens.check(&metadata.instance_id, wall_ns, token) {
            Some(remaining_s) => Some(remaining_s),
            None => return refuse(401, Refusal::ImdsTokenInvalid),
        },
    };
    let response = match tree::find(metadata, path) {
        Some(Content::Text(text)) => Response::text(text.into_bytes()),
        Some(Content::Bytes(bytes)) => Response::bytes(bytes),
        None => return refuse(404, Refusal::ImdsNotFound),
    };
    let response = match remaining_s {
        Some(remaining_s) => response.with_token_ttl(remaining_s),
        None => response,
    };
    (response, None)
}

#[cfg(test)]
mod tests;
