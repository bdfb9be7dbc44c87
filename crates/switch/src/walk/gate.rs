//! A security group gate: the connection first, then the rules.

use std::ops::ControlFlow;

use trinic_wire::icmpv4;
use trinic_wire::packet::{FiveTuple, Ip, Transport};

use super::{Flow, Party, Walk};
use crate::DropReason;
use crate::conntrack::{Handle, Signal};
use crate::flow::{self, FlowKey};
use crate::policy::{InterfaceIndex, RuleQuery};
use crate::trace::{Direction, Event, Sink};

/// How the packet passed a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// There was none, or the walk ended before it.
    Absent,
    /// It passed; what is to be remembered.
    Passed {
        at: InterfaceIndex,
        direction: Direction,
        signal: Signal,
        commit: Commit,
    },
}

/// What a gate remembers of a packet that it let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Commit {
    /// Nothing: untracked, or an ICMP message that belongs to another flow or to none.
    Nothing,
    /// Nothing, nor may the flow cache: the rules let it pass, but it is of no connection and opens none.
    Stray,
    /// A packet of this connection.
    Touch(Handle),
    /// A new connection, or a new life of an old one.
    Open(FlowKey),
    /// The new connection is untracked and replaces a tracked one.
    Forget(Handle),
}

impl<'a, S: Sink> Walk<'a, S> {
    /// The sender's or the receiver's gate.
    pub(super) fn gate(&mut self, direction: Direction) -> Flow {
        let (party, side) = match direction {
            Direction::Outbound => (self.sender, 0),
            Direction::Inbound => (self.receiver, 1),
        };
        let (Some(party), Some(ip)) = (party, self.ip) else {
            return ControlFlow::Continue(());
        };
        let signal = Signal::of(&ip);
        let commit = match self.related(party, direction, &ip) {
            true => {
                self.record(|_| Event::Related);
                Commit::Nothing
            }
            false => self.tracked_or_allowed(party, direction, &ip, signal)?,
        };
        self.gates[side] = Gate::Passed {
            at: party.index,
            direction,
            signal,
            commit,
        };
        ControlFlow::Continue(())
    }

    /// Whether the packet is an ICMP error about a flow that this interface may have.
    ///
    /// The quoted packet passed the gate the other way. It counts if its connection is tracked, or if the
    /// rules let its flow through untracked. The error must be for the one who sent that packet.
    fn related(&self, party: Party<'_>, direction: Direction, ip: &Ip) -> bool {
        let Transport::Icmp(icmp) = ip.transport else {
            return false;
        };
        let Some(inner) = icmp.inner else {
            return false;
        };
        // A redirect would change the receiver's routes, which takes more than a known flow.
        let redirect = !ip.is_ipv6() && icmp.kind == icmpv4::REDIRECT;
        if redirect || ip.tuple.destination != inner.tuple.source {
            return false;
        }
        let back = direction.opposite();
        let key = FlowKey::of(&inner.tuple, 0, back);
        party.state.tracker.find(self.now, &key).is_some()
            || (inner.has_ports
                && self
                    .policy
                    .is_untracked(party.interface, back, &port_query(&inner.tuple, back)))
    }

    fn tracked_or_allowed(
        &mut self,
        party: Party<'a>,
        direction: Direction,
        ip: &Ip,
        signal: Signal,
    ) -> ControlFlow<super::Outcome, Commit> {
        let tracker = &party.state.tracker;
        let key = FlowKey::of(&ip.tuple, flow::class(ip), direction);
        let found = tracker.find(self.now, &key);
        if let Some(handle) = found
            && tracker.admits(handle, direction, signal)
        {
            self.record(|_| Event::Tracked);
            return ControlFlow::Continue(Commit::Touch(handle));
        }
        let query = query_of(ip, direction);
        let policy = self.policy;
        let Some(allowed) = policy.allowed_by(party.interface, direction, &query) else {
            return self.denied(party, direction, &query);
        };
        let untracked = policy.is_untracked(party.interface, direction, &query);
        self.record(|_| Event::Allowed {
            group: allowed.group.clone(),
            rule: allowed.rule.clone(),
            untracked,
        });
        if untracked {
            return ControlFlow::Continue(found.map_or(Commit::Nothing, Commit::Forget));
        }
        if !signal.opens(self.now < self.states.config.pick_up_until) {
            return ControlFlow::Continue(Commit::Stray);
        }
        if found.is_none() && tracker.len() >= party.state.tracked_limit {
            return self.refuse(DropReason::ConntrackFull);
        }
        ControlFlow::Continue(Commit::Open(key))
    }

    fn denied(
        &mut self,
        party: Party<'_>,
        direction: Direction,
        query: &RuleQuery,
    ) -> ControlFlow<super::Outcome, Commit> {
        self.record(|policy| {
            let (rules, nearest) = policy.nearest_miss(party.interface, direction, query);
            Event::Denied {
                direction,
                groups: party.interface.entry.groups.clone(),
                rules,
                nearest,
            }
        });
        self.refuse(match direction {
            Direction::Outbound => DropReason::SecurityGroupOutbound,
            Direction::Inbound => DropReason::SecurityGroupInbound,
        })
    }

    fn refuse(&self, reason: DropReason) -> ControlFlow<super::Outcome, Commit> {
        match self.drop(reason) {
            ControlFlow::Break(outcome) => ControlFlow::Break(outcome),
            ControlFlow::Continue(()) => ControlFlow::Continue(Commit::Nothing),
        }
    }
}

/// What the rules are asked about a packet.
fn query_of(ip: &Ip, direction: Direction) -> RuleQuery {
    match ip.transport {
        Transport::Icmp(icmp) => RuleQuery {
            port: icmp.kind.into(),
            other: icmp.code.into(),
            ..port_query(&ip.tuple, direction)
        },
        _ => port_query(&ip.tuple, direction),
    }
}

fn port_query(tuple: &FiveTuple, direction: Direction) -> RuleQuery {
    RuleQuery {
        protocol: tuple.protocol.0,
        peer: match direction {
            Direction::Outbound => tuple.destination,
            Direction::Inbound => tuple.source,
        },
        port: tuple.destination_port,
        other: tuple.source_port,
    }
}
