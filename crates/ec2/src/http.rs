//! One HTTP request in, who asks for what out; an answer in, one HTTP reply out. Still pure: the
//! caller owns the socket, the clock and the randomness.
//!
//! [`handle`] refuses, in this order: what a web page could have sent ([`guard`]), what is not
//! signed or signed wrongly ([`crate::sigv4`]), and what is not a request that trinic has
//! ([`crate::actions`]).
//!
//! A page in the user's browser can reach a port on loopback. It cannot set `Authorization` without
//! a preflight that we never answer, it names itself with `Origin` on every POST and with
//! `Sec-Fetch-Site` on the rest, and under DNS rebinding it sends its own name as `Host`. All of
//! those are refused. What remains is a browser that sends no `Sec-Fetch-Site` and loads a presigned
//! address as an image: so presigned requests are for actions that only read. That is narrower than
//! EC2, and deliberate, because any key is good here.

use trinic_vpc::command::Command;
use trinic_vpc::error::Ec2Error;
use trinic_vpc::reply::Reply;

use crate::actions::Action;
use crate::error::{ApiError, excerpt};
use crate::query::{MAX_REQUEST_BYTES, Parameters};
use crate::sigv4::{self, DEFAULT_SKEW_S, Identity, KeyTable, Keys, Request, UnknownKeys};
use crate::xml::{self, API_VERSION};

/// What this endpoint believes and serves.
#[derive(Debug)]
pub struct Policy {
    /// The keys whose signatures are checked in full.
    pub keys: Box<dyn Keys + Send + Sync>,
    /// What becomes of the others.
    pub unknown_keys: UnknownKeys,
    /// How far a request's date may be from the clock, in seconds.
    pub skew_s: i64,
    /// Names beside those of loopback under which the endpoint is reached, lower case, no port.
    pub hosts: Vec<String>,
}

impl Default for Policy {
    /// The policy for loopback: `test`/`test` is checked, any other key is believed.
    fn default() -> Self {
        Self {
            keys: Box::new(KeyTable::default()),
            unknown_keys: UnknownKeys::AcceptAny,
            skew_s: DEFAULT_SKEW_S,
            hosts: Vec::new(),
        }
    }
}

/// A request that may be carried out.
#[derive(Debug, Clone)]
pub struct Authenticated {
    /// Who asks, in which account and region.
    pub identity: Identity,
    /// The action.
    pub action: &'static Action,
    /// What to do.
    pub command: Command,
    /// The id that the reply carries.
    pub request_id: String,
}

impl Authenticated {
    /// The account that the request acts in.
    #[must_use]
    pub fn account(&self) -> &str {
        &self.identity.account
    }

    /// The region that the request acts in.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.identity.region
    }

    /// The HTTP reply for what the model decided.
    #[must_use]
    pub fn answer(&self, decided: Result<&Reply, &Ec2Error>) -> HttpReply {
        let encoded = match decided {
            Ok(reply) => self.action.encode(reply, &self.request_id),
            Err(error) => Err(ApiError::from(error.clone())),
        };
        match encoded {
            Ok(body) => HttpReply {
                status: 200,
                request_id: self.request_id.clone(),
                body,
                error: None,
            },
            Err(error) => HttpReply::error(error, &self.request_id),
        }
    }
}

/// What goes back to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpReply {
    /// The HTTP status.
    pub status: u16,
    /// For the `x-amzn-requestid` header; the body has it too.
    pub request_id: String,
    /// The XML document, of type [`CONTENT_TYPE`].
    pub body: String,
    /// The error that the body tells, with its context for the log.
    pub error: Option<ApiError>,
}

impl HttpReply {
    /// The reply for an error.
    #[must_use]
    pub fn error(error: ApiError, request_id: &str) -> Self {
        Self {
            status: error.status,
            request_id: request_id.to_owned(),
            body: xml::error(&error, request_id),
            error: Some(error),
        }
    }
}

/// The content type of every reply.
pub const CONTENT_TYPE: &str = "text/xml;charset=UTF-8";

/// Checks and decodes a request.
///
/// `now_s` is the wall time in seconds since 1970; `request_id` is a fresh id, see [`request_id`].
///
/// # Errors
/// The reply to send instead.
pub fn handle(
    request: &Request<'_>,
    now_s: i64,
    request_id: &str,
    policy: &Policy,
) -> Result<Authenticated, Box<HttpReply>> {
    admit(request, now_s, policy)
        .map(|(identity, action, command)| Authenticated {
            identity,
            action,
            command,
            request_id: request_id.to_owned(),
        })
        .map_err(|error| Box::new(HttpReply::error(error, request_id)))
}

/// A request id in the form that EC2 gives, from random bits.
#[must_use]
pub fn request_id(random: u128) -> String {
    // The version and variant bits of a random UUID. Source: [RFC 9562 §5.4].
    let bits = random & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let text = format!("{bits:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &text[..8],
        &text[8..12],
        &text[12..16],
        &text[16..20],
        &text[20..]
    )
}

fn admit(
    request: &Request<'_>,
    now_s: i64,
    policy: &Policy,
) -> Result<(Identity, &'static Action, Command), ApiError> {
    guard(request, &policy.hosts)?;
    check_form(request)?;
    let identity = sigv4::verify(
        request,
        now_s,
        policy.keys.as_ref(),
        policy.unknown_keys,
        policy.skew_s,
    )?;
    let mut parameters = Parameters::default();
    parameters.parse(request.query.as_bytes())?;
    let presigned = request.header("authorization").is_none();
    if presigned {
        parameters.remove_prefix("X-Amz-");
    }
    if request.method == "POST" {
        parameters.parse(request.body)?;
    }
    let action = take_action(&mut parameters)?;
    if presigned && !only_reads(action.name) {
        return Err(ApiError::new(
            "UnsupportedOperation",
            format!(
                "A presigned request may only read, and {} does not; sign it with an Authorization header",
                action.name
            ),
        ));
    }
    let command = action.decode(&parameters)?;
    Ok((identity, action, command))
}

/// Refuses what a web page or a foreign name could have brought here.
///
/// # Errors
/// `InvalidHost` for a `Host` that is not loopback's nor one of `hosts`, `CrossOrigin` for a
/// request from a browser's page; both are trinic's own codes, with status 403.
pub fn guard(request: &Request<'_>, hosts: &[String]) -> Result<(), ApiError> {
    let refuse = |code: &'static str, message: String| {
        let mut error = ApiError::new(code, message);
        error.status = 403;
        Err(error)
    };
    let host = match (request.header("host"), request.header_count("host")) {
        (Some(host), 1) => host.trim(),
        _ => return refuse("InvalidHost", "The request must have one Host header".to_owned()),
    };
    if !is_served(host, hosts) {
        return refuse(
            "InvalidHost",
            format!("The host '{}' is not served here", excerpt(host)),
        );
    }
    for name in BROWSER_HEADERS {
        if request.header(name).is_some() {
            return refuse(
                "CrossOrigin",
                format!("Requests from a web page (they have the header {name}) are refused"),
            );
        }
    }
    Ok(())
}

fn is_served(host: &str, hosts: &[String]) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, "")) => name,
            Some((name, port)) if is_port(port) => name,
            _ => return false,
        },
        None => match host.find(':') {
            Some(at) if is_port(&host[at..]) => &host[..at],
            Some(_) => return false,
            None => host,
        },
    };
    LOOPBACK_NAMES
        .iter()
        .copied()
        .chain(hosts.iter().map(String::as_str))
        .any(|served| served.eq_ignore_ascii_case(name))
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':')
        .is_some_and(|port| port.parse::<u16>().is_ok() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

fn check_form(request: &Request<'_>) -> Result<(), ApiError> {
    if request.body.len() > MAX_REQUEST_BYTES {
        return Err(ApiError::new(
            "RequestEntityTooLarge",
            format!("The request has more than {MAX_REQUEST_BYTES} bytes"),
        ));
    }
    if !matches!(request.path, "" | "/") {
        let mut error = ApiError::new(
            "InvalidRequest",
            format!(
                "There is nothing at {}; the EC2 API is at /",
                excerpt(request.path)
            ),
        );
        error.status = 404;
        return Err(error);
    }
    if !matches!(request.method, "GET" | "POST") {
        let mut error = ApiError::new(
            "InvalidRequest",
            format!("The method {} is not GET or POST", excerpt(request.method)),
        );
        error.status = 405;
        return Err(error);
    }
    let form = request.header("content-type").is_none_or(|value| {
        let kind = value.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
    });
    if request.method == "POST" && !form {
        let mut error = ApiError::new(
            "InvalidRequest",
            "The content type must be application/x-www-form-urlencoded",
        );
        error.status = 415;
        return Err(error);
    }
    Ok(())
}

fn take_action(parameters: &mut Parameters) -> Result<&'static Action, ApiError> {
    let Some(name) = parameters.take("Action").filter(|name| !name.is_empty()) else {
        return Err(ApiError::new(
            "MissingAction",
            "The request must contain the parameter Action",
        ));
    };
    match parameters.take("Version") {
        None => return Err(ApiError::missing("Version")),
        Some(version) if version != API_VERSION => {
            return Err(ApiError::new(
                "NoSuchVersion",
                format!(
                    "The API version '{}' is not served, use {API_VERSION}",
                    excerpt(&version)
                ),
            ));
        }
        Some(_) => {}
    }
    Action::find(&name)
}

fn only_reads(action: &str) -> bool {
    action.starts_with("Describe") || action.starts_with("Get")
}

const LOOPBACK_NAMES: [&str; 3] = ["127.0.0.1", "localhost", "::1"];
/// Headers that browsers add and that no AWS client sends.
const BROWSER_HEADERS: [&str; 3] = ["Origin", "Sec-Fetch-Site", "Referer"];
