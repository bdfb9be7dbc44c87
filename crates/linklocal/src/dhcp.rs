//! DHCP for IPv4: gives an interface the address that it has.
//!
//! There is no pool and no lease to remember: the control plane decided the address, the server says
//! it again to whoever asks, and refuses (NAK) any other. The server is the subnet's router.
//!
//! Source: [RFC 2131], [RFC 2132], [RFC 6842] (the client's id in replies),
//! [AWS doc docs.aws.amazon.com/vpc/latest/userguide/DHCPOptionSetConcepts.html].

use std::net::{IpAddr, Ipv4Addr};

use trinic_wire::dhcpv4::{MAX_LEN, MessageType, Repr};

use crate::context::InterfaceContext;
use crate::refusal::Refusal;

/// What the server offers beside the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// Lifetime of a lease in seconds; EC2's is 3,600.
    pub lease_s: u32,
    /// Whether 169.254.169.123 is announced; EC2's default option set does not.
    pub ntp: bool,
}

/// A reply and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Payload of the datagram.
    pub payload: Vec<u8>,
    /// The server, which sends it.
    pub from: Ipv4Addr,
    /// The client, or everybody.
    pub to: Ipv4Addr,
    /// What it refused, if it did.
    pub refusal: Option<Refusal>,
}

/// Answers one message of a client.
pub fn answer(context: &InterfaceContext<'_>, offer: Offer, message: &[u8]) -> Result<Reply, Refusal> {
    let request = Repr::parse(message).map_err(|_| Refusal::DhcpMalformed)?;
    if request.message_type.is_reply() || !request.relay_address.is_unspecified() {
        return Err(Refusal::DhcpMalformed);
    }
    if request.client_mac != context.mac {
        return Err(Refusal::DhcpOtherClient);
    }
    let (Some(&address), Some(server)) = (context.ipv4.first(), context.ipv4_router) else {
        return Err(Refusal::DhcpNoAddress);
    };
    if request.server_id.is_some_and(|chosen| chosen != server) {
        return Err(Refusal::DhcpOtherServer);
    }
    let server = Server {
        context,
        offer,
        address,
        server,
    };
    match request.message_type {
        MessageType::Discover => server.grant(&request, MessageType::Offer),
        MessageType::Request if asked_address(&request) == Some(address) => {
            server.grant(&request, MessageType::Ack)
        }
        MessageType::Request => server.refuse(&request),
        MessageType::Inform => server.inform(&request),
        // There is nothing to give back, and nobody else can have the address.
        _ => Err(Refusal::DhcpUnsupported),
    }
}

/// The address that a REQUEST is about: in an option while the client has none yet, else its own.
///
/// Source: [RFC 2131 §4.3.2].
fn asked_address(request: &Repr) -> Option<Ipv4Addr> {
    match request.requested_address {
        Some(address) => Some(address),
        None => Some(request.client_address).filter(|address| !address.is_unspecified()),
    }
}

struct Server<'a> {
    context: &'a InterfaceContext<'a>,
    offer: Offer,
    address: Ipv4Addr,
    server: Ipv4Addr,
}

impl Server<'_> {
    /// OFFER or ACK: the address with everything else.
    fn grant(&self, request: &Repr, message_type: MessageType) -> Result<Reply, Refusal> {
        let reply = Repr {
            client_address: match message_type {
                MessageType::Ack => request.client_address,
                _ => Ipv4Addr::UNSPECIFIED,
            },
            your_address: self.address,
            lease_s: Some(self.offer.lease_s),
            renew_s: Some(self.offer.lease_s / 2),
            // Seven eighths, without the overflow of the obvious expression.
            rebind_s: Some(self.offer.lease_s - self.offer.lease_s / 8),
            ..self.configuration(request, message_type)
        };
        let to = if !request.client_address.is_unspecified() {
            request.client_address
        } else if request.broadcast {
            Ipv4Addr::BROADCAST
        } else {
            self.address
        };
        self.emit(&reply, to, None)
    }

    /// ACK of an INFORM: no address and no lease, to the address that the client says it has.
    fn inform(&self, request: &Repr) -> Result<Reply, Refusal> {
        if !self.context.ipv4.contains(&request.client_address) {
            return Err(Refusal::DhcpMalformed);
        }
        let reply = Repr {
            client_address: request.client_address,
            ..self.configuration(request, MessageType::Ack)
        };
        self.emit(&reply, request.client_address, None)
    }

    /// NAK: always to everybody, since the client's idea of its address is wrong.
    fn refuse(&self, request: &Repr) -> Result<Reply, Refusal> {
        let reply = Repr {
            broadcast: true,
            message: Some("This address is not the interface's".into()),
            ..self.reply(request, MessageType::Nak)
        };
        self.emit(&reply, Ipv4Addr::BROADCAST, Some(Refusal::DhcpNak))
    }

    /// What every reply has.
    fn reply(&self, request: &Repr, message_type: MessageType) -> Repr {
        Repr {
            broadcast: request.broadcast,
            server_id: Some(self.server),
            client_id: request.client_id.clone(),
            ..Repr::new(message_type, request.transaction_id, request.client_mac)
        }
    }

    /// A reply with the configuration that does not depend on the lease.
    fn configuration(&self, request: &Repr, message_type: MessageType) -> Repr {
        let host_bits = u32::MAX
            .checked_shr(self.context.ipv4_prefix_len.into())
            .unwrap_or(0);
        let v4 = |address: &IpAddr| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        };
        Repr {
            subnet_mask: Some(Ipv4Addr::from(!host_bits)),
            broadcast_address: Some(Ipv4Addr::from(u32::from(self.address) | host_bits)),
            routers: vec![self.server],
            dns: self.context.dns.iter().filter_map(v4).collect(),
            ntp: match self.offer.ntp {
                true => vec![crate::address::TIME_V4],
                false => Vec::new(),
            },
            domain_name: text(self.context.domain),
            host_name: text(self.context.hostname),
            mtu: u16::try_from(self.context.mtu).ok(),
            ..self.reply(request, message_type)
        }
    }

    fn emit(&self, reply: &Repr, to: Ipv4Addr, refusal: Option<Refusal>) -> Result<Reply, Refusal> {
        let mut payload = vec![0; MAX_LEN];
        // Only names and lists that fit into no message at all can fail here.
        let len = reply.emit(&mut payload).map_err(|_| Refusal::DhcpMalformed)?;
        payload.truncate(len);
        Ok(Reply {
            payload,
            from: self.server,
            to,
            refusal,
        })
    }
}

fn text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests;
