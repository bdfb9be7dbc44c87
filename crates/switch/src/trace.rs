//! The record of one packet's way: the same code as the packet path, with a sink that remembers.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::DropReason;
use crate::stages::Stage;
use crate::tables::Id;

/// The direction of a packet as its instance sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Towards the instance.
    Inbound,
    /// From the instance.
    Outbound,
}

impl Direction {
    /// The other direction.
    pub const fn opposite(self) -> Self {
        match self {
            Self::Inbound => Self::Outbound,
            Self::Outbound => Self::Inbound,
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        })
    }
}

/// What one rule lacked to allow a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Miss {
    /// Protocol and address match, the port does not.
    Ports {
        /// The packet's destination port.
        got: u16,
        /// The rule's first port.
        from: i32,
        /// The rule's last port.
        to: i32,
    },
    /// Protocol and address match, the ICMP type or code does not.
    Icmp {
        /// The packet's type.
        kind: u16,
        /// The packet's code.
        code: u16,
        /// The rule's type; -1 = any.
        wanted_kind: i32,
        /// The rule's code; -1 = any.
        wanted_code: i32,
    },
    /// Protocol and port match, the address does not.
    Peer {
        /// The other side's address.
        got: IpAddr,
        /// The rule's CIDR or group.
        wanted: String,
    },
    /// The address matches, the protocol does not.
    Protocol {
        /// The packet's.
        got: u8,
        /// The rule's.
        wanted: u8,
    },
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ports { got, from, to } if from == to => {
                write!(f, "it is for port {from}, the packet for {got}")
            }
            Self::Ports { got, from, to } => {
                write!(f, "it is for ports {from}-{to}, the packet for {got}")
            }
            Self::Icmp {
                kind,
                code,
                wanted_kind,
                wanted_code,
            } => {
                write!(f, "it is for type {wanted_kind} ")?;
                match wanted_code {
                    -1 => f.write_str("and any code")?,
                    code => write!(f, "code {code}")?,
                }
                write!(f, ", the packet has type {kind} code {code}")
            }
            Self::Peer { got, wanted } => write!(f, "it is for {wanted}, which {got} is not in"),
            Self::Protocol { got, wanted } => {
                write!(f, "it is for protocol {wanted}, the packet has {got}")
            }
        }
    }
}

/// The rule that came closest to allowing a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearMiss {
    /// `sg-…`.
    pub group: Id,
    /// `sgr-…`.
    pub rule: Id,
    /// What it lacked.
    pub miss: Miss,
}

/// What happened in a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// The packet, as it was read.
    Packet(String),
    /// Nothing to object to.
    Passed,
    /// The fragment belongs to a flow that its first fragment named.
    Fragment {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// The card answered itself.
    Answered(String),
    /// A link-local service answers.
    Service(IpAddr),
    /// A tracked connection: no rule was asked.
    Tracked,
    /// An ICMP error about a flow that is allowed.
    Related,
    /// A rule allows it.
    Allowed {
        /// `sg-…`.
        group: Id,
        /// `sgr-…`.
        rule: Id,
        /// Whether the flow is not tracked, so that it ends with the rule.
        untracked: bool,
    },
    /// No rule allows it.
    Denied {
        /// Which way the gate was passed.
        direction: Direction,
        /// The interface's groups.
        groups: Vec<Id>,
        /// How many rules they have for this direction.
        rules: usize,
        /// The rule that came closest.
        nearest: Option<NearMiss>,
    },
    /// The route that was taken.
    Route {
        /// `rtb-…`; absent when the frame was sent to a neighbor's MAC.
        table: Option<Id>,
        /// Its destination.
        destination: Option<IpNet>,
        /// Where it leads.
        target: String,
    },
    /// An address was translated.
    Translated {
        /// Before.
        from: IpAddr,
        /// After.
        to: IpAddr,
    },
    /// The packet went to this interface, or to the internet.
    Delivered {
        /// `eni-…`; absent for the internet.
        to: Option<Id>,
    },
    /// The packet was dropped.
    Dropped(DropReason),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packet(packet) => f.write_str(packet),
            Self::Passed => f.write_str("Passed."),
            Self::Fragment { source, destination } => {
                write!(f, "A fragment of the flow from port {source} to {destination}.")
            }
            Self::Answered(what) => write!(f, "Answered by the card: {what}."),
            Self::Service(at) => write!(f, "To the service at {at}."),
            Self::Tracked => f.write_str("Belongs to a tracked connection."),
            Self::Related => f.write_str("An ICMP error about an allowed flow."),
            Self::Allowed {
                group,
                rule,
                untracked,
            } => {
                let tracking = if *untracked { "untracked" } else { "tracked" };
                write!(f, "Allowed by {rule} of {group}, {tracking}.")
            }
            Self::Denied {
                direction,
                groups,
                rules,
                nearest,
            } => denied(f, *direction, groups, *rules, nearest.as_ref()),
            Self::Route {
                table,
                destination,
                target,
            } => match (table, destination) {
                (Some(table), Some(net)) => write!(f, "Route {net} of {table} leads to {target}."),
                _ => write!(f, "The destination MAC leads to {target}."),
            },
            Self::Translated { from, to } => write!(f, "Translated {from} to {to}."),
            Self::Delivered { to: Some(to) } => write!(f, "Delivered to {to}."),
            Self::Delivered { to: None } => f.write_str("Delivered to the internet."),
            Self::Dropped(reason) => write!(f, "DROPPED ({}): {reason}", reason.name()),
        }
    }
}

fn denied(
    f: &mut fmt::Formatter<'_>,
    direction: Direction,
    groups: &[Id],
    rules: usize,
    nearest: Option<&NearMiss>,
) -> fmt::Result {
    write!(f, "None of {rules} {direction} rules of {}", groups.join(", "))?;
    match nearest {
        Some(near) => write!(
            f,
            " allows it; the nearest is {} of {}: {}.",
            near.rule, near.group, near.miss
        ),
        None => f.write_str(" allows it."),
    }
}

/// One line of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Where.
    pub stage: Stage,
    /// At whose interface (`eni-…`); absent at the gateway and for the internet.
    pub interface: Option<Id>,
    /// What happened.
    pub event: Event,
}

/// How a trace ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Delivered to this interface, or to the internet when it is absent.
    Delivered(Option<Id>),
    /// Handed to a link-local service.
    Service,
    /// Answered by the card.
    Replied,
    /// Dropped.
    Dropped(DropReason),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delivered(Some(to)) => write!(f, "delivered {to}"),
            Self::Delivered(None) => f.write_str("delivered internet"),
            Self::Service => f.write_str("service"),
            Self::Replied => f.write_str("replied"),
            Self::Dropped(reason) => write!(f, "dropped {}", reason.name()),
        }
    }
}

/// The way of one packet. `Display` is the detailed form, one sentence per stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// In the order in which it happened.
    pub steps: Vec<Step>,
    /// How it ended.
    pub outcome: Outcome,
}

impl Trace {
    /// The short form, stable for tests: `stage[@interface] word` per line, then the outcome.
    pub fn minimal(&self) -> String {
        let mut text = String::new();
        for step in &self.steps {
            text.push_str(step.stage.name());
            if let Some(interface) = &step.interface {
                text.push('@');
                text.push_str(interface);
            }
            text.push(' ');
            text.push_str(&step.event.minimal());
            text.push('\n');
        }
        text.push_str(&format!("= {}\n", self.outcome));
        text
    }
}

impl Event {
    fn minimal(&self) -> String {
        match self {
            Self::Packet(packet) => packet.clone(),
            Self::Passed => "passed".into(),
            Self::Fragment { .. } => "fragment".into(),
            Self::Answered(_) => "answered".into(),
            Self::Service(at) => format!("service {at}"),
            Self::Tracked => "tracked".into(),
            Self::Related => "related".into(),
            Self::Allowed {
                group,
                rule,
                untracked,
            } => {
                let tracking = if *untracked { " untracked" } else { "" };
                format!("allowed {group}/{rule}{tracking}")
            }
            Self::Denied { rules, nearest, .. } => match nearest {
                Some(near) => format!("denied {rules} nearest {}/{}", near.group, near.rule),
                None => format!("denied {rules}"),
            },
            Self::Route {
                destination: Some(net),
                target,
                ..
            } => format!("route {net} {target}"),
            Self::Route { target, .. } => format!("neighbor {target}"),
            Self::Translated { from, to } => format!("translated {from} {to}"),
            Self::Delivered { to: Some(to) } => format!("delivered {to}"),
            Self::Delivered { to: None } => "delivered internet".into(),
            Self::Dropped(reason) => format!("dropped {}", reason.name()),
        }
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            let at = step.interface.as_deref().unwrap_or("");
            writeln!(f, "{:<18} {:<12} {}", step.stage.name(), at, step.event)?;
        }
        write!(f, "{}", self.outcome)
    }
}

/// Where the pipeline tells what happens. The packet path's own sink keeps nothing and costs nothing.
pub(crate) trait Sink {
    /// Records a step; `step` is called by sinks that remember only.
    fn record(&mut self, step: impl FnOnce() -> Step);
}

/// Keeps nothing.
#[derive(Debug)]
pub(crate) struct NoTrace;

impl Sink for NoTrace {
    #[inline]
    fn record(&mut self, _: impl FnOnce() -> Step) {}
}

/// Keeps everything.
#[derive(Debug, Default)]
pub(crate) struct Recorder(pub(crate) Vec<Step>);

impl Sink for Recorder {
    fn record(&mut self, step: impl FnOnce() -> Step) {
        self.0.push(step());
    }
}
