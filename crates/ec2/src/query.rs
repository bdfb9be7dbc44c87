//! Form-urlencoded requests as a bounded tree of parameters.
//!
//! EC2's Query protocol flattens structures and lists into names such as
//! `NetworkInterface.1.PrivateIpAddresses.2.Primary`. [`Parameters::parse`] builds the tree back,
//! with a limit on everything, and [`Cursor`] reads typed values out of it. Source: [AWS EC2 API
//! reference, "Making requests to the Amazon EC2 API"; botocore `EC2Serializer`].
//!
//! Nothing here knows an action: which names an action has is [`crate::model`]'s.

use std::collections::BTreeMap;

use crate::error::{ApiError, excerpt};

/// The most bytes a request body or query string may have. User data is at most 16 KiB and a rule
/// list at most a few hundred entries, so a megabyte leaves room for every legal request.
pub const MAX_REQUEST_BYTES: usize = 1 << 20;
/// The most parameters one request may have.
pub const MAX_PARAMETERS: usize = 8192;
/// The longest parameter name, in bytes after decoding.
pub const MAX_NAME_BYTES: usize = 256;
/// The most segments of a parameter name. The deepest name in the model has nine.
pub const MAX_DEPTH: usize = 12;
/// The largest list index.
pub const MAX_INDEX: u32 = 99_999;

/// A node of the tree: a value, or names below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A value, decoded.
    Value(String),
    /// What stands below a prefix.
    Branch(BTreeMap<String, Node>),
}

/// The parameters of one request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parameters {
    root: BTreeMap<String, Node>,
    count: usize,
}

impl Parameters {
    /// Parses form-urlencoded text into the tree, adding to what is there.
    ///
    /// Called once for the query string and once for the body; a name may occur only once over
    /// both.
    ///
    /// # Errors
    /// `MalformedQueryString` for text that is not form-urlencoded UTF-8, a name that occurs twice
    /// or is both a value and a prefix; `RequestEntityTooLarge` above the limits.
    pub fn parse(&mut self, encoded: &[u8]) -> Result<(), ApiError> {
        if encoded.len() > MAX_REQUEST_BYTES {
            return Err(too_large(format!(
                "The request has {} bytes, the limit is {MAX_REQUEST_BYTES}",
                encoded.len()
            )));
        }
        for pair in encoded.split(|byte| *byte == b'&') {
            if pair.is_empty() {
                continue;
            }
            let (name, value) = split_pair(pair);
            let name = decode_component(name)?;
            if name.len() > MAX_NAME_BYTES {
                return Err(too_large(format!(
                    "The parameter name {} has more than {MAX_NAME_BYTES} bytes",
                    excerpt(&name)
                )));
            }
            let value = decode_component(value)?;
            self.insert(&name, value)?;
        }
        Ok(())
    }

    /// Removes and returns a top-level value.
    pub fn take(&mut self, name: &str) -> Option<String> {
        match self.root.get(name) {
            Some(Node::Value(_)) => match self.root.remove(name) {
                Some(Node::Value(value)) => {
                    self.count -= 1;
                    Some(value)
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// Removes every top-level name with this prefix (a presigned request's `X-Amz-…`).
    pub fn remove_prefix(&mut self, prefix: &str) {
        self.root.retain(|name, _| !name.starts_with(prefix));
    }

    /// A cursor at the root.
    #[must_use]
    pub fn cursor(&self) -> Cursor<'_> {
        Cursor {
            branch: Some(&self.root),
            path: String::new(),
        }
    }

    /// The top-level names and what is below them.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.root.iter().map(|(name, node)| (name.as_str(), node))
    }

    fn insert(&mut self, name: &str, value: String) -> Result<(), ApiError> {
        if self.count >= MAX_PARAMETERS {
            return Err(too_large(format!(
                "The request has more than {MAX_PARAMETERS} parameters"
            )));
        }
        let clash = || {
            ApiError::malformed(format!(
                "The parameter {} occurs twice, or is both a value and a prefix",
                excerpt(name)
            ))
        };
        let mut branch = &mut self.root;
        let mut segments = name.split('.').enumerate().peekable();
        while let Some((depth, segment)) = segments.next() {
            if segment.is_empty() {
                return Err(ApiError::malformed(format!(
                    "The parameter name '{}' has an empty part",
                    excerpt(name)
                )));
            }
            if depth >= MAX_DEPTH {
                return Err(too_large(format!(
                    "The parameter name {} has more than {MAX_DEPTH} parts",
                    excerpt(name)
                )));
            }
            if segments.peek().is_none() {
                if branch.contains_key(segment) {
                    return Err(clash());
                }
                branch.insert(segment.to_owned(), Node::Value(value));
                self.count += 1;
                return Ok(());
            }
            let below = branch
                .entry(segment.to_owned())
                .or_insert_with(|| Node::Branch(BTreeMap::new()));
            match below {
                Node::Branch(inner) => branch = inner,
                Node::Value(_) => return Err(clash()),
            }
        }
        Ok(())
    }
}

/// A place in the tree from which an action's decoder reads.
///
/// A cursor on something absent reads as empty, so that decoders need no special case for an
/// optional structure.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    branch: Option<&'a BTreeMap<String, Node>>,
    path: String,
}

impl<'a> Cursor<'a> {
    /// Whether nothing was given here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.branch.is_none_or(BTreeMap::is_empty)
    }

    /// The full name of a member, as the caller wrote it.
    #[must_use]
    pub fn name_of(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// A value as text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&'a str> {
        match self.branch?.get(name)? {
            Node::Value(value) => Some(value),
            Node::Branch(_) => None,
        }
    }

    /// A value as text that must be there and not be empty.
    ///
    /// # Errors
    /// `MissingParameter`.
    pub fn required(&self, name: &str) -> Result<&'a str, ApiError> {
        match self.text(name) {
            Some(value) if !value.is_empty() => Ok(value),
            _ => Err(ApiError::missing(&self.name_of(name))),
        }
    }

    /// A value parsed by `FromStr`.
    ///
    /// # Errors
    /// `InvalidParameterValue` naming what was expected.
    pub fn parsed<T: std::str::FromStr>(&self, name: &str, expected: &str) -> Result<Option<T>, ApiError> {
        match self.text(name) {
            None => Ok(None),
            Some(value) => match value.parse() {
                Ok(parsed) => Ok(Some(parsed)),
                Err(_) => Err(ApiError::invalid(&self.name_of(name), value, expected)),
            },
        }
    }

    /// A boolean: `true` or `false`, in any case.
    ///
    /// # Errors
    /// `InvalidParameterValue`.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.text(name) {
            None => Ok(None),
            Some(value) => match parse_boolean(value) {
                Some(parsed) => Ok(Some(parsed)),
                None => Err(ApiError::invalid(&self.name_of(name), value, "true or false")),
            },
        }
    }

    /// The structure below a name; empty when absent.
    #[must_use]
    pub fn structure(&self, name: &str) -> Self {
        let branch = match self.branch.and_then(|branch| branch.get(name)) {
            Some(Node::Branch(inner)) => Some(inner),
            _ => None,
        };
        Cursor {
            branch,
            path: self.name_of(name),
        }
    }

    /// The structures of a list (`Name.1.…`, `Name.2.…`), in the order of their indices.
    #[must_use]
    pub fn structures(&self, name: &str) -> Vec<Self> {
        self.indexed(name)
            .into_iter()
            .filter_map(|(index, node)| match node {
                Node::Branch(inner) => Some(Cursor {
                    branch: Some(inner),
                    path: format!("{}.{index}", self.name_of(name)),
                }),
                Node::Value(_) => None,
            })
            .collect()
    }

    /// The values of a list (`Name.1`, `Name.2`), in the order of their indices.
    #[must_use]
    pub fn texts(&self, name: &str) -> Vec<&'a str> {
        self.indexed(name)
            .into_iter()
            .filter_map(|(_, node)| match node {
                Node::Value(value) => Some(value.as_str()),
                Node::Branch(_) => None,
            })
            .collect()
    }

    /// The values of a list, owned.
    #[must_use]
    pub fn strings(&self, name: &str) -> Vec<String> {
        self.texts(name).into_iter().map(str::to_owned).collect()
    }

    /// The values of a list, each parsed by `FromStr`.
    ///
    /// # Errors
    /// `InvalidParameterValue` naming the entry and what was expected.
    pub fn parsed_list<T: std::str::FromStr>(&self, name: &str, expected: &str) -> Result<Vec<T>, ApiError> {
        let mut parsed = Vec::new();
        for (index, node) in self.indexed(name) {
            if let Node::Value(value) = node {
                match value.parse() {
                    Ok(one) => parsed.push(one),
                    Err(_) => {
                        let full = format!("{}.{index}", self.name_of(name));
                        return Err(ApiError::invalid(&full, value, expected));
                    }
                }
            }
        }
        Ok(parsed)
    }

    fn indexed(&self, name: &str) -> Vec<(u32, &'a Node)> {
        let Some(Node::Branch(inner)) = self.branch.and_then(|branch| branch.get(name)) else {
            return Vec::new();
        };
        let mut entries: Vec<(u32, &Node)> = inner
            .iter()
            .filter_map(|(segment, node)| parse_index(segment).map(|index| (index, node)))
            .collect();
        entries.sort_unstable_by_key(|(index, _)| *index);
        entries
    }
}

/// A list index as it may stand in a name: from 1, with no sign and no leading zero, so that one
/// entry has one name.
pub(crate) fn parse_index(segment: &str) -> Option<u32> {
    if segment.starts_with(['0', '+']) {
        return None;
    }
    segment.parse().ok().filter(|index| *index <= MAX_INDEX)
}

/// A boolean as EC2 takes it: botocore sends lower case, other clients `True` or `TRUE`.
pub(crate) fn parse_boolean(value: &str) -> Option<bool> {
    if value.eq_ignore_ascii_case("true") {
        Some(true)
    } else if value.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

fn too_large(message: String) -> ApiError {
    ApiError::new("RequestEntityTooLarge", message)
}

fn split_pair(pair: &[u8]) -> (&[u8], &[u8]) {
    match pair.iter().position(|byte| *byte == b'=') {
        Some(at) => (&pair[..at], &pair[at + 1..]),
        None => (pair, &[]),
    }
}

/// Decodes `%XX` and `+` and checks that the result is text that XML can carry back.
pub(crate) fn decode_component(encoded: &[u8]) -> Result<String, ApiError> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let pair = match tail {
                    [high, low, after @ ..] => {
                        rest = after;
                        hex_digit(*high).zip(hex_digit(*low))
                    }
                    _ => None,
                };
                let Some((high, low)) = pair else {
                    return Err(ApiError::malformed(
                        "The request has a '%' that two hexadecimal digits do not follow",
                    ));
                };
                high << 4 | low
            }
            other => other,
        });
    }
    let Ok(text) = String::from_utf8(decoded) else {
        return Err(ApiError::malformed("The request is not UTF-8"));
    };
    if text.chars().any(is_forbidden_in_xml) {
        return Err(ApiError::malformed(
            "The request has a control character that XML cannot carry",
        ));
    }
    Ok(text)
}

/// Characters that no XML 1.0 document may have, not even escaped. Source: [XML 1.0 §2.2].
pub(crate) fn is_forbidden_in_xml(character: char) -> bool {
    matches!(character, '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Parameters, ApiError> {
        let mut parameters = Parameters::default();
        parameters.parse(text.as_bytes())?;
        Ok(parameters)
    }

    #[test]
    fn nested_names_become_a_tree() {
        let parameters = parse(
            "NetworkInterface.1.PrivateIpAddresses.2.Primary=true\
             &NetworkInterface.1.PrivateIpAddresses.10.Primary=false&NetworkInterface.1.DeviceIndex=0",
        )
        .unwrap();
        let interfaces = parameters.cursor().structures("NetworkInterface");
        assert_eq!(interfaces.len(), 1);
        assert_eq!(
            interfaces[0].parsed::<u32>("DeviceIndex", "a number"),
            Ok(Some(0))
        );
        let addresses = interfaces[0].structures("PrivateIpAddresses");
        assert_eq!(
            addresses[0].boolean("Primary"),
            Ok(Some(true)),
            "2 comes before 10"
        );
        assert_eq!(addresses[1].boolean("Primary"), Ok(Some(false)));
        assert_eq!(
            addresses[1].name_of("Primary"),
            "NetworkInterface.1.PrivateIpAddresses.10.Primary"
        );
    }

    #[test]
    fn percent_and_plus_are_decoded() {
        let parameters = parse("Description=a+b%20c%2Bd%26e%3D%C3%A9").unwrap();
        assert_eq!(parameters.cursor().text("Description"), Some("a b c+d&e=é"));
    }

    #[test]
    fn what_is_not_form_urlencoded_is_refused() {
        for text in [
            "A=%", "A=%4", "A=%zz", "A=%ff", "=x", "A..B=1", ".A=1", "A.=1", "A=%00", "A=%01",
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.code, "MalformedQueryString", "{text}");
        }
    }

    #[test]
    fn a_name_occurs_once() {
        for text in ["A=1&A=2", "A=1&A.B=2", "A.B=2&A=1"] {
            assert_eq!(parse(text).unwrap_err().code, "MalformedQueryString", "{text}");
        }
    }

    #[test]
    fn limits_hold() {
        let many: String = (0..=MAX_PARAMETERS).map(|index| format!("A{index}=&")).collect();
        assert_eq!(parse(&many).unwrap_err().code, "RequestEntityTooLarge");
        let deep = ["A"; MAX_DEPTH + 1].join(".");
        assert_eq!(parse(&deep).unwrap_err().code, "RequestEntityTooLarge");
        assert!(parse(&["A"; MAX_DEPTH].join(".")).is_ok());
        let long = "A".repeat(MAX_NAME_BYTES + 1);
        assert_eq!(parse(&long).unwrap_err().code, "RequestEntityTooLarge");
        let big = format!("A={}", "x".repeat(MAX_REQUEST_BYTES));
        assert_eq!(parse(&big).unwrap_err().code, "RequestEntityTooLarge");
    }

    #[test]
    fn an_index_has_one_spelling() {
        assert_eq!(parse_index("1"), Some(1));
        for bad in ["0", "01", "+1", "-1", "x", "", "100000", "99999999999999999999"] {
            assert_eq!(parse_index(bad), None, "{bad}");
        }
    }

    #[test]
    fn typed_values_name_the_parameter() {
        let parameters = parse("DryRun=maybe&List.1=x&Empty=").unwrap();
        let cursor = parameters.cursor();
        let error = cursor.boolean("DryRun").unwrap_err();
        assert_eq!(error.code, "InvalidParameterValue");
        assert!(error.message.contains("DryRun") && error.message.contains("maybe"));
        let error = cursor.parsed_list::<u16>("List", "a port").unwrap_err();
        assert!(error.message.contains("List.1"), "{}", error.message);
        assert_eq!(cursor.required("Empty").unwrap_err().code, "MissingParameter");
        assert_eq!(cursor.required("Absent").unwrap_err().code, "MissingParameter");
        assert!(cursor.structure("Absent").structure("Below").is_empty());
    }

    #[test]
    fn take_removes_a_value_only() {
        let mut parameters = parse("Action=X&B.1=2").unwrap();
        assert_eq!(parameters.take("B"), None);
        assert_eq!(parameters.take("Action"), Some("X".to_owned()));
        assert_eq!(parameters.take("Action"), None);
    }
}
