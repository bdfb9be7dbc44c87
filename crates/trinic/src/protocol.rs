//! The protocol between control and card: a Unix stream socket, one JSON value a line-free frame
//! (u32 little-endian length, then the value). Control sends a snapshot after the card's hello, then
//! updates; the card acknowledges by revision and reports what became of instances and interfaces.
//!
//! Either side may die and come back: the card keeps switching packets with the last tables that it
//! acknowledged, and a new control process starts with a snapshot again.
//!
//! After an upgrade the two may be of different versions. A field that is new and may be absent
//! (`#[serde(default)]`) changes nothing; any other change raises [`PROTOCOL`], and a control that meets a card
//! with another number tells it nothing: the card goes on with the tables that it has until it is replaced
//! (docs/design.md). Two things are the same in every version, so that this much always works: the part of
//! the hello that is [`Greeting`], and [`ToCard::Shutdown`].

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use trinic_linklocal::metadata::InstanceMetadata;
use trinic_switch::tables::{Delta, Id, Mac, Revision, Tables};
pub use trinic_vpc::resource::VmImage;

/// The most bytes that a frame may have; a longer one closes the connection.
pub const FRAME_LIMIT_BYTES: u32 = 256 << 20;

/// The version of this protocol.
pub const PROTOCOL: u32 = 1;

/// Cards of before the hello had a number speak this.
const FIRST_PROTOCOL: u32 = 1;

fn first_protocol() -> u32 {
    FIRST_PROTOCOL
}

/// What the first frame of a card of any version says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Greeting {
    /// Process id of the card.
    pub pid: u32,
    /// Version of its program.
    pub version: String,
    /// The protocol that it speaks.
    #[serde(default = "first_protocol")]
    pub protocol: u32,
}

impl Greeting {
    /// Reads it from the first frame; `None` when that is no hello.
    pub fn of(first: &serde_json::Value) -> Option<Self> {
        Self::deserialize(first.get("Hello")?).ok()
    }
}

/// A card that speaks another protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "process {}, version {}, speaks protocol {}, and this control, version {}, protocol {PROTOCOL}: packets go on \
     with the tables that it has, and it is told of no change. `kill {}` has it replaced by a card of this \
     version, which adopts the instances",
    .0.pid, .0.version, .0.protocol, env!("CARGO_PKG_VERSION"), .0.pid
)]
pub struct OtherProtocol(pub Greeting);

/// Control to card.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ToCard {
    /// Everything: replaces what the card knew. The card reconciles what runs with it.
    Snapshot {
        /// The packet tables.
        tables: Tables,
        /// Every instance that should exist, by id.
        instances: BTreeMap<Id, InstanceSpec>,
        /// Instances that are stopped and may be started again: what they had on disk stays.
        #[serde(default)]
        stopped: Vec<Id>,
    },
    /// What changed since the last snapshot or update.
    Update {
        /// Change of the packet tables.
        delta: Delta,
        /// Instances that are new or changed, whole.
        instances: Vec<InstanceSpec>,
        /// Instances that should not exist any more.
        remove_instances: Vec<Id>,
        /// Instances that are gone for good: what they had on disk goes.
        #[serde(default)]
        terminated: Vec<Id>,
    },
    /// A question; answered by [`FromCard::Answer`] with the same number.
    Ask {
        /// Chosen by control.
        number: u64,
        /// The question.
        query: Query,
    },
    /// End: `stop_instances` ends every instance, removes namespaces and taps; else only the process ends.
    Shutdown {
        /// Whether instances end too.
        stop_instances: bool,
    },
}

/// Card to control.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum FromCard {
    /// First frame after connecting.
    Hello {
        /// Process id of the card.
        pid: u32,
        /// Version of the program.
        version: String,
        /// [`PROTOCOL`] of the program.
        #[serde(default = "first_protocol")]
        protocol: u32,
        /// What instances of this card run on.
        backend: Backend,
        /// Why it is not [`Backend::Namespace`], and what would allow it.
        backend_reason: Option<String>,
        /// Tables that the card has now.
        revision: Revision,
    },
    /// Tables up to this revision are in force.
    Applied {
        /// The revision.
        revision: Revision,
    },
    /// What became of an instance.
    Instance {
        /// `i-…`.
        id: Id,
        /// Its state on the card.
        report: InstanceReport,
    },
    /// What became of an interface.
    Interface {
        /// `eni-…`.
        id: Id,
        /// Its state on the card.
        report: InterfaceReport,
    },
    /// The answer to [`ToCard::Ask`].
    Answer {
        /// As in the question.
        number: u64,
        /// The answer, or a sentence saying why there is none.
        answer: Result<serde_json::Value, String>,
    },
}

/// What instances run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// Linux namespaces with tap devices.
    Namespace,
    /// A user-space TCP/IP stack inside the card: for hosts that allow neither.
    UserSpace,
}

/// An instance as the card must make it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceSpec {
    /// `i-…`.
    pub id: Id,
    /// `ip-10-0-0-5` and the like.
    pub hostname: String,
    /// What it is.
    pub kind: InstanceKind,
    /// Decoded user data; run once as a script when it starts with `#!`.
    pub user_data: Option<Vec<u8>>,
    /// How often it was told to reboot; a change makes the card end it and start it anew.
    #[serde(default)]
    pub reboots: u32,
    /// vCPUs of its instance type; 0 for a type that has none, such as an external one's.
    #[serde(default)]
    pub vcpus: u32,
    /// Memory of its instance type in MiB; 0 likewise.
    #[serde(default)]
    pub memory_mib: u32,
    /// What it boots when it is a virtual machine; `None`: a namespace.
    #[serde(default)]
    pub vm: Option<VmImage>,
    /// Its interfaces by network card and device index.
    pub interfaces: Vec<InterfaceSpec>,
    /// What the instance metadata service answers.
    pub metadata: InstanceMetadata,
}

/// What an instance is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum InstanceKind {
    /// Made by the card.
    Managed,
    /// A network namespace or process of the user's own (`trinic attach`): only interfaces are put there.
    External {
        /// Path of the network namespace (`/proc/N/ns/net`, `/run/netns/x`).
        netns: String,
    },
    /// A virtual machine or a driver of the user's own (`trinic attach --vfio-user`): its interface is an ENA
    /// function behind a socket.
    Device {
        /// Path of the socket.
        socket: String,
    },
}

/// One interface in an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceSpec {
    /// `eni-…`.
    pub id: Id,
    /// 0 = eth0.
    pub device_index: u32,
    /// MAC address.
    pub mac: Mac,
    /// MTU in bytes (9001 inside a VPC).
    pub mtu: u32,
    /// Private IPv4 addresses, the primary first.
    pub ipv4: Vec<Ipv4Addr>,
    /// Prefix length of the subnet.
    pub ipv4_prefix_len: u8,
    /// The subnet's router.
    pub ipv4_router: Option<Ipv4Addr>,
    /// IPv6 addresses.
    pub ipv6: Vec<Ipv6Addr>,
    /// Resolvers for resolv.conf.
    pub dns: Vec<IpAddr>,
    /// DNS search domain (`ec2.internal`).
    pub domain: String,
    /// The network card of its instance that it is at.
    #[serde(default)]
    pub network_card_index: u32,
    /// Whether it is presented as an ENA where the instance can have one: the instance's EnaSupport is on and
    /// its type has the adapter. Else it is the traditional card.
    #[serde(default)]
    pub ena: bool,
    /// Queue pairs of its ENA, 1 or more; 0 without one.
    #[serde(default)]
    pub ena_queue_pairs: u32,
    /// How a namespace instance gets it. A virtual machine goes by `ena` instead.
    #[serde(default)]
    pub function: FunctionKind,
}

/// How an interface is presented to a namespace instance; its tag `trinic:function` says so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FunctionKind {
    /// A network device of the kernel, through which all its programs go.
    #[default]
    Tap,
    /// An ENA function: a socket in /run/trinic, whose queues one process maps; no network device.
    Ena,
    /// The tag says something else.
    Unknown(String),
}

/// State of an instance on the card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum InstanceReport {
    /// Its namespaces are there and its init runs; pid in the card's pid namespace, 0 in user space.
    Running {
        /// Process id of its init.
        pid: u32,
    },
    /// It could not be started.
    Failed {
        /// Why, in one sentence.
        reason: String,
    },
    /// Its init ended by itself (shutdown from inside or a crash).
    Exited {
        /// Why, in one sentence.
        reason: String,
    },
    /// It is gone, as asked.
    Gone,
}

/// State of an interface on the card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum InterfaceReport {
    /// Its function is in the instance and configured.
    Attached {
        /// The instance.
        instance_id: Id,
    },
    /// Its function is gone from the instance.
    Detached,
    /// It could not be attached.
    Failed {
        /// Why, in one sentence.
        reason: String,
    },
}

/// A question to the card.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Query {
    /// Counters of one interface, or of all.
    Stats {
        /// `eni-…`; `None` = all.
        interface: Option<Id>,
    },
    /// Everything about the card: workers, ports, instances.
    Inspect,
    /// What the pipeline would do with a packet, stage by stage, without sending it.
    Trace(TraceRequest),
    /// Console output of an instance.
    Console {
        /// `i-…`.
        instance: Id,
    },
    /// How each interface is presented.
    Functions,
    /// What happened at an ENA function since this was last asked.
    DeviceTrace {
        /// `eni-…`.
        interface: Id,
    },
    /// Makes an ENA function fail once.
    Inject {
        /// `eni-…`.
        interface: Id,
        /// `stop-keep-alive`, `swallow-tx-completion`, `drop-interrupt`, `request-reset`, `fatal-error`.
        fault: String,
    },
    /// Runs a built-in program of a user-space guest.
    Program {
        /// `i-…` or `internet`.
        instance: Id,
        /// `ping ADDR`, `tcp-echo PORT`, `udp-echo PORT`, `tcp-connect ADDR PORT`, `bulk …`.
        arguments: Vec<String>,
    },
}

/// A packet to trace.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TraceRequest {
    /// The interface that sends it.
    pub interface: Id,
    /// Source address; `None` = the interface's primary one.
    pub source: Option<IpAddr>,
    /// Destination address.
    pub destination: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Source port (TCP, UDP).
    pub source_port: u16,
    /// Destination port (TCP, UDP); ICMP type.
    pub destination_port: u16,
}
