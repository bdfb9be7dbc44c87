//! DHCP for IPv6: gives an interface the addresses that it has, as [`crate::dhcp`] does for IPv4.
//!
//! As EC2's server in a dual-stack subnet it gives addresses and nothing else: resolvers and names come
//! by DHCPv4. An interface's first address is what a client gets that names none; of those that it
//! names, the interface's own are granted. Prefixes (IA_PD) and temporary addresses (IA_TA) are absent.
//!
//! Source: [RFC 8415], [AWS doc docs.aws.amazon.com/vpc/latest/userguide/DHCPOptionSetConcepts.html]
//! (preferred lifetime of 140 s).

use std::net::Ipv6Addr;

use crate::context::InterfaceContext;
use crate::refusal::Refusal;

/// UDP port of servers.
pub const SERVER_PORT: u16 = 547;

/// UDP port of clients.
pub const CLIENT_PORT: u16 = 546;

/// The group of all servers and relays, which clients speak to.
pub const ALL_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

/// The largest reply, which the least MTU of IPv6 has room for. A message that would need more (of a
/// client with dozens of associations) gets none.
pub const MESSAGE_MAX_BYTES: usize = 1232;

/// Seconds in which an address is preferred; renewal is asked for after half.
const PREFERRED_S: u32 = 140;
/// Seconds in which an address is valid. [assumed A-17]
const VALID_S: u32 = 450;
/// The longest DUID. Source: [RFC 8415 §11.1].
const DUID_MAX_BYTES: usize = 130;

mod kind {
    pub(super) const SOLICIT: u8 = 1;
    pub(super) const ADVERTISE: u8 = 2;
    pub(super) const REQUEST: u8 = 3;
    pub(super) const CONFIRM: u8 = 4;
    pub(super) const RENEW: u8 = 5;
    pub(super) const REBIND: u8 = 6;
    pub(super) const REPLY: u8 = 7;
    pub(super) const RELEASE: u8 = 8;
    pub(super) const DECLINE: u8 = 9;
    pub(super) const INFORMATION_REQUEST: u8 = 11;
}

mod code {
    pub(super) const CLIENT_ID: u16 = 1;
    pub(super) const SERVER_ID: u16 = 2;
    pub(super) const IA_NA: u16 = 3;
    pub(super) const IA_ADDRESS: u16 = 5;
    pub(super) const STATUS: u16 = 13;
    pub(super) const RAPID_COMMIT: u16 = 14;
}

/// What an operation came to.
#[derive(Clone, Copy)]
enum Status {
    Success = 0,
    NoAddressAvailable = 2,
    NotOnLink = 4,
}

/// A client's message.
struct Request<'a> {
    kind: u8,
    transaction: [u8; 3],
    client_id: Option<&'a [u8]>,
    server_id: Option<&'a [u8]>,
    rapid_commit: bool,
    associations: Vec<Association>,
}

/// An identity association (IA_NA): what an address is given to.
struct Association {
    id: [u8; 4],
    addresses: Vec<Ipv6Addr>,
}

/// The options of a message or of an option, one by one; an error ends them.
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = Result<(u16, &'a [u8]), Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let split = || {
            let (&[a, b, c, d], rest) = self.0.split_first_chunk::<4>()?;
            let (data, rest) = rest.split_at_checked(u16::from_be_bytes([c, d]).into())?;
            Some((u16::from_be_bytes([a, b]), data, rest))
        };
        let Some((code, data, rest)) = split() else {
            self.0 = &[];
            return Some(Err(Refusal::Dhcp6Malformed));
        };
        self.0 = rest;
        Some(Ok((code, data)))
    }
}

/// The most associations of one message: an interface has one client.
const ASSOCIATIONS_MAX: usize = 8;
/// The most addresses of one association; an interface of EC2 has at most 50.
const ADDRESSES_MAX: usize = 50;

impl<'a> Request<'a> {
    fn parse(message: &'a [u8]) -> Result<Self, Refusal> {
        let (&[kind, a, b, c], options) = message.split_first_chunk::<4>().ok_or(Refusal::Dhcp6Malformed)?;
        let mut request = Self {
            kind,
            transaction: [a, b, c],
            client_id: None,
            server_id: None,
            rapid_commit: false,
            associations: Vec::new(),
        };
        for option in Options(options) {
            match option? {
                (code::CLIENT_ID, id) => request.client_id = Some(duid(id)?),
                (code::SERVER_ID, id) => request.server_id = Some(duid(id)?),
                (code::RAPID_COMMIT, []) => request.rapid_commit = true,
                (code::IA_NA, data) if request.associations.len() < ASSOCIATIONS_MAX => {
                    request.associations.push(Association::parse(data)?);
                }
                (code::IA_NA, _) => return Err(Refusal::Dhcp6Malformed),
                _ => {}
            }
        }
        Ok(request)
    }
}

impl Association {
    fn parse(data: &[u8]) -> Result<Self, Refusal> {
        let (&[a, b, c, d, ..], options) = data.split_first_chunk::<12>().ok_or(Refusal::Dhcp6Malformed)?;
        let mut addresses = Vec::new();
        for option in Options(options) {
            let (code, data) = option?;
            if code != code::IA_ADDRESS {
                continue;
            }
            let octets = data
                .first_chunk::<16>()
                .filter(|_| data.len() >= 24 && addresses.len() < ADDRESSES_MAX)
                .ok_or(Refusal::Dhcp6Malformed)?;
            addresses.push(Ipv6Addr::from_octets(*octets));
        }
        Ok(Self {
            id: [a, b, c, d],
            addresses,
        })
    }
}

fn duid(id: &[u8]) -> Result<&[u8], Refusal> {
    if (3..=DUID_MAX_BYTES).contains(&id.len()) {
        Ok(id)
    } else {
        Err(Refusal::Dhcp6Malformed)
    }
}

/// Answers one message of a client: the payload of the reply, which goes to the client's link-local
/// address.
pub fn answer(context: &InterfaceContext<'_>, message: &[u8]) -> Result<Vec<u8>, Refusal> {
    let request = Request::parse(message)?;
    let server_id = server_id(context.router_mac);
    check_ids(&request, &server_id)?;
    let reply_kind = match request.kind {
        kind::SOLICIT if !request.rapid_commit => kind::ADVERTISE,
        _ => kind::REPLY,
    };
    let mut reply = Writer::new(reply_kind, request.transaction);
    reply.option(code::SERVER_ID, &server_id);
    if let Some(id) = request.client_id {
        reply.option(code::CLIENT_ID, id);
    }
    match request.kind {
        kind::SOLICIT | kind::REQUEST | kind::RENEW | kind::REBIND => {
            if request.kind == kind::SOLICIT && request.rapid_commit {
                reply.option(code::RAPID_COMMIT, &[]);
            }
            for association in &request.associations {
                reply.association(context.ipv6, association);
            }
        }
        kind::CONFIRM => {
            let mut asked = request.associations.iter().flat_map(|a| &a.addresses).peekable();
            if asked.peek().is_none() {
                // There is nothing to confirm, and then the server says nothing (RFC 8415 §18.3.3).
                return Err(Refusal::Dhcp6Unsupported);
            }
            let all_ours = asked.all(|address| context.ipv6.contains(address));
            reply.status(if all_ours {
                Status::Success
            } else {
                Status::NotOnLink
            });
        }
        // The address stays the interface's whatever its client gives back.
        kind::RELEASE | kind::DECLINE => reply.status(Status::Success),
        kind::INFORMATION_REQUEST if request.associations.is_empty() => {}
        kind::INFORMATION_REQUEST => return Err(Refusal::Dhcp6Malformed),
        _ => return Err(Refusal::Dhcp6Unsupported),
    }
    reply.finish()
}

/// Which ids a message must have, and must not have. Source: [RFC 8415 §16].
fn check_ids(request: &Request<'_>, own: &[u8]) -> Result<(), Refusal> {
    let (needs_client, needs_server) = match request.kind {
        kind::SOLICIT | kind::CONFIRM | kind::REBIND => (true, Some(false)),
        kind::REQUEST | kind::RENEW | kind::RELEASE | kind::DECLINE => (true, Some(true)),
        kind::INFORMATION_REQUEST => (false, None),
        _ => return Err(Refusal::Dhcp6Unsupported),
    };
    if needs_client && request.client_id.is_none() {
        return Err(Refusal::Dhcp6Malformed);
    }
    match (request.server_id, needs_server) {
        (None, Some(true)) | (Some(_), Some(false)) => Err(Refusal::Dhcp6Malformed),
        (Some(id), _) if id != own => Err(Refusal::Dhcp6OtherServer),
        _ => Ok(()),
    }
}

/// DUID-LL of the router. Source: [RFC 8415 §11.4].
fn server_id(mac: [u8; 6]) -> [u8; 10] {
    let [a, b, c, d, e, f] = mac;
    [0, 3, 0, 1, a, b, c, d, e, f]
}

/// Writes a reply.
struct Writer(Vec<u8>);

impl Writer {
    fn new(kind: u8, [a, b, c]: [u8; 3]) -> Self {
        Self(vec![kind, a, b, c])
    }

    fn option(&mut self, code: u16, data: &[u8]) {
        // No option of a reply is longer than a request's, whose length fits.
        let len = u16::try_from(data.len()).unwrap_or(u16::MAX);
        self.0.extend(code.to_be_bytes());
        self.0.extend(len.to_be_bytes());
        self.0.extend(data);
    }

    fn status(&mut self, status: Status) {
        self.option(code::STATUS, &(status as u16).to_be_bytes());
    }

    fn association(&mut self, own: &[Ipv6Addr], association: &Association) {
        let mut inner = Self(association.id.to_vec());
        // T1 and T2: half and four fifths of the preferred lifetime.
        inner.0.extend((PREFERRED_S / 2).to_be_bytes());
        inner.0.extend((PREFERRED_S / 5 * 4).to_be_bytes());
        let mut granted = 0;
        for &address in &association.addresses {
            let is_own = own.contains(&address);
            inner.address(address, is_own);
            granted += usize::from(is_own);
        }
        match own.first() {
            Some(&first) if granted == 0 => inner.address(first, true),
            Some(_) => {}
            None => inner.status(Status::NoAddressAvailable),
        }
        self.option(code::IA_NA, &inner.0);
    }

    /// An address, with lifetimes of zero when it is not the interface's (any more).
    fn address(&mut self, address: Ipv6Addr, is_own: bool) {
        let (preferred_s, valid_s) = if is_own { (PREFERRED_S, VALID_S) } else { (0, 0) };
        let mut data = address.octets().to_vec();
        data.extend(preferred_s.to_be_bytes());
        data.extend(valid_s.to_be_bytes());
        self.option(code::IA_ADDRESS, &data);
    }

    fn finish(self) -> Result<Vec<u8>, Refusal> {
        if self.0.len() > MESSAGE_MAX_BYTES {
            return Err(Refusal::Dhcp6Malformed);
        }
        Ok(self.0)
    }
}

#[cfg(test)]
mod tests;
