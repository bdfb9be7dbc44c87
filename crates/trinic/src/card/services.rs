//! The link-local services on the worker's thread: DHCP, DNS, instance metadata and time.
//!
//! They run where the packets are, because a request and its reply are two packets and handing them to
//! another thread would cost a wakeup each way. What they answer with is published by the reconciler: per
//! interface what the instance is, per VPC its names.

mod upstream;

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use trinic_linklocal::metadata::InstanceMetadata;
use trinic_linklocal::zone::VpcZone;
use trinic_linklocal::{InterfaceContext, Options, Responder, WallTime};
use trinic_switch::tables::Id;
use trinic_switch::{PortId, ROUTER_MAC};
use trinic_wire::time::Instant;

use crate::protocol::{InstanceSpec, InterfaceSpec};

use super::clock;
use super::zones::PublishedZone;
use upstream::Upstream;

/// Delivers a frame to the port of an interface.
pub type Deliver<'a> = dyn FnMut(PortId, &[u8]) + 'a;

/// What the services know of an interface.
#[derive(Debug)]
pub struct Published {
    interface: InterfaceSpec,
    hostname: String,
    metadata: Arc<InstanceMetadata>,
    vpc_id: Option<Id>,
}

/// The services of a card.
#[derive(Debug)]
pub struct Services {
    responder: Responder,
    published: HashMap<Id, Published>,
    zones: HashMap<Id, Arc<PublishedZone>>,
    ports: HashMap<Id, PortId>,
    upstream: Option<Upstream>,
    due: Option<Instant>,
    no_names: VpcZone,
}

impl Services {
    /// Services whose tokens follow from `seed`; with `uplink` they ask the host's resolver for names
    /// outside the VPCs.
    ///
    /// # Errors
    ///
    /// When the kernel gives no descriptor.
    pub fn new(uplink: bool, seed: [u8; 32]) -> io::Result<Self> {
        let upstream = if uplink { Upstream::of_host()? } else { None };
        Ok(Self::with_upstream(upstream, seed))
    }

    fn with_upstream(upstream: Option<Upstream>, seed: [u8; 32]) -> Self {
        let options = Options {
            forward_dns: upstream.is_some(),
            // The switch polices what reaches the services, in one counter for all of them.
            packets_per_second: None,
            ..Options::default()
        };
        Self {
            responder: Responder::new(options, seed),
            published: HashMap::new(),
            zones: HashMap::new(),
            ports: HashMap::new(),
            upstream,
            due: None,
            no_names: VpcZone::default(),
        }
    }

    /// Becomes readable when the host's resolver has answered; then call [`Self::receive_upstream`].
    pub fn upstream(&self) -> Option<&OwnedFd> {
        self.upstream.as_ref().map(Upstream::ready)
    }

    /// Says what to answer on an interface.
    pub fn publish(&mut self, id: Id, published: Published) {
        self.published.insert(id, published);
    }

    /// Says which names a VPC has; `None` when it is gone.
    pub fn publish_zone(&mut self, vpc: Id, zone: Option<Arc<PublishedZone>>) {
        match zone {
            Some(zone) => self.zones.insert(vpc, zone),
            None => self.zones.remove(&vpc),
        };
    }

    /// An interface is plugged in.
    pub fn connect(&mut self, id: Id, port: PortId) {
        self.ports.insert(id, port);
    }

    /// An interface is not plugged in any more, unless it is by now at another port.
    pub fn disconnect(&mut self, id: &Id, port: PortId) {
        if self.ports.get(id) == Some(&port) {
            self.ports.remove(id);
            self.published.remove(id);
            self.responder.interface_gone(id);
        }
    }

    /// Counters of the services on an interface.
    pub fn counters(&self, id: &str) -> Option<&trinic_linklocal::Counters> {
        self.responder.counters(id)
    }

    /// Takes a frame of an interface to a service.
    pub fn handle_frame(&mut self, now: Instant, id: &Id, frame: &[u8], deliver: &mut Deliver<'_>) {
        let Self {
            responder,
            published,
            zones,
            ports,
            no_names,
            ..
        } = self;
        let (Some(published), Some(port)) = (published.get(id), ports.get(id)) else {
            return;
        };
        let zone = published.vpc_id.as_ref().and_then(|vpc| zones.get(vpc));
        let context = published.context(id, zone.map(|zone| &**zone), no_names);
        let wall = WallTime(clock::wall_ns());
        responder.handle_frame(now, wall, &context, frame, &mut |frame| deliver(*port, frame));
        self.after(now);
    }

    /// Runs what is due.
    pub fn poll(&mut self, now: Instant, deliver: &mut Deliver<'_>) {
        let Self {
            responder,
            ports,
            upstream,
            ..
        } = self;
        responder.poll(now, &mut |id, frame| {
            if let Some(port) = ports.get(id) {
                deliver(*port, frame);
            }
        });
        if let Some(upstream) = upstream {
            upstream.keep(|token| responder.is_waiting(token));
        }
        self.after(now);
    }

    /// When to call [`Self::poll`] at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Takes what came from the host's resolver.
    pub fn receive_upstream(&mut self, now: Instant, deliver: &mut Deliver<'_>) {
        let Self {
            responder,
            ports,
            upstream,
            ..
        } = self;
        let Some(upstream) = upstream else { return };
        upstream.receive(|token, answer| {
            responder.handle_upstream(now, token, answer, &mut |id, frame| {
                if let Some(port) = ports.get(id) {
                    deliver(*port, frame);
                }
            });
        });
        upstream.keep(|token| responder.is_waiting(token));
        self.after(now);
    }

    /// Sends the questions that came up, and looks when the next thing is due.
    fn after(&mut self, now: Instant) {
        while let Some(query) = self.responder.poll_upstream() {
            if let Some(upstream) = &mut self.upstream {
                upstream.ask(query.token, &query.bytes);
            }
        }
        self.due = self.responder.poll_timeout(now);
    }
}

impl Published {
    /// What the services answer on `interface` of the instance.
    pub fn new(spec: &InstanceSpec, interface: &InterfaceSpec) -> Self {
        let vpc_id = spec
            .metadata
            .interfaces
            .iter()
            .find(|known| *known.interface_id == *interface.id)
            .map(|known| known.vpc_id.as_str().into());
        Self {
            interface: interface.clone(),
            hostname: spec.hostname.clone(),
            metadata: Arc::new(spec.metadata.clone()),
            vpc_id,
        }
    }

    fn context<'a>(
        &'a self,
        id: &'a Id,
        zone: Option<&'a PublishedZone>,
        no_names: &'a VpcZone,
    ) -> InterfaceContext<'a> {
        let interface = &self.interface;
        InterfaceContext {
            id,
            mac: interface.mac,
            router_mac: ROUTER_MAC,
            mtu: interface.mtu,
            ipv4: &interface.ipv4,
            ipv4_prefix_len: interface.ipv4_prefix_len,
            ipv4_router: interface.ipv4_router,
            ipv6: &interface.ipv6,
            dns: &interface.dns,
            hostname: &self.hostname,
            domain: &interface.domain,
            metadata: Some(&self.metadata),
            zone: zone.map_or(no_names, |zone| &zone.names),
            dns_support: zone.is_some_and(|zone| zone.dns_support),
        }
    }
}

#[cfg(test)]
mod tests;
