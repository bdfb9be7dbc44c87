//! The demo's own client of the EC2 API: signed Query requests over HTTP, answers as a small tree.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use quick_xml::Reader;
use quick_xml::escape::unescape;
use quick_xml::events::Event;
use trinic_ec2::sigv4::{Request, Secret, Signer, sign};

/// The most bytes of an answer that are read.
const MOST_BYTES: u64 = 16 << 20;

/// A client of one endpoint.
#[derive(Debug, Clone)]
pub(super) struct Api {
    endpoint: SocketAddr,
}

/// An error that the API answered.
#[derive(Debug, thiserror::Error)]
#[error("{action}: {code}: {message}")]
pub(super) struct ApiError {
    action: String,
    code: String,
    message: String,
}

impl Api {
    /// Where it calls.
    pub(super) fn endpoint(&self) -> SocketAddr {
        self.endpoint
    }

    pub(super) fn new(endpoint: SocketAddr) -> Self {
        Self { endpoint }
    }

    /// Calls an action with its parameters (`("VpcId", "vpc-…")`); the root element of the answer.
    pub(super) fn call(&self, action: &str, parameters: &[(&str, &str)]) -> Result<Element> {
        let mut body = format!("Action={action}&Version=2016-11-15");
        for (name, value) in parameters {
            body.push_str(&format!("&{name}={}", percent_encoded(value)));
        }
        let (status, text) = self.post(&body)?;
        let root =
            Element::parse(&text).with_context(|| format!("{action} gave an answer that is not XML"))?;
        if status == 200 {
            return Ok(root);
        }
        let of = |path| root.text(path).unwrap_or_default().to_owned();
        let (code, message) = (of("Errors/Error/Code"), of("Errors/Error/Message"));
        bail!(ApiError {
            action: action.into(),
            code,
            message
        })
    }

    fn post(&self, body: &str) -> Result<(u16, String)> {
        let host = self.endpoint.to_string();
        let length = body.len().to_string();
        let kind = "application/x-www-form-urlencoded; charset=utf-8";
        let headers = [
            ("host", host.as_str()),
            ("content-type", kind),
            ("content-length", &length),
            ("connection", "close"),
        ];
        let request = Request {
            method: "POST",
            path: "/",
            query: "",
            headers: &headers,
            body: body.as_bytes(),
        };
        let now_s = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
        let secret = Secret::new("test");
        let signer = Signer {
            access_key: "test",
            secret: &secret,
            region: "us-east-1",
            now_s,
        };
        let signature =
            sign(&request, &signer).map_err(|error| anyhow::anyhow!("Could not sign: {error}"))?;
        let mut head = String::from("POST / HTTP/1.1\r\n");
        let signed = signature.iter().map(|(name, value)| (*name, value.as_str()));
        for (name, value) in headers.into_iter().chain(signed) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut stream = TcpStream::connect_timeout(&self.endpoint, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
        let mut answer = String::new();
        stream.take(MOST_BYTES).read_to_string(&mut answer)?;
        let (head, text) = answer
            .split_once("\r\n\r\n")
            .context("The answer has no end of its head")?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Ok((status.context("The answer has no status")?, text.to_owned()))
    }
}

/// Percent-encodes all but the unreserved characters. Source: RFC 3986 §2.3.
fn percent_encoded(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// An XML element: a name, its text, its children.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

impl Element {
    fn parse(text: &str) -> Result<Self> {
        let mut reader = Reader::from_str(text);
        let mut open = vec![Self::default()];
        loop {
            match reader.read_event()? {
                Event::Start(start) => {
                    let name = start.local_name().as_ref().to_owned();
                    open.push(Self {
                        name,
                        ..Self::default()
                    });
                }
                Event::Empty(start) => {
                    let name = start.local_name().as_ref().to_owned();
                    open.last_mut()
                        .context("No element is open")?
                        .children
                        .push(Self {
                            name,
                            ..Self::default()
                        });
                }
                Event::Text(part) => {
                    open.last_mut()
                        .context("No element is open")?
                        .text
                        .push_str(&part.xml10_content());
                }
                Event::GeneralRef(reference) => {
                    let escaped = format!("&{};", &*reference);
                    let text = unescape(&escaped).context("The answer has an unknown entity")?;
                    open.last_mut()
                        .context("No element is open")?
                        .text
                        .push_str(&text);
                }
                Event::End(_) => {
                    let done = open.pop().context("No element is open")?;
                    open.last_mut()
                        .context("More ends than starts")?
                        .children
                        .push(done);
                }
                Event::Eof => break,
                _ => {}
            }
        }
        let mut top = open.pop().context("No element is open")?;
        if !open.is_empty() {
            bail!("The document ends inside an element");
        }
        top.children.pop().context("The document is empty")
    }

    /// The first element at a path of names (`instancesSet/item`).
    pub(super) fn find(&self, path: &str) -> Option<&Self> {
        path.split('/').try_fold(self, |at, name| {
            at.children.iter().find(|child| child.name == name)
        })
    }

    /// The text of the first element at a path.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.find(path).map(|found| found.text.as_str())
    }

    /// The text at a path that an answer must have.
    pub(super) fn get(&self, path: &str) -> Result<String> {
        self.text(path)
            .map(str::to_owned)
            .with_context(|| format!("The answer has no {path}: {self}"))
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>{}", self.name, self.text.trim())?;
        self.children.iter().try_for_each(|child| child.fmt(f))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_by_paths() {
        let text = "<?xml version=\"1.0\"?><R xmlns=\"x\"><a><item><b>1</b></item><item><b>2</b></item></a><c/><d>1 &lt; 2&#33;</d></R>";
        let root = Element::parse(text).unwrap();
        assert_eq!(root.text("a/item/b"), Some("1"));
        assert_eq!(root.text("c"), Some(""));
        assert_eq!(root.text("d"), Some("1 < 2!"));
        assert!(root.get("a/d").unwrap_err().to_string().contains("no a/d"));
        assert!(Element::parse("<R><a></R>").is_err());
        assert!(Element::parse("").is_err());
    }

    #[test]
    fn values_are_encoded() {
        assert_eq!(percent_encoded("a b/0&ü"), "a%20b%2F0%26%C3%BC");
    }
}
