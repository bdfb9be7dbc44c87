//! The tree of paths that the metadata service serves, and EC2's form of a directory listing: names in
//! order, one a line, a slash after a directory, no newline at the end.
//!
//! Source: [AWS doc docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-metadata.html] for the
//! categories.

use std::fmt::Display;

use crate::metadata::{InstanceMetadata, InterfaceMetadata};

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A value that is text, or the listing of a directory.
    Text(String),
    /// A value of any bytes: user data.
    Bytes(Vec<u8>),
}

/// A place in the tree. A directory is made when somebody looks into it, so that a request costs what
/// lies on its path and not the whole tree.
enum Node<'a> {
    Directory(Box<dyn FnOnce() -> Directory<'a> + 'a>),
    Text(String),
    Bytes(&'a [u8]),
}

/// A name in a directory.
struct Entry<'a> {
    name: String,
    /// What the listing says, where that is not the name and the slash.
    label: Option<String>,
    node: Node<'a>,
}

/// The versions that `/` lists, beside `latest`. All serve the same tree.
pub const VERSIONS: [&str; 28] = [
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
    "2011-01-01",
    "2011-05-01",
    "2012-01-12",
    "2014-02-25",
    "2014-11-05",
    "2015-10-20",
    "2016-04-19",
    "2016-06-30",
    "2016-09-02",
    "2018-03-28",
    "2018-08-17",
    "2018-09-24",
    "2019-10-01",
    "2020-10-27",
    "2021-01-03",
    "2021-03-23",
    "2021-07-15",
    "2022-09-24",
    "2024-04-11",
];

/// The deepest path that is looked at; the tree itself has eight levels.
const DEPTH_MAX: usize = 16;

/// What is at `path` (decoded, from the first slash on). A slash at the end changes nothing.
pub fn find(metadata: &InstanceMetadata, path: &str) -> Option<Content> {
    let path = path.strip_prefix('/')?;
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Some(Content::Text(versions()));
    }
    if path.split('/').count() > DEPTH_MAX {
        return None;
    }
    let mut segments = path.split('/').peekable();
    let version = segments.next()?;
    if version != "latest" && !VERSIONS.contains(&version) {
        return None;
    }
    let mut directory = root(metadata);
    if segments.peek().is_none() {
        // The one listing in which EC2 writes directories without a slash.
        return Some(Content::Text(directory.names()));
    }
    loop {
        let name = segments.next()?;
        let entry = directory.0.into_iter().find(|entry| entry.name == name)?;
        let is_last = segments.peek().is_none();
        directory = match entry.node {
            Node::Directory(make) if is_last => return Some(Content::Text(make().listing())),
            Node::Directory(make) => make(),
            Node::Text(text) if is_last => return Some(Content::Text(text)),
            Node::Bytes(bytes) if is_last => return Some(Content::Bytes(bytes.to_vec())),
            Node::Text(_) | Node::Bytes(_) => return None,
        };
    }
}

fn versions() -> String {
    let mut text = VERSIONS.join("\n");
    text.push_str("\nlatest");
    text
}

/// The entries of one directory.
#[derive(Default)]
struct Directory<'a>(Vec<Entry<'a>>);

impl<'a> Directory<'a> {
    fn node(mut self, name: impl Into<String>, node: Node<'a>) -> Self {
        self.0.push(Entry {
            name: name.into(),
            label: None,
            node,
        });
        self
    }

    fn text(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.node(name, Node::Text(value.into()))
    }

    /// A name that is only there when it has a value.
    fn optional(self, name: &str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    /// One value a line; no values, no name.
    fn lines<T: Display>(self, name: &str, values: &[T]) -> Self {
        if values.is_empty() {
            return self;
        }
        self.text(name, join(values))
    }

    fn directory(self, name: impl Into<String>, make: impl FnOnce() -> Self + 'a) -> Self {
        self.node(name, Node::Directory(Box::new(make)))
    }

    fn sorted(&self) -> Vec<&Entry<'a>> {
        let mut entries: Vec<_> = self.0.iter().collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.sorted().iter().map(|entry| entry.name.as_str()).collect();
        names.join("\n")
    }

    fn listing(&self) -> String {
        let line = |entry: &&Entry<'a>| match (&entry.label, &entry.node) {
            (Some(label), _) => label.clone(),
            (None, Node::Directory(_)) => format!("{}/", entry.name),
            (None, _) => entry.name.clone(),
        };
        let lines: Vec<String> = self.sorted().iter().map(line).collect();
        lines.join("\n")
    }
}

fn join<T: Display>(values: &[T]) -> String {
    let lines: Vec<String> = values.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn mac_text(mac: [u8; 6]) -> String {
    let octets: Vec<String> = mac.iter().map(|octet| format!("{octet:02x}")).collect();
    octets.join(":")
}

fn root(metadata: &InstanceMetadata) -> Directory<'_> {
    let root = Directory::default()
        .directory("dynamic", || dynamic(metadata))
        .directory("meta-data", || meta_data(metadata));
    match &metadata.user_data {
        Some(data) => root.node("user-data", Node::Bytes(data)),
        None => root,
    }
}

fn dynamic(metadata: &InstanceMetadata) -> Directory<'_> {
    let identity = || Directory::default().text("document", identity_document(metadata));
    Directory::default().directory("instance-identity", identity)
}

fn meta_data(metadata: &InstanceMetadata) -> Directory<'_> {
    let primary = metadata.interfaces.first();
    let local_ipv4 = primary.and_then(|i| i.local_ipv4s.first());
    let ipv6 = primary.and_then(|i| i.ipv6s.first());
    let public_ipv4 = primary.and_then(primary_public);
    let empty: &[String] = &[];
    let mut tree = Directory::default()
        .text("ami-id", &metadata.ami_id)
        .text("ami-launch-index", metadata.ami_launch_index.to_string())
        .text("ami-manifest-path", "(unknown)")
        .directory("block-device-mapping", block_devices)
        .directory("events", events)
        .text("hostname", &metadata.local_hostname)
        .text("instance-action", "none")
        .text("instance-id", &metadata.instance_id)
        .text("instance-life-cycle", "on-demand")
        .text("instance-type", &metadata.instance_type)
        .optional("ipv6", ipv6.map(ToString::to_string))
        .text("local-hostname", &metadata.local_hostname)
        .optional("local-ipv4", local_ipv4.map(ToString::to_string))
        .optional("mac", primary.map(|i| mac_text(i.mac)))
        .directory("metrics", metrics)
        .directory("network", || network(metadata))
        .directory("placement", || placement(metadata))
        .text("profile", "default-hvm")
        .optional("public-hostname", metadata.public_hostname.clone())
        .optional("public-ipv4", public_ipv4.map(|a| a.to_string()))
        .text("reservation-id", &metadata.reservation_id)
        .lines("security-groups", primary.map_or(empty, |i| &i.security_groups))
        .directory("services", || services(&metadata.region))
        .text("system", "nitro");
    if let Some((name, key)) = &metadata.key {
        tree = tree.directory("public-keys", || public_keys(name, key));
    }
    if metadata.options.tags {
        tree = tree.directory("tags", || tags(metadata));
    }
    tree
}

/// The public address of the primary private address.
fn primary_public(interface: &InterfaceMetadata) -> Option<std::net::Ipv4Addr> {
    let private = interface.local_ipv4s.first()?;
    interface
        .public_ipv4s
        .iter()
        .find(|(_, behind)| behind == private)
        .map(|(public, _)| *public)
}

/// A namespace has no disks; the root device has the name that most images give it.
fn block_devices<'a>() -> Directory<'a> {
    Directory::default()
        .text("ami", "/dev/xvda")
        .text("root", "/dev/xvda")
}

/// No maintenance is ever planned: both lists are empty JSON arrays.
fn events<'a>() -> Directory<'a> {
    let maintenance = || Directory::default().text("history", "[]").text("scheduled", "[]");
    Directory::default().directory("maintenance", maintenance)
}

fn metrics<'a>() -> Directory<'a> {
    Directory::default().text("vhostmd", "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")
}

fn placement(metadata: &InstanceMetadata) -> Directory<'_> {
    Directory::default()
        .text("availability-zone", &metadata.availability_zone)
        .text("availability-zone-id", &metadata.availability_zone_id)
        .text("region", &metadata.region)
}

fn services(region: &str) -> Directory<'_> {
    let (domain, partition) = if region.starts_with("cn-") {
        ("amazonaws.com.cn", "aws-cn")
    } else if region.starts_with("us-gov-") {
        ("amazonaws.com", "aws-us-gov")
    } else {
        ("amazonaws.com", "aws")
    };
    Directory::default()
        .text("domain", domain)
        .text("partition", partition)
}

/// `public-keys/` lists `0=NAME`, but its only entry is reached as `0`.
fn public_keys<'a>(name: &str, key: &'a str) -> Directory<'a> {
    Directory(vec![Entry {
        name: "0".into(),
        label: Some(format!("0={name}")),
        node: Node::Directory(Box::new(move || Directory::default().text("openssh-key", key))),
    }])
}

fn tags(metadata: &InstanceMetadata) -> Directory<'_> {
    let instance = || {
        let tags = metadata.tags.iter();
        tags.fold(Directory::default(), |tree, (key, value)| tree.text(key, value))
    };
    Directory::default().directory("instance", instance)
}

fn network(metadata: &InstanceMetadata) -> Directory<'_> {
    let macs = || {
        let interfaces = metadata.interfaces.iter();
        interfaces.fold(Directory::default(), |tree, interface| {
            tree.directory(mac_text(interface.mac), || interface_directory(interface))
        })
    };
    let interfaces = move || Directory::default().directory("macs", macs);
    Directory::default().directory("interfaces", interfaces)
}

fn interface_directory(interface: &InterfaceMetadata) -> Directory<'_> {
    let public_ipv4s: Vec<_> = interface.public_ipv4s.iter().map(|(public, _)| public).collect();
    let tree = Directory::default()
        .text("device-number", interface.device_number.to_string())
        .text("interface-id", &interface.interface_id)
        .lines("ipv4-prefix", &interface.ipv4_prefixes)
        .lines("ipv6-prefix", &interface.ipv6_prefixes)
        .lines("ipv6s", &interface.ipv6s)
        .text("local-hostname", &interface.local_hostname)
        .lines("local-ipv4s", &interface.local_ipv4s)
        .text("mac", mac_text(interface.mac))
        .text("network-card", interface.network_card.to_string())
        .text("owner-id", &interface.owner_id)
        .optional("public-hostname", interface.public_hostname.clone())
        .lines("public-ipv4s", &public_ipv4s)
        .lines("security-group-ids", &interface.security_group_ids)
        .lines("security-groups", &interface.security_groups)
        .text("subnet-id", &interface.subnet_id)
        .optional(
            "subnet-ipv4-cidr-block",
            interface.subnet_ipv4_cidr.map(|n| n.to_string()),
        )
        .lines("subnet-ipv6-cidr-blocks", &interface.subnet_ipv6_cidrs)
        .text("vpc-id", &interface.vpc_id)
        .optional(
            "vpc-ipv4-cidr-block",
            interface.vpc_ipv4_cidrs.first().map(ToString::to_string),
        )
        .lines("vpc-ipv4-cidr-blocks", &interface.vpc_ipv4_cidrs)
        .lines("vpc-ipv6-cidr-blocks", &interface.vpc_ipv6_cidrs);
    if interface.public_ipv4s.is_empty() {
        return tree;
    }
    tree.directory("ipv4-associations", || ipv4_associations(interface))
}

/// By public address, the private addresses behind it, one a line.
fn ipv4_associations(interface: &InterfaceMetadata) -> Directory<'_> {
    let mut publics: Vec<_> = interface.public_ipv4s.iter().map(|(public, _)| *public).collect();
    publics.sort_unstable();
    publics.dedup();
    let mut tree = Directory::default();
    for public in publics {
        let behind: Vec<_> = interface
            .public_ipv4s
            .iter()
            .filter(|(of, _)| *of == public)
            .map(|(_, private)| private)
            .collect();
        tree = tree.text(public.to_string(), join(&behind));
    }
    tree
}

/// The instance identity document: JSON with EC2's own spacing, which scripts take apart with `grep`.
fn identity_document(metadata: &InstanceMetadata) -> String {
    let private_ip = metadata
        .interfaces
        .first()
        .and_then(|i| i.local_ipv4s.first())
        .map(ToString::to_string);
    let members = [
        ("accountId", json_text(&metadata.account_id)),
        ("architecture", json_text(&metadata.architecture)),
        ("availabilityZone", json_text(&metadata.availability_zone)),
        ("billingProducts", "null".into()),
        ("devpayProductCodes", "null".into()),
        ("marketplaceProductCodes", "null".into()),
        ("imageId", json_text(&metadata.ami_id)),
        ("instanceId", json_text(&metadata.instance_id)),
        ("instanceType", json_text(&metadata.instance_type)),
        ("kernelId", "null".into()),
        ("pendingTime", json_text(&metadata.launch_time)),
        (
            "privateIp",
            private_ip.map_or_else(|| "null".into(), |a| json_text(&a)),
        ),
        ("ramdiskId", "null".into()),
        ("region", json_text(&metadata.region)),
        ("version", json_text("2017-09-30")),
    ];
    let lines: Vec<String> = members
        .iter()
        .map(|(name, value)| format!("  \"{name}\" : {value}"))
        .collect();
    format!("{{\n{}\n}}", lines.join(",\n"))
}

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
