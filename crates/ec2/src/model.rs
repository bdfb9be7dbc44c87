//! The shapes of EC2's requests and replies, from tables that `model/generate.py` writes from the
//! botocore service model.
//!
//! A shape knows each member's name, its name on the wire and its type. It reads a tree of request
//! parameters into a JSON value with the model's member names (the names that the commands of
//! `trinic_vpc` carry for serde), and writes a reply's JSON value as XML. So what a parameter or an
//! element is called stands in one place, and the place is generated.
//!
//! Source: [botocore data/ec2/2016-11-15/service-2.json; names by botocore's EC2Serializer].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use base64::Engine as _;
use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::query::{Node, Parameters, parse_boolean, parse_index};
use crate::xml::Xml;

/// A structure of the model.
#[derive(Debug)]
pub(crate) struct Shape {
    members: Vec<Member>,
    side: Side,
}

#[derive(Debug)]
struct Member {
    name: &'static str,
    wire: &'static str,
    required: bool,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Text,
    Boolean,
    Integer,
    Long,
    Double,
    Timestamp,
    Blob,
    Structure(&'static str),
    List(Box<Kind>),
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Requests,
    Responses,
}

#[derive(Debug)]
struct Tables {
    actions: BTreeMap<&'static str, &'static str>,
    shapes: BTreeMap<&'static str, Shape>,
}

/// The request shape of an action that trinic has.
pub(crate) fn request(action: &str) -> Option<&'static Shape> {
    Side::Requests.root(action)
}

/// The response shape of an action that trinic has; `None` for an action that returns nothing.
pub(crate) fn response(action: &str) -> Option<&'static Shape> {
    Side::Responses.root(action)
}

/// Whether the API has an action of this name, in trinic or not.
pub(crate) fn is_action(name: &str) -> bool {
    static NAMES: LazyLock<BTreeSet<&'static str>> = LazyLock::new(|| action_names().collect());
    NAMES.contains(name)
}

/// The names of all actions of the API, sorted.
pub fn action_names() -> impl Iterator<Item = &'static str> {
    include_str!("../model/actions.txt").lines()
}

impl Side {
    fn tables(self) -> &'static Tables {
        static REQUESTS: LazyLock<Tables> =
            LazyLock::new(|| parse_tables(include_str!("../model/requests.txt"), Side::Requests));
        static RESPONSES: LazyLock<Tables> =
            LazyLock::new(|| parse_tables(include_str!("../model/responses.txt"), Side::Responses));
        match self {
            Self::Requests => &REQUESTS,
            Self::Responses => &RESPONSES,
        }
    }

    fn root(self, action: &str) -> Option<&'static Shape> {
        let tables = self.tables();
        tables.shapes.get(tables.actions.get(action)?)
    }

    fn shape(self, name: &str) -> &'static Shape {
        // `every_shape_is_there` walks all tables, so a missing shape is a broken build.
        self.tables()
            .shapes
            .get(name)
            .expect("the tables name every shape")
    }
}

impl Shape {
    /// Reads a request's parameters.
    ///
    /// Every parameter must be one of the shape, every required one must be there, and every value
    /// of its type. Absent members stay absent.
    pub(crate) fn read(&self, parameters: &Parameters) -> Result<Value, ApiError> {
        self.read_members(parameters.entries(), "")
    }

    fn read_members<'a>(
        &self,
        entries: impl Iterator<Item = (&'a str, &'a Node)>,
        path: &str,
    ) -> Result<Value, ApiError> {
        let mut map = Map::new();
        for (wire, node) in entries {
            let full = join(path, wire);
            let Some(member) = self.members.iter().find(|member| member.wire == wire) else {
                return Err(ApiError::unknown_parameter(&full));
            };
            let value = member.kind.read(node, &full)?;
            map.insert(member.name.to_owned(), value);
        }
        match self
            .members
            .iter()
            .find(|member| member.required && !map.contains_key(member.name))
        {
            Some(missing) => Err(ApiError::missing(&join(path, missing.wire))),
            None => Ok(Value::Object(map)),
        }
    }

    /// The names on the wire, with `N` for an index, of what is in `given` and not in `taken`.
    ///
    /// A structure of which nothing was taken is named as a whole.
    pub(crate) fn untaken(&self, given: &Value, taken: &Value) -> Vec<String> {
        let mut names = BTreeSet::new();
        self.collect_untaken(given, taken, "", &mut names);
        names.into_iter().collect()
    }

    fn collect_untaken(&self, given: &Value, taken: &Value, path: &str, names: &mut BTreeSet<String>) {
        let Value::Object(given) = given else { return };
        for member in &self.members {
            let Some(value) = given.get(member.name) else {
                continue;
            };
            let full = join(path, member.wire);
            match taken.get(member.name) {
                Some(taken) => member.kind.collect_untaken(value, taken, &full, names),
                None => {
                    names.insert(full);
                }
            }
        }
    }

    /// The names of all values that a request may have, with `N` for an index.
    pub(crate) fn leaves(&self) -> Vec<String> {
        let mut names = Vec::new();
        self.collect_leaves("", &mut names);
        names
    }

    fn collect_leaves(&self, path: &str, names: &mut Vec<String>) {
        for member in &self.members {
            member
                .kind
                .collect_leaves(self.side, join(path, member.wire), names);
        }
    }

    /// A value with every member, to see what of it a command takes.
    pub(crate) fn sample(&self) -> Value {
        let members = self
            .members
            .iter()
            .map(|member| (member.name.to_owned(), member.kind.sample(self.side)));
        Value::Object(members.collect())
    }

    /// Writes a reply's members in the order of the model; absent and null ones are left out.
    pub(crate) fn write(&self, members: &Map<String, Value>, xml: &mut Xml) {
        for member in &self.members {
            match members.get(member.name) {
                None | Some(Value::Null) => {}
                Some(Value::Array(entries)) if entries.is_empty() && LEFT_OUT.contains(&member.name) => {}
                Some(value) => member.kind.write(self.side, member.wire, value, xml),
            }
        }
    }
}

impl Kind {
    fn read(&self, node: &Node, name: &str) -> Result<Value, ApiError> {
        match (self, node) {
            (Self::Structure(shape), Node::Branch(inner)) => {
                let entries = inner.iter().map(|(wire, node)| (wire.as_str(), node));
                Side::Requests.shape(shape).read_members(entries, name)
            }
            (Self::List(of), Node::Branch(inner)) => {
                let mut entries = Vec::with_capacity(inner.len());
                for (segment, node) in inner {
                    let full = join(name, segment);
                    let Some(index) = parse_index(segment) else {
                        return Err(ApiError::unknown_parameter(&full));
                    };
                    entries.push((index, of.read(node, &full)?));
                }
                entries.sort_unstable_by_key(|(index, _)| *index);
                Ok(Value::Array(
                    entries.into_iter().map(|(_, value)| value).collect(),
                ))
            }
            // An empty list, as clients of the plain Query protocol write it.
            (Self::List(_), Node::Value(text)) if text.is_empty() => Ok(Value::Array(Vec::new())),
            (Self::Structure(_) | Self::List(_), Node::Value(_)) | (_, Node::Branch(_)) => {
                Err(ApiError::unknown_parameter(name))
            }
            (scalar, Node::Value(text)) => scalar.read_text(text, name),
        }
    }

    fn read_text(&self, text: &str, name: &str) -> Result<Value, ApiError> {
        let (value, expected) = match self {
            Self::Text | Self::Structure(_) | Self::List(_) => (Some(Value::from(text)), "text"),
            Self::Boolean => (parse_boolean(text).map(Value::from), "true or false"),
            Self::Integer => (text.parse::<i32>().ok().map(Value::from), "a 32-bit integer"),
            Self::Long => (text.parse::<i64>().ok().map(Value::from), "a 64-bit integer"),
            Self::Double => {
                let finite = text.parse::<f64>().ok().filter(|number| number.is_finite());
                (finite.map(Value::from), "a number")
            }
            Self::Timestamp => {
                let parsed = text.parse::<jiff::Timestamp>().ok();
                (
                    parsed.map(|time| Value::from(time.to_string())),
                    "a time such as 2026-01-31T12:00:00Z",
                )
            }
            Self::Blob => (read_base64(text).map(Value::from), "base64"),
        };
        value.ok_or_else(|| ApiError::invalid(name, text, expected))
    }

    fn collect_untaken(&self, given: &Value, taken: &Value, path: &str, names: &mut BTreeSet<String>) {
        match (self, given, taken) {
            (Self::Structure(shape), _, _) => {
                Side::Requests
                    .shape(shape)
                    .collect_untaken(given, taken, path, names);
            }
            (Self::List(of), Value::Array(given), Value::Array(taken)) => {
                for (given, taken) in given.iter().zip(taken) {
                    of.collect_untaken(given, taken, &join(path, "N"), names);
                }
            }
            _ => {}
        }
    }

    fn collect_leaves(&self, side: Side, path: String, names: &mut Vec<String>) {
        match self {
            Self::Structure(shape) => side.shape(shape).collect_leaves(&path, names),
            Self::List(of) => of.collect_leaves(side, join(&path, "N"), names),
            _ => names.push(path),
        }
    }

    fn sample(&self, side: Side) -> Value {
        match self {
            Self::Text | Self::Blob => Value::from("dGV4dA=="),
            Self::Boolean => Value::from(true),
            Self::Integer | Self::Long => Value::from(1),
            Self::Double => Value::from(1.5),
            Self::Timestamp => Value::from("2026-01-31T12:00:00Z"),
            Self::Structure(shape) => side.shape(shape).sample(),
            Self::List(of) => Value::Array(vec![of.sample(side)]),
        }
    }

    fn write(&self, side: Side, wire: &str, value: &Value, xml: &mut Xml) {
        match (self, value) {
            (Self::List(of), Value::Array(entries)) => {
                xml.element(wire, |xml| {
                    for entry in entries {
                        of.write(side, "item", entry, xml);
                    }
                });
            }
            (Self::Structure(shape), Value::Object(members)) => {
                xml.element(wire, |xml| side.shape(shape).write(members, xml));
            }
            (Self::Timestamp, Value::String(text)) => match text.parse::<jiff::Timestamp>() {
                // EC2 writes milliseconds, always.
                Ok(time) => xml.value(wire, time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")),
                Err(_) => xml.text(wire, text),
            },
            (_, Value::String(text)) => xml.text(wire, text),
            (_, scalar) => xml.value(wire, scalar),
        }
    }
}

fn read_base64(text: &str) -> Option<String> {
    // Encoders that wrap their lines are common; the line ends are no data.
    let compact: String = text
        .chars()
        .filter(|character| !character.is_ascii_whitespace())
        .collect();
    base64::engine::general_purpose::STANDARD.decode(&compact).ok()?;
    Some(compact)
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// Reads a table: `@Action Shape` lines (`-` for none) and `Shape Member=Wire!:kind …` lines.
fn parse_tables(text: &'static str, side: Side) -> Tables {
    let mut tables = Tables {
        actions: BTreeMap::new(),
        shapes: BTreeMap::new(),
    };
    for line in text.lines() {
        let mut words = line.split(' ');
        let Some(first) = words.next() else { continue };
        if let Some(action) = first.strip_prefix('@') {
            if let Some(shape) = words.next().filter(|shape| *shape != "-") {
                tables.actions.insert(action, shape);
            }
        } else {
            let members = words.map(parse_member).collect();
            tables.shapes.insert(first, Shape { members, side });
        }
    }
    tables
}

fn parse_member(word: &'static str) -> Member {
    // The tables are ours, generated and compiled in; the tests read every line.
    let (names, kind) = word.split_once(':').expect("a member has a kind");
    let (names, required) = match names.strip_suffix('!') {
        Some(names) => (names, true),
        None => (names, false),
    };
    let (name, wire) = names.split_once('=').unwrap_or((names, names));
    Member {
        name,
        wire,
        required,
        kind: parse_kind(kind),
    }
}

fn parse_kind(kind: &'static str) -> Kind {
    if let Some(of) = kind.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return Kind::List(Box::new(parse_kind(of)));
    }
    match kind {
        "string" => Kind::Text,
        "boolean" => Kind::Boolean,
        "integer" => Kind::Integer,
        "long" => Kind::Long,
        "double" | "float" => Kind::Double,
        "timestamp" => Kind::Timestamp,
        "blob" => Kind::Blob,
        shape => Kind::Structure(shape),
    }
}

/// Lists that EC2 leaves out of a reply when they are empty; the others it writes as an empty
/// element. Source: [AWS CLI command reference, example outputs, 2026-11: no `Tags` for what has
/// none, while `TagSet`, `Ipv6Addresses` and the sets of a Describe are there and empty].
const LEFT_OUT: &[&str] = &[
    "Tags",
    "Ipv4Prefixes",
    "Ipv6Prefixes",
    "AssignedIpv4Prefixes",
    "AssignedIpv6Prefixes",
    "UnknownIpPermissions",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(action: &str, body: &str) -> Result<Value, ApiError> {
        let mut parameters = Parameters::default();
        parameters.parse(body.as_bytes())?;
        request(action).unwrap().read(&parameters)
    }

    #[test]
    fn every_shape_is_there() {
        for side in [Side::Requests, Side::Responses] {
            for (action, shape) in &side.tables().actions {
                assert!(side.tables().shapes.contains_key(shape), "{action} {shape}");
            }
            for shape in side.tables().shapes.values() {
                let _ = (shape.sample(), shape.leaves());
            }
        }
        assert_eq!(action_names().count(), 830);
        assert!(action_names().is_sorted());
    }

    #[test]
    fn wire_names_become_member_names() {
        let value = read(
            "CreateVpc",
            "CidrBlock=10.0.0.0/16&DryRun=TRUE&TagSpecification.1.Tag.2.Key=b&TagSpecification.1.Tag.1.Key=a",
        )
        .unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "CidrBlock": "10.0.0.0/16", "DryRun": true,
                "TagSpecifications": [{"Tags": [{"Key": "a"}, {"Key": "b"}]}],
            })
        );
    }

    #[test]
    fn unknown_names_are_refused_at_every_depth() {
        for body in [
            "Cidr=x",
            "TagSpecifications.1.ResourceType=vpc",
            "TagSpecification.1.Tags.1.Key=a",
            "TagSpecification.x.ResourceType=vpc",
            "TagSpecification.0.ResourceType=vpc",
            "TagSpecification.1=vpc",
            "CidrBlock.1=x",
        ] {
            assert_eq!(
                read("CreateVpc", body).unwrap_err().code,
                "UnknownParameter",
                "{body}"
            );
        }
    }

    #[test]
    fn values_are_of_their_type() {
        for (body, parameter) in [
            ("MinCount=1&MaxCount=x", "MaxCount"),
            ("MinCount=1&MaxCount=4294967296", "MaxCount"),
            ("MinCount=1&MaxCount=1&DryRun=yes", "DryRun"),
            (
                "MinCount=1&MaxCount=1&NetworkInterface.1.DeviceIndex=",
                "NetworkInterface.1.DeviceIndex",
            ),
            (
                "MinCount=1&MaxCount=1&InstanceMarketOptions.SpotOptions.ValidUntil=soon",
                "ValidUntil",
            ),
        ] {
            let error = read("RunInstances", body).unwrap_err();
            assert_eq!(error.code, "InvalidParameterValue", "{body}");
            assert!(error.message.contains(parameter), "{}", error.message);
        }
        let error = read("ImportKeyPair", "KeyName=k&PublicKeyMaterial=***").unwrap_err();
        assert_eq!(error.code, "InvalidParameterValue");
        let value = read("ImportKeyPair", "KeyName=k&PublicKeyMaterial=c3No%0ALXJzYQ==").unwrap();
        assert_eq!(value["PublicKeyMaterial"], "c3NoLXJzYQ==");
    }

    #[test]
    fn required_parameters_are_named_as_on_the_wire() {
        let error = read("TerminateInstances", "").unwrap_err();
        assert_eq!(error.code, "MissingParameter");
        assert!(error.message.ends_with("InstanceId"), "{}", error.message);
    }

    #[test]
    fn an_empty_list_may_be_an_empty_value() {
        let value = read("DescribeVpcs", "VpcId=").unwrap();
        assert_eq!(value, serde_json::json!({"VpcIds": []}));
    }

    #[test]
    fn replies_follow_the_model() {
        let text = crate::xml::response("X", "r", |xml| {
            let reply = serde_json::json!({
                "Instances": [{"InstanceId": "i-1", "State": {"Code": 16}, "Tags": [],
                    "LaunchTime": "2026-01-02T03:04:05.6Z", "PublicIpAddress": null, "SecurityGroups": []}],
            });
            let Value::Object(members) = reply else { return };
            response("RunInstances").unwrap().write(&members, xml);
        });
        let start = text.find("<instancesSet>").unwrap();
        assert_eq!(
            &text[start..],
            "<instancesSet><item><groupSet></groupSet><instanceId>i-1</instanceId><instanceState>\
             <code>16</code></instanceState><launchTime>2026-01-02T03:04:05.600Z</launchTime></item>\
             </instancesSet></XResponse>"
        );
    }
}
