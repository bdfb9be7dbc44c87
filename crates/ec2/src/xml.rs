//! A writer for EC2's XML replies.
//!
//! Replies are small trees of elements with text at the leaves and lists of `item`s; the writer
//! gives exactly that, so that an encoder reads like the reply that it makes. Escaping is
//! quick-xml's; characters that XML cannot carry become U+FFFD.

use std::fmt::{Display, Write as _};

use quick_xml::escape::escape;

use crate::error::ApiError;
use crate::query::is_forbidden_in_xml;

/// The API version that this face speaks. Source: [botocore ec2/2016-11-15/service-2.json].
pub const API_VERSION: &str = "2016-11-15";

/// An XML document under construction.
#[derive(Debug, Default)]
pub struct Xml {
    text: String,
}

impl Xml {
    /// An element with text, escaped.
    pub fn text(&mut self, name: &str, value: impl AsRef<str>) {
        self.open(name);
        push_escaped(&mut self.text, value.as_ref());
        self.close(name);
    }

    /// An element with the `Display` form of a value: a number, a boolean, an address.
    pub fn value(&mut self, name: &str, value: impl Display) {
        self.text(name, value.to_string());
    }

    /// An element with text, or nothing when there is no value.
    pub fn optional(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.value(name, value);
        }
    }

    /// An element with what `inside` writes.
    pub fn element(&mut self, name: &str, inside: impl FnOnce(&mut Self)) {
        self.open(name);
        inside(self);
        self.close(name);
    }

    /// A list element with one `item` for each entry.
    ///
    /// An empty list is written as an empty element, as EC2 does: a parser sees an empty list, not
    /// a missing member.
    pub fn list<T>(
        &mut self,
        name: &str,
        entries: impl IntoIterator<Item = T>,
        mut item: impl FnMut(&mut Self, T),
    ) {
        self.open(name);
        for entry in entries {
            self.open("item");
            item(self, entry);
            self.close("item");
        }
        self.close(name);
    }

    /// A list of plain values.
    pub fn values(&mut self, name: &str, entries: impl IntoIterator<Item = impl Display>) {
        self.open(name);
        for entry in entries {
            self.value("item", entry);
        }
        self.close(name);
    }

    fn open(&mut self, name: &str) {
        self.text.push('<');
        self.text.push_str(name);
        self.text.push('>');
    }

    fn close(&mut self, name: &str) {
        self.text.push_str("</");
        self.text.push_str(name);
        self.text.push('>');
    }
}

/// The document that answers an action.
#[must_use]
pub fn response(action: &str, request_id: &str, inside: impl FnOnce(&mut Xml)) -> String {
    let mut xml = Xml::default();
    // Writing to a String cannot fail.
    let _ = write!(
        xml.text,
        "{DECLARATION}<{action}Response xmlns=\"http://ec2.amazonaws.com/doc/{API_VERSION}/\">"
    );
    xml.text("requestId", request_id);
    inside(&mut xml);
    let _ = write!(xml.text, "</{action}Response>");
    xml.text
}

/// The document of an error.
#[must_use]
pub fn error(error: &ApiError, request_id: &str) -> String {
    let mut xml = Xml {
        text: DECLARATION.to_owned(),
    };
    xml.element("Response", |xml| {
        xml.element("Errors", |xml| {
            xml.element("Error", |xml| {
                xml.text("Code", &error.code);
                xml.text("Message", &error.message);
            });
        });
        xml.text("RequestID", request_id);
    });
    xml.text
}

fn push_escaped(text: &mut String, value: &str) {
    if value.contains(|character| is_forbidden_in_xml(character) || character == '\r') {
        // A parser turns a bare CR into LF (XML 1.0 §2.11), so it goes as a reference.
        for character in value.chars() {
            match character {
                '\r' => text.push_str("&#13;"),
                other if is_forbidden_in_xml(other) => text.push('\u{fffd}'),
                other => text.push_str(&escape(other.encode_utf8(&mut [0; 4]) as &str)),
            }
        }
    } else {
        text.push_str(&escape(value));
    }
}

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_the_action_with_its_namespace() {
        let text = response("CreateVpc", "id-1", |xml| {
            xml.element("vpc", |xml| {
                xml.text("vpcId", "vpc-1");
                xml.optional("ownerId", None::<&str>);
                xml.list("tagSet", [("a", "<&>")], |xml, (key, value)| {
                    xml.text("key", key);
                    xml.text("value", value);
                });
                xml.values("empty", [0u8; 0]);
                xml.value("isDefault", true);
            });
        });
        assert_eq!(
            text,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <CreateVpcResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
             <requestId>id-1</requestId><vpc><vpcId>vpc-1</vpcId><tagSet><item><key>a</key>\
             <value>&lt;&amp;&gt;</value></item></tagSet><empty></empty><isDefault>true</isDefault>\
             </vpc></CreateVpcResponse>"
        );
    }

    #[test]
    fn an_error_is_ec2s_document() {
        let text = error(
            &ApiError::new("InvalidVpcID.NotFound", "The vpc ID 'x<' does not exist"),
            "r",
        );
        assert_eq!(
            text,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error>\
             <Code>InvalidVpcID.NotFound</Code><Message>The vpc ID &apos;x&lt;&apos; does not exist\
             </Message></Error></Errors><RequestID>r</RequestID></Response>"
        );
    }

    #[test]
    fn what_xml_cannot_carry_is_replaced() {
        let mut xml = Xml::default();
        xml.text("a", "x\u{1}y\r\n<");
        assert_eq!(xml.text, "<a>x\u{fffd}y&#13;\n&lt;</a>");
    }
}
