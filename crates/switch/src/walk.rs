//! The walk: (policy, connection state, packet) to decision. This is the specification of the switch.
//!
//! A walk changes nothing. It says where the packet goes, which edits it needs, and what is to be remembered;
//! [`crate::Switch`] does that. So a trace is a walk with a sink that remembers, and the flow cache is right
//! if it gives the same decisions.
//!
//! The order of the stages is in [`crate::stages`].

mod gate;
mod gateway;
mod neighbor;
mod service;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::ControlFlow;

use trinic_wire::ethernet::{self, BROADCAST};
use trinic_wire::packet::{FiveTuple, Ip, Network, Parsed, Transport};
use trinic_wire::reply::Problem;
use trinic_wire::time::Instant;
use trinic_wire::{ipv6, udp};

use crate::cache::Destination;
use crate::edit::Edits;
use crate::packet::Offload;
use crate::policy::{CompiledInterface, InterfaceIndex, NextHop, Policy};
use crate::stages::{self, Stage};
use crate::state::{InterfaceState, States};
use crate::tables::{Id, Mac, owns};
use crate::trace::{Direction, Event, Sink, Step};
use crate::{DropReason, ROUTER_MAC};

pub(crate) use gate::{Commit, Gate};
pub(crate) use neighbor::advertisement;

/// MTU inside a VPC. Source: [EC2 User Guide, "Network maximum transmission unit"], read 2026-11-22.
pub const VPC_MTU: usize = 9_001;

/// MTU of an internet gateway. Source: the same page.
pub const INTERNET_MTU: usize = 1_500;

/// Who sent a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Interface(InterfaceIndex),
    Internet,
}

/// Whose counter a drop moves.
pub(crate) type Place = Destination;

/// How a walk ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Edit the frame and send it there.
    Forward { to: Destination, edits: Edits },
    /// The subnet's router answers an echo request in place.
    Echo,
    /// A link-local service answers.
    Service,
    /// The card answers with a frame of its own.
    Reply(Reply),
    /// The packet is dropped, and its sender told why if there is a problem to report.
    Drop {
        reason: DropReason,
        at: Place,
        report: Option<Problem>,
    },
}

/// A frame of the card's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    Arp {
        mac: Mac,
    },
    Neighbor {
        target: Ipv6Addr,
        mac: Mac,
        router: bool,
    },
    Router {
        prefix: ipnet::Ipv6Net,
    },
}

/// What a walk decided.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decision {
    pub(crate) outcome: Outcome,
    pub(crate) sender: Gate,
    pub(crate) receiver: Gate,
    /// The largest IP packet that the path takes.
    pub(crate) mtu: usize,
}

/// Goes on with the next stage, or ends the walk.
type Flow = ControlFlow<Outcome>;

/// One side of the packet's way.
#[derive(Clone, Copy)]
pub(crate) struct Party<'a> {
    index: InterfaceIndex,
    interface: &'a CompiledInterface,
    state: &'a InterfaceState,
}

/// What is walked: the frame as parsed, and what the sender left to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) window: &'a [u8],
    pub(crate) parsed: &'a Parsed,
    pub(crate) offload: Offload,
}

/// A walk on its way.
pub(crate) struct Walk<'a, S> {
    policy: &'a Policy,
    states: &'a States,
    now: Instant,
    frame: Frame<'a>,
    /// The packet as it is at this stage: a fragment has its ports, addresses are translated.
    ip: Option<Ip>,
    origin: Origin,
    sender: Option<Party<'a>>,
    receiver: Option<Party<'a>>,
    stage: Stage,
    /// What follows when the outbound stages are through.
    path: &'static [Stage],
    /// The receiver is a next hop, not the owner of the destination address.
    via: bool,
    edits: Edits,
    mtu: usize,
    gates: [Gate; 2],
    sink: &'a mut S,
}

/// Walks a frame from its sender.
pub(crate) fn walk<S: Sink>(
    policy: &Policy,
    states: &States,
    now: Instant,
    origin: Origin,
    frame: Frame<'_>,
    sink: &mut S,
) -> Decision {
    let ip = frame.parsed.ip().copied();
    let mut walk = Walk {
        policy,
        states,
        now,
        frame,
        ip,
        origin,
        sender: None,
        receiver: None,
        stage: Stage::Port,
        path: stages::FROM_INTERNET,
        via: false,
        edits: Edits {
            source_mac: ROUTER_MAC,
            destination_mac: states.internet.mac,
            source: None,
            destination: None,
            decrement_ttl: false,
        },
        mtu: usize::MAX,
        gates: [Gate::Absent; 2],
        sink,
    };
    let outcome = match walk.run() {
        ControlFlow::Break(outcome) => outcome,
        // Every path ends with `Deliver`, which breaks.
        ControlFlow::Continue(()) => Outcome::Drop {
            reason: DropReason::NoRoute,
            at: walk.place(),
            report: None,
        },
    };
    if let Outcome::Drop { reason, .. } = outcome {
        walk.record(|_| Event::Dropped(reason));
    }
    Decision {
        outcome,
        sender: walk.gates[0],
        receiver: walk.gates[1],
        mtu: walk.mtu,
    }
}

impl<'a, S: Sink> Walk<'a, S> {
    fn run(&mut self) -> Flow {
        match self.origin {
            Origin::Interface(index) => {
                self.sender = self.party(index);
                if self.sender.is_none() {
                    return self.drop(DropReason::Unattached);
                }
                self.pass(Stage::Parse)?;
                self.pass(Stage::Fragment)?;
                for stage in stages::OUTBOUND {
                    self.pass(*stage)?;
                }
            }
            Origin::Internet => {
                self.pass(Stage::Parse)?;
                self.pass(Stage::Fragment)?;
            }
        }
        for stage in self.path {
            self.pass(*stage)?;
        }
        ControlFlow::Continue(())
    }

    /// One stage; the only place that ties a name to code.
    fn pass(&mut self, stage: Stage) -> Flow {
        self.stage = stage;
        match stage {
            // The switch asks before the walk, as it does for packets that need none.
            Stage::Port | Stage::AllowanceOut => ControlFlow::Continue(()),
            Stage::Parse => self.parse(),
            Stage::Fragment => self.fragment(),
            Stage::AntiSpoof => self.anti_spoof(),
            Stage::Neighbor => self.neighbor(),
            Stage::LinkLocal => self.link_local(),
            Stage::Multicast => self.multicast(),
            Stage::SecurityGroupOut => self.gate(Direction::Outbound),
            Stage::Route => self.route(),
            Stage::Mtu => self.vpc_mtu(),
            Stage::GatewayOut => self.gateway_out(),
            Stage::GatewayIn => self.gateway_in(),
            Stage::DestinationCheck => self.destination_check(),
            Stage::SecurityGroupIn => self.gate(Direction::Inbound),
            Stage::AllowanceIn => self.allowance_in(),
            Stage::Deliver => self.deliver(),
        }
    }

    /// An interface that is attached, with its state.
    fn party(&self, index: InterfaceIndex) -> Option<Party<'a>> {
        let interface = self.policy.interface(index)?;
        let state = self.states.get(index)?;
        let attached = interface.entry.instance_id.is_some() && state.port.is_some();
        attached.then_some(Party {
            index,
            interface,
            state,
        })
    }

    /// Where the packet is: at the sender before its route is known, then at the receiver.
    fn place(&self) -> Place {
        let inbound = matches!(
            self.stage,
            Stage::DestinationCheck | Stage::SecurityGroupIn | Stage::AllowanceIn | Stage::Deliver
        );
        match self.receiver {
            Some(receiver) if inbound => Destination::Interface(receiver.index),
            _ => self.origin.into(),
        }
    }

    fn record(&mut self, event: impl FnOnce(&Policy) -> Event) {
        let (policy, stage, place) = (self.policy, self.stage, self.place());
        self.sink.record(|| Step {
            stage,
            interface: match place {
                Destination::Interface(index) => Some(policy.interface_id(index).clone()),
                Destination::Internet => None,
            },
            event: event(policy),
        });
    }

    fn passed(&mut self) -> Flow {
        self.record(|_| Event::Passed);
        ControlFlow::Continue(())
    }

    fn drop(&self, reason: DropReason) -> Flow {
        ControlFlow::Break(Outcome::Drop {
            reason,
            at: self.place(),
            report: None,
        })
    }

    fn drop_and_report(&self, reason: DropReason, problem: Problem) -> Flow {
        ControlFlow::Break(Outcome::Drop {
            reason,
            at: self.place(),
            report: Some(problem),
        })
    }

    /// The packet's addresses and ports at this stage.
    fn tuple(&self) -> Option<FiveTuple> {
        self.ip.map(|ip| ip.tuple)
    }

    fn parse(&mut self) -> Flow {
        let parsed = self.frame.parsed;
        self.record(|_| Event::Packet(describe(parsed)));
        if parsed.ethernet.tag.is_some() || parsed.network == Network::Other {
            return self.drop(DropReason::UnsupportedEtherType);
        }
        if self.ip.is_some_and(|ip| ip.ttl == 0) {
            return self.drop(DropReason::TtlExceeded);
        }
        ControlFlow::Continue(())
    }

    /// A later fragment gets the ports of its packet.
    fn fragment(&mut self) -> Flow {
        let fragments = match self.sender {
            Some(sender) => &sender.state.fragments,
            None => &self.states.internet.fragments,
        };
        let Some(ip) = &mut self.ip else {
            return ControlFlow::Continue(());
        };
        if ip.transport != Transport::Absent {
            return ControlFlow::Continue(());
        }
        if !fragments.resolve(self.now, ip) {
            return self.drop(DropReason::FragmentUnknown);
        }
        let (source, destination) = (ip.tuple.source_port, ip.tuple.destination_port);
        self.record(|_| Event::Fragment { source, destination });
        ControlFlow::Continue(())
    }

    /// The source MAC must be the interface's own, and the source address too unless the check is off.
    fn anti_spoof(&mut self) -> Flow {
        let Some(sender) = self.sender else {
            return ControlFlow::Continue(());
        };
        let own = &sender.interface.entry;
        let parsed = self.frame.parsed;
        if parsed.ethernet.source != own.mac {
            return self.drop(DropReason::SourceMac);
        }
        if let Network::Arp(arp) = &parsed.network {
            if arp.sender_mac != own.mac {
                return self.drop(DropReason::SourceMac);
            }
            let address = arp.sender_address;
            let fine = !own.source_dest_check || address.is_unspecified() || owns(own, IpAddr::V4(address));
            return if fine {
                self.passed()
            } else {
                self.drop(DropReason::SourceAddress)
            };
        }
        let Some(ip) = self.ip else {
            return self.passed();
        };
        let tuple = ip.tuple;
        let fine = match tuple.source {
            source if owns(own, source) => true,
            IpAddr::V4(source) if source.is_unspecified() => is_dhcp(&ip),
            IpAddr::V6(source) if source.is_unspecified() || source.is_unicast_link_local() => {
                may_stay_on_link(source, tuple.destination, own.mac)
            }
            source => !own.source_dest_check && is_host(source),
        };
        if fine {
            self.passed()
        } else {
            self.drop(DropReason::SourceAddress)
        }
    }

    /// Broadcast and multicast end here, and destinations that are no host's address.
    fn multicast(&mut self) -> Flow {
        let Some(tuple) = self.tuple() else {
            return self.drop(DropReason::UnsupportedEtherType);
        };
        let mac = self.frame.parsed.ethernet.destination;
        let broadcast = self
            .sender
            .and_then(|sender| self.policy.subnet(sender.interface.subnet))
            .and_then(|subnet| subnet.ipv4)
            .is_some_and(|net| tuple.destination == IpAddr::V4(net.broadcast()));
        if ethernet::is_multicast(mac) || is_group(tuple.destination) || broadcast {
            return self.drop(DropReason::Multicast);
        }
        if !is_host(tuple.destination) {
            return self.drop(DropReason::DestinationAddress);
        }
        self.passed()
    }

    /// Who is next.
    fn route(&mut self) -> Flow {
        let (Some(sender), Some(tuple)) = (self.sender, self.tuple()) else {
            return self.drop(DropReason::NoRoute);
        };
        let (Some(vpc), destination) = (self.policy.vpc(sender.interface.vpc), tuple.destination) else {
            return self.drop(DropReason::NoRoute);
        };
        let mac = self.frame.parsed.ethernet.destination;
        // Inside the VPC the address alone decides, so that an address which moves takes its packets along
        // whatever the neighbors remember. To the outside a neighbor's MAC names the next hop. [assumed A-15]
        if mac != ROUTER_MAC && !vpc.contains(destination) {
            let neighbor = vpc.by_mac(&mac).filter(|neighbor| {
                *neighbor != sender.index
                    && self
                        .policy
                        .interface(*neighbor)
                        .is_some_and(|n| n.subnet == sender.interface.subnet)
            });
            return match neighbor {
                Some(neighbor) => self.send_to_neighbor(neighbor),
                None => self.drop(DropReason::DestinationMac),
            };
        }
        let Some((table, routes)) = self.policy.routes_of(sender.interface.subnet) else {
            return self.drop(DropReason::NoRoute);
        };
        let Some((net, hop)) = routes.lookup(destination) else {
            return self.drop(DropReason::NoRoute);
        };
        self.record(|policy| Event::Route {
            table: Some(table.clone()),
            destination: Some(net),
            target: hop_name(policy, hop),
        });
        match hop {
            NextHop::Blackhole => self.drop(DropReason::Blackhole),
            NextHop::Local => match vpc.owner(destination) {
                Some(owner) => self.send_to(owner),
                None => self.drop(DropReason::NoSuchAddress),
            },
            NextHop::Interface(next) => {
                self.via = true;
                let same_vpc = self
                    .policy
                    .interface(next)
                    .is_some_and(|n| n.vpc == sender.interface.vpc);
                if same_vpc {
                    self.send_to(next)
                } else {
                    self.drop(DropReason::Blackhole)
                }
            }
            NextHop::InternetGateway => {
                self.path = match self.public_owner(destination) {
                    Some(_) => stages::HAIRPIN,
                    None => stages::TO_INTERNET,
                };
                ControlFlow::Continue(())
            }
        }
    }

    fn send_to_neighbor(&mut self, neighbor: InterfaceIndex) -> Flow {
        self.via = true;
        self.record(|policy| Event::Route {
            table: None,
            destination: None,
            target: policy.interface_id(neighbor).to_string(),
        });
        self.send_to(neighbor)
    }

    /// To an interface of the sender's VPC.
    fn send_to(&mut self, receiver: InterfaceIndex) -> Flow {
        if self.sender.is_some_and(|sender| sender.index == receiver) {
            return self.drop(DropReason::RouteLoop);
        }
        self.path = stages::LOCAL;
        self.receive_at(receiver)
    }

    /// Makes an interface the receiver.
    fn receive_at(&mut self, receiver: InterfaceIndex) -> Flow {
        self.receiver = self.party(receiver);
        if self.receiver.is_some() {
            return ControlFlow::Continue(());
        }
        ControlFlow::Break(Outcome::Drop {
            reason: DropReason::DestinationUnattached,
            at: Destination::Interface(receiver),
            report: None,
        })
    }

    fn vpc_mtu(&mut self) -> Flow {
        self.check_mtu(VPC_MTU)?;
        self.passed()
    }

    /// A larger packet is dropped; its sender is told if it must not be fragmented.
    fn check_mtu(&mut self, mtu: usize) -> Flow {
        self.mtu = self.mtu.min(mtu);
        let Some(ip) = self.ip else {
            return ControlFlow::Continue(());
        };
        let size = segment_len(&ip, self.frame.parsed.network_offset, self.frame.offload);
        if size <= mtu {
            return ControlFlow::Continue(());
        }
        if !ip.dont_fragment {
            return self.drop(DropReason::FragmentationNeeded);
        }
        let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
        self.drop_and_report(DropReason::MtuExceeded, Problem::TooBig { mtu })
    }

    fn destination_check(&mut self) -> Flow {
        let (Some(receiver), Some(tuple)) = (self.receiver, self.tuple()) else {
            return self.drop(DropReason::NoSuchAddress);
        };
        let own = &receiver.interface.entry;
        if own.source_dest_check && !owns(own, tuple.destination) {
            return self.drop(DropReason::DestinationCheck);
        }
        self.passed()
    }

    fn allowance_in(&mut self) -> Flow {
        let shaper = self
            .receiver
            .and_then(|receiver| receiver.state.shaper.as_deref());
        let Some(shaper) = shaper else {
            return ControlFlow::Continue(());
        };
        match shaper.refusal(self.now, Direction::Inbound) {
            Some(reason) => self.drop(reason),
            None => self.passed(),
        }
    }

    fn deliver(&mut self) -> Flow {
        let to = match self.receiver {
            None => Destination::Internet,
            Some(receiver) => {
                self.edits.destination_mac = receiver.interface.entry.mac;
                if let Some(sender) = self.sender
                    && self.path == stages::LOCAL
                    && sender.interface.subnet == receiver.interface.subnet
                    && self.frame.parsed.ethernet.destination != ROUTER_MAC
                {
                    self.edits.source_mac = sender.interface.entry.mac;
                }
                Destination::Interface(receiver.index)
            }
        };
        self.record(|policy| Event::Delivered {
            to: id_of(policy, to),
        });
        ControlFlow::Break(Outcome::Forward {
            to,
            edits: self.edits,
        })
    }
}

pub(crate) fn id_of(policy: &Policy, to: Destination) -> Option<Id> {
    match to {
        Destination::Interface(index) => Some(policy.interface_id(index).clone()),
        Destination::Internet => None,
    }
}

fn hop_name(policy: &Policy, hop: NextHop) -> String {
    match hop {
        NextHop::Local => "local".into(),
        NextHop::InternetGateway => "internet-gateway".into(),
        NextHop::Interface(index) => policy.interface_id(index).to_string(),
        NextHop::Blackhole => "blackhole".into(),
    }
}

/// Size of the largest IP packet that the frame becomes when a receiver cuts it into segments.
#[inline]
pub(crate) fn segment_len(ip: &Ip, network_offset: usize, offload: Offload) -> usize {
    if offload.gso_size == 0 {
        return ip.total_len;
    }
    (headers_len(ip, network_offset) + usize::from(offload.gso_size)).min(ip.total_len)
}

/// Bytes of the IP header and the transport header, which every segment of a super-frame has.
#[inline]
pub(crate) fn headers_len(ip: &Ip, network_offset: usize) -> usize {
    let transport = match ip.transport {
        Transport::Tcp { header_len, .. } => header_len,
        _ => udp::HEADER_LEN,
    };
    ip.transport_offset - network_offset + transport
}

/// A DHCPv4 client's message.
fn is_dhcp(ip: &Ip) -> bool {
    ip.transport == Transport::Udp && ip.tuple.source_port == 68 && ip.tuple.destination_port == 67
}

/// Whether a packet without a source address, or with a link-local one, may be sent: only to the link, which
/// it never leaves, and only from the address that the MAC makes.
fn may_stay_on_link(source: Ipv6Addr, destination: IpAddr, mac: Mac) -> bool {
    let IpAddr::V6(destination) = destination else {
        return false;
    };
    (source.is_unspecified() || source == ipv6::link_local(mac))
        && (destination.is_multicast() || destination.is_unicast_link_local())
}

fn is_group(address: IpAddr) -> bool {
    address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// Whether the address can be one host's.
fn is_host(address: IpAddr) -> bool {
    let reserved = match address {
        IpAddr::V4(a) => a.octets()[0] == 0 || a.octets()[0] >= 240,
        IpAddr::V6(a) => a.to_ipv4_mapped().is_some(),
    };
    !reserved && !address.is_unspecified() && !address.is_loopback() && !is_group(address)
}

/// The packet in one line.
fn describe(parsed: &Parsed) -> String {
    match &parsed.network {
        Network::Arp(arp) => format!("ARP for {}", arp.target_address),
        Network::Ip(ip) => {
            let t = &ip.tuple;
            let name = match ip.transport {
                Transport::Tcp { .. } => "TCP",
                Transport::Udp => "UDP",
                Transport::Icmp(icmp) => {
                    return format!(
                        "{} to {} ICMP type {} code {}",
                        t.source, t.destination, icmp.kind, icmp.code
                    );
                }
                Transport::Other | Transport::Absent => {
                    return format!("{} to {} protocol {}", t.source, t.destination, t.protocol.0);
                }
            };
            let from = std::net::SocketAddr::new(t.source, t.source_port);
            let to = std::net::SocketAddr::new(t.destination, t.destination_port);
            format!("{from} to {to} {name}")
        }
        Network::Other => format!("EtherType {:#06x}", parsed.ethernet.ethertype.0),
    }
}

/// Whether a frame is for everyone on the link.
fn is_for_everyone(mac: Mac) -> bool {
    mac == BROADCAST || ethernet::is_multicast(mac)
}
