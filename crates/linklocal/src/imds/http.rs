//! HTTP/1.1 as far as the metadata service needs it: requests with a bounded head, replies with a
//! known length, connections that stay open.

use crate::refusal::Refusal;

/// TCP port of the service.
pub const PORT: u16 = 80;

/// The most bytes of a request's head (request line and headers).
pub const HEAD_MAX_BYTES: usize = 8192;

/// The most headers of a request.
pub const HEADERS_MAX: usize = 64;

/// The longest body that a request may bring. No request of this service needs one: it is skipped.
pub const BODY_MAX_BYTES: usize = 4096;

/// A request, borrowed from the bytes that it came in.
#[derive(Debug)]
pub struct Request<'a> {
    /// `GET`, `PUT` and so on, as sent.
    pub method: &'a str,
    /// The request target, as sent.
    pub target: &'a str,
    /// Whether the connection goes on after the reply.
    pub keep_alive: bool,
    headers: Vec<httparse::Header<'a>>,
}

impl<'a> Request<'a> {
    /// The value of the first header with this name, in any case.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value)
    }
}

/// What the bytes at the front of a connection are.
#[derive(Debug)]
pub enum Parsed<'a> {
    /// The beginning of a request.
    Partial,
    /// A request, and the bytes (head and body) that it took.
    Complete(Request<'a>, usize),
}

/// No request: what to answer before the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// HTTP status of the answer.
    pub status: u16,
    /// What is counted.
    pub why: Refusal,
}

/// Reads the request at the front of `bytes`.
pub fn parse(bytes: &[u8]) -> Result<Parsed<'_>, Malformed> {
    const BAD: Malformed = Malformed {
        status: 400,
        why: Refusal::ImdsBadRequest,
    };
    let mut storage = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut storage);
    let head_len = match head.parse(bytes) {
        Ok(httparse::Status::Complete(len)) if len <= HEAD_MAX_BYTES => len,
        Ok(httparse::Status::Partial) if bytes.len() <= HEAD_MAX_BYTES => return Ok(Parsed::Partial),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => {
            return Err(Malformed {
                status: 431,
                why: Refusal::ImdsTooLarge,
            });
        }
        Err(_) => return Err(BAD),
    };
    let (Some(method), Some(target), Some(version)) = (head.method, head.path, head.version) else {
        return Err(BAD);
    };
    let mut request = Request {
        method,
        target,
        keep_alive: version == 1,
        headers: head.headers.to_vec(),
    };
    if let Some(connection) = request.header("connection") {
        request.keep_alive = keep_alive(version, connection);
    }
    let body_len = body_len(&request).map_err(|status| Malformed {
        status,
        why: if status == 413 {
            Refusal::ImdsTooLarge
        } else {
            Refusal::ImdsBadRequest
        },
    })?;
    let total = head_len + body_len;
    if bytes.len() < total {
        return Ok(Parsed::Partial);
    }
    Ok(Parsed::Complete(request, total))
}

fn keep_alive(version: u8, connection: &[u8]) -> bool {
    let has = |option: &[u8]| {
        connection
            .split(|&b| b == b',')
            .any(|part| part.trim_ascii().eq_ignore_ascii_case(option))
    };
    if has(b"close") {
        return false;
    }
    version == 1 || has(b"keep-alive")
}

/// The length of the body, or the status that refuses it.
///
/// Two lengths, or a chunked body beside a length, are how a request is smuggled past a proxy; neither
/// has any use here, so that all of them are refused.
fn body_len(request: &Request<'_>) -> Result<usize, u16> {
    if request.header("transfer-encoding").is_some() {
        return Err(400);
    }
    let mut lengths = request
        .headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("content-length"));
    let Some(length) = lengths.next() else {
        return Ok(0);
    };
    let digits = length.value;
    if lengths.next().is_some() || digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(400);
    }
    let text = std::str::from_utf8(digits).map_err(|_| 400_u16)?;
    match text.parse::<usize>() {
        Ok(length) if length <= BODY_MAX_BYTES => Ok(length),
        _ => Err(413),
    }
}

/// The path of a request target: without scheme, authority and query, percent escapes decoded.
/// `None` when it is no path or the escapes give no UTF-8.
pub fn decoded_path(target: &str) -> Option<String> {
    let path = match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => target,
    };
    let path = path.split(['?', '#']).next()?;
    if !path.starts_with('/') {
        return None;
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = after;
            continue;
        }
        let (digits, after) = after.split_at_checked(2)?;
        bytes.push(hex_digit(digits[0])? << 4 | hex_digit(digits[1])?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    /// The IP hop limit that the packets of this reply must have; `None` = the usual one.
    pub hop_limit: Option<u8>,
    /// Whether the connection ends after this reply whatever the client asked for.
    pub close: bool,
    content_type: &'static str,
    allow: Option<&'static str>,
    token_ttl_s: Option<u32>,
}

impl Response {
    /// 200 with text.
    pub fn text(body: Vec<u8>) -> Self {
        Self::new(200, "text/plain", body)
    }

    /// 200 with bytes of no known kind.
    pub fn bytes(body: Vec<u8>) -> Self {
        Self::new(200, "application/octet-stream", body)
    }

    /// A status without a body.
    pub fn empty(status: u16) -> Self {
        Self::new(status, "text/plain", Vec::new())
    }

    /// An error, with the XHTML page that EC2 sends: scripts look for its `404 - Not Found`.
    pub fn error(status: u16) -> Self {
        let title = format!("{status} - {}", reason(status));
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n\
             <!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Transitional//EN\"\n\
             \t\"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd\">\n\
             <html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">\n \
             <head>\n  <title>{title}</title>\n </head>\n \
             <body>\n  <h1>{title}</h1>\n </body>\n</html>\n"
        );
        Self::new(status, "text/html", body.into_bytes())
    }

    fn new(status: u16, content_type: &'static str, body: Vec<u8>) -> Self {
        Self {
            status,
            body,
            hop_limit: None,
            close: false,
            content_type,
            allow: None,
            token_ttl_s: None,
        }
    }

    /// Names the methods that the path has.
    #[must_use]
    pub fn with_allow(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self
    }

    /// Says how long the token lives.
    #[must_use]
    pub fn with_token_ttl(mut self, ttl_s: u32) -> Self {
        self.token_ttl_s = Some(ttl_s);
        self
    }

    /// Limits how far the reply travels.
    #[must_use]
    pub fn with_hop_limit(mut self, hop_limit: u8) -> Self {
        self.hop_limit = Some(hop_limit);
        self
    }

    /// Ends the connection after this reply.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// The bytes of the reply. `head_only` leaves the body out, as HEAD asks for.
    pub fn emit(&self, wall_ns: u64, keep_alive: bool, head_only: bool) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        if let Some(ttl_s) = self.token_ttl_s {
            head.push_str(&format!("X-Aws-Ec2-Metadata-Token-Ttl-Seconds: {ttl_s}\r\n"));
        }
        if let Some(methods) = self.allow {
            head.push_str(&format!("Allow: {methods}\r\n"));
        }
        let connection = if keep_alive && !self.close {
            "keep-alive"
        } else {
            "close"
        };
        head.push_str(&format!(
            "Content-Type: {}\r\nAccept-Ranges: none\r\nContent-Length: {}\r\nDate: {}\r\n\
             Server: EC2ws\r\nConnection: {connection}\r\n\r\n",
            self.content_type,
            self.body.len(),
            http_date(wall_ns),
        ));
        let mut bytes = head.into_bytes();
        if !head_only {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        _ => "Internal Server Error",
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
///
/// Source: [RFC 9110 §5.6.7] for the form; the calendar is the proleptic Gregorian one, counted in
/// eras of 400 years that begin on the first of March, so that the leap day is the last of its year.
fn http_date(wall_ns: u64) -> String {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb",
    ];
    let seconds = wall_ns / 1_000_000_000;
    let days = seconds / 86_400;
    // 719,468 days lie between 1 March of the year 0 and 1 January 1970.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let year = year_of_era + era * 400 + u64::from(month >= 10);
    let weekday = usize::try_from(days % 7).map_or("", |at| WEEKDAYS[at]);
    let month = usize::try_from(month).ok().and_then(|at| MONTHS.get(at)).copied();
    format!(
        "{weekday}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        month.unwrap_or_default(),
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(bytes: &[u8]) -> (Request<'_>, usize) {
        match parse(bytes) {
            Ok(Parsed::Complete(request, len)) => (request, len),
            other => panic!("{other:?}"),
        }
    }

    fn status(bytes: &[u8]) -> u16 {
        match parse(bytes) {
            Err(malformed) => malformed.status,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_in_pieces_is_partial_until_its_last_byte() {
        let bytes = b"PUT /latest/api/token HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
        for len in 0..bytes.len() {
            assert!(matches!(parse(&bytes[..len]), Ok(Parsed::Partial)), "{len}");
        }
        let (request, len) = complete(bytes);
        assert_eq!((request.method, len), ("PUT", bytes.len()));
    }

    #[test]
    fn connections_stay_open_as_version_and_header_say() {
        assert!(complete(b"GET / HTTP/1.1\r\n\r\n").0.keep_alive);
        assert!(
            !complete(b"GET / HTTP/1.1\r\nConnection: Close\r\n\r\n")
                .0
                .keep_alive
        );
        assert!(!complete(b"GET / HTTP/1.0\r\n\r\n").0.keep_alive);
        assert!(
            complete(b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
                .0
                .keep_alive
        );
    }

    #[test]
    fn smuggling_and_oversize_are_refused() {
        assert_eq!(
            status(b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"),
            400
        );
        assert_eq!(
            status(b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"),
            400
        );
        assert_eq!(status(b"GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\n"), 400);
        assert_eq!(status(b"GET / HTTP/1.1\r\nContent-Length: 4097\r\n\r\n"), 413);
        assert_eq!(
            status(b"GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n"),
            413
        );
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(HEAD_MAX_BYTES));
        assert_eq!(status(long.as_bytes()), 431);
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
        assert_eq!(status(many.as_bytes()), 431);
        assert_eq!(status(b"\x16\x03\x01\x02\x00\x01\x00"), 400);
    }

    #[test]
    fn paths_are_decoded_once() {
        assert_eq!(decoded_path("/a%20b?c#d").as_deref(), Some("/a b"));
        assert_eq!(decoded_path("http://169.254.169.254/x").as_deref(), Some("/x"));
        assert_eq!(decoded_path("http://169.254.169.254").as_deref(), Some("/"));
        assert_eq!(decoded_path("/%2525").as_deref(), Some("/%25"));
        assert_eq!(decoded_path("/%ff"), None);
        assert_eq!(decoded_path("/%4"), None);
        assert_eq!(decoded_path("*"), None);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let at = |seconds: u64| http_date(seconds * 1_000_000_000);
        assert_eq!(at(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(at(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(at(4_107_542_400), "Mon, 01 Mar 2100 00:00:00 GMT");
    }
}
