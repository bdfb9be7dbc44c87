//! The options of a DHCP message.

use std::net::Ipv4Addr;

use super::{Error, Header, MessageType, Repr, illegal};

/// Codes of the options that a [`Repr`] has.
pub mod code {
    /// Padding.
    pub const PAD: u8 = 0;
    /// Subnet mask.
    pub const SUBNET_MASK: u8 = 1;
    /// Routers.
    pub const ROUTERS: u8 = 3;
    /// DNS servers.
    pub const DNS: u8 = 6;
    /// Name of the client.
    pub const HOST_NAME: u8 = 12;
    /// Domain.
    pub const DOMAIN_NAME: u8 = 15;
    /// MTU of the link.
    pub const MTU: u8 = 26;
    /// Broadcast address.
    pub const BROADCAST: u8 = 28;
    /// NTP servers.
    pub const NTP: u8 = 42;
    /// Address that the client would like.
    pub const REQUESTED_ADDRESS: u8 = 50;
    /// Lease time.
    pub const LEASE: u8 = 51;
    /// Options are also in the fields for names.
    pub const OVERLOAD: u8 = 52;
    /// Message type.
    pub const MESSAGE_TYPE: u8 = 53;
    /// Server.
    pub const SERVER_ID: u8 = 54;
    /// Options that the client wants.
    pub const PARAMETER_LIST: u8 = 55;
    /// Text for a person.
    pub const MESSAGE: u8 = 56;
    /// Largest message that the client takes.
    pub const MAX_MESSAGE_SIZE: u8 = 57;
    /// When to renew.
    pub const RENEW: u8 = 58;
    /// When to rebind.
    pub const REBIND: u8 = 59;
    /// What the client calls itself.
    pub const CLIENT_ID: u8 = 61;
    /// Classless routes.
    pub const CLASSLESS_ROUTES: u8 = 121;
    /// End of the options.
    pub const END: u8 = 255;
}

/// A route of option 121.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClasslessRoute {
    /// Destination; the bits behind the prefix are zero.
    pub destination: Ipv4Addr,
    /// Length of the prefix, at most 32.
    pub prefix_len: u8,
    /// Next hop; unspecified = on the link.
    pub router: Ipv4Addr,
}

/// The options of one message, the pieces of each joined (RFC 3396 §7).
pub(super) struct Collected(Vec<(u8, Vec<u8>)>);

/// Reads the options, in the order of RFC 3396 §5: the option field, then the boot file, then the server name
/// where these two hold options.
pub(super) fn collect(header: &Header, options: &[u8]) -> Result<Collected, Error> {
    let mut collected = Collected(Vec::new());
    collected.read(options)?;
    let overload = match collected.get(code::OVERLOAD) {
        Some(&[overload]) => overload,
        _ => 0,
    };
    if overload & 1 != 0 {
        collected.read(&header.boot_file)?;
    }
    if overload & 2 != 0 {
        collected.read(&header.server_name)?;
    }
    Ok(collected)
}

impl Collected {
    fn read(&mut self, mut rest: &[u8]) -> Result<(), Error> {
        loop {
            rest = match *rest {
                [] | [code::END, ..] => return Ok(()),
                [code::PAD, ref after @ ..] => after,
                [kind] => return Err(illegal("option without length", kind.into())),
                [kind, len, ref after @ ..] => {
                    let (data, after) = after
                        .split_at_checked(len.into())
                        .ok_or_else(|| illegal("option length", kind.into()))?;
                    self.add(kind, data);
                    after
                }
            };
        }
    }

    fn add(&mut self, kind: u8, data: &[u8]) {
        match self.0.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, joined)) => joined.extend_from_slice(data),
            None => self.0.push((kind, data.to_vec())),
        }
    }

    fn get(&self, kind: u8) -> Option<&[u8]> {
        self.0
            .iter()
            .find(|(known, _)| *known == kind)
            .map(|(_, data)| data.as_slice())
    }

    pub(super) fn message_type(&self) -> Result<MessageType, Error> {
        match self.get(code::MESSAGE_TYPE) {
            Some(&[number]) => {
                MessageType::from_number(number).ok_or_else(|| illegal("message type", number.into()))
            }
            _ => Err(illegal("message type", 0)),
        }
    }

    /// Sets the fields of `repr` that come from options.
    pub(super) fn fill(self, repr: &mut Repr) -> Result<(), Error> {
        for (kind, data) in self.0 {
            match kind {
                code::SUBNET_MASK => repr.subnet_mask = Some(address(kind, &data)?),
                code::BROADCAST => repr.broadcast_address = Some(address(kind, &data)?),
                code::REQUESTED_ADDRESS => repr.requested_address = Some(address(kind, &data)?),
                code::SERVER_ID => repr.server_id = Some(address(kind, &data)?),
                code::ROUTERS => repr.routers = addresses(kind, &data)?,
                code::DNS => repr.dns = addresses(kind, &data)?,
                code::NTP => repr.ntp = addresses(kind, &data)?,
                code::LEASE => repr.lease_s = Some(number(kind, &data)?),
                code::RENEW => repr.renew_s = Some(number(kind, &data)?),
                code::REBIND => repr.rebind_s = Some(number(kind, &data)?),
                code::MTU => repr.mtu = Some(short(kind, &data)?),
                code::MAX_MESSAGE_SIZE => repr.max_message_size = Some(short(kind, &data)?),
                code::HOST_NAME => repr.host_name = text(data),
                code::DOMAIN_NAME => repr.domain_name = text(data),
                code::MESSAGE => repr.message = text(data),
                code::PARAMETER_LIST => repr.parameter_list = data,
                code::CLIENT_ID => repr.client_id = data,
                code::CLASSLESS_ROUTES => repr.classless_routes = routes(&data)?,
                _ => {}
            }
        }
        Ok(())
    }
}

fn array<const N: usize>(kind: u8, data: &[u8]) -> Result<[u8; N], Error> {
    data.try_into().map_err(|_| illegal("option length", kind.into()))
}

fn address(kind: u8, data: &[u8]) -> Result<Ipv4Addr, Error> {
    array::<4>(kind, data).map(Ipv4Addr::from)
}

fn addresses(kind: u8, data: &[u8]) -> Result<Vec<Ipv4Addr>, Error> {
    let (addresses, rest) = data.as_chunks::<4>();
    if addresses.is_empty() || !rest.is_empty() {
        return Err(illegal("option length", kind.into()));
    }
    Ok(addresses.iter().map(|a| Ipv4Addr::from(*a)).collect())
}

fn number(kind: u8, data: &[u8]) -> Result<u32, Error> {
    array(kind, data).map(u32::from_be_bytes)
}

fn short(kind: u8, data: &[u8]) -> Result<u16, Error> {
    array(kind, data).map(u16::from_be_bytes)
}

/// Text, without the zero bytes that some clients end it with. A client must not lose its address over a
/// name in another encoding, so that such a name is none.
fn text(mut data: Vec<u8>) -> Option<String> {
    while data.last() == Some(&0) {
        data.pop();
    }
    String::from_utf8(data).ok().filter(|text| !text.is_empty())
}

fn routes(mut rest: &[u8]) -> Result<Vec<ClasslessRoute>, Error> {
    let mut routes = Vec::new();
    while let [prefix_len, after @ ..] = rest {
        let wrong = illegal("route", (*prefix_len).into());
        let significant = usize::from(*prefix_len).div_ceil(8);
        if *prefix_len > 32 {
            return Err(wrong);
        }
        let (prefix, after) = after.split_at_checked(significant).ok_or(wrong)?;
        let (router, after) = after.split_first_chunk::<4>().ok_or(wrong)?;
        let mut destination = [0; 4];
        destination[..significant].copy_from_slice(prefix);
        routes.push(ClasslessRoute {
            destination: mask(destination.into(), *prefix_len),
            prefix_len: *prefix_len,
            router: (*router).into(),
        });
        rest = after;
    }
    Ok(routes)
}

/// The address with the bits behind the prefix cleared, as receivers must treat it (RFC 3442).
fn mask(address: Ipv4Addr, prefix_len: u8) -> Ipv4Addr {
    let mask = u32::MAX
        .checked_shl(32 - u32::from(prefix_len.min(32)))
        .unwrap_or(0);
    Ipv4Addr::from_bits(address.to_bits() & mask)
}

/// The options of a message as they are on the wire, the message type first.
pub(super) fn write(repr: &Repr) -> Vec<u8> {
    let mut writer = Writer(Vec::with_capacity(128));
    writer.put(code::MESSAGE_TYPE, &[repr.message_type.number()]);
    writer.address(code::SERVER_ID, repr.server_id);
    writer.address(code::REQUESTED_ADDRESS, repr.requested_address);
    writer.number(code::LEASE, repr.lease_s);
    writer.number(code::RENEW, repr.renew_s);
    writer.number(code::REBIND, repr.rebind_s);
    writer.address(code::SUBNET_MASK, repr.subnet_mask);
    writer.address(code::BROADCAST, repr.broadcast_address);
    // RFC 3442: classless routes come before the routers that they replace.
    writer.routes(&repr.classless_routes);
    writer.addresses(code::ROUTERS, &repr.routers);
    writer.addresses(code::DNS, &repr.dns);
    writer.addresses(code::NTP, &repr.ntp);
    writer.short(code::MTU, repr.mtu);
    writer.text(code::DOMAIN_NAME, repr.domain_name.as_deref());
    writer.text(code::HOST_NAME, repr.host_name.as_deref());
    writer.put(code::PARAMETER_LIST, &repr.parameter_list);
    writer.short(code::MAX_MESSAGE_SIZE, repr.max_message_size);
    writer.put(code::CLIENT_ID, &repr.client_id);
    writer.text(code::MESSAGE, repr.message.as_deref());
    writer.0.push(code::END);
    writer.0
}

struct Writer(Vec<u8>);

impl Writer {
    /// Writes an option, in pieces of at most 255 bytes (RFC 3396 §6). Without data it is absent: most
    /// options must have a byte (RFC 2132).
    fn put(&mut self, kind: u8, data: &[u8]) {
        for piece in data.chunks(255) {
            self.0.push(kind);
            self.0.push(u8::try_from(piece.len()).unwrap_or(u8::MAX));
            self.0.extend_from_slice(piece);
        }
    }

    fn text(&mut self, kind: u8, text: Option<&str>) {
        self.put(kind, text.unwrap_or_default().as_bytes());
    }

    fn address(&mut self, kind: u8, address: Option<Ipv4Addr>) {
        if let Some(address) = address {
            self.put(kind, &address.octets());
        }
    }

    fn addresses(&mut self, kind: u8, addresses: &[Ipv4Addr]) {
        let bytes: Vec<u8> = addresses.iter().flat_map(Ipv4Addr::octets).collect();
        self.put(kind, &bytes);
    }

    fn number(&mut self, kind: u8, number: Option<u32>) {
        if let Some(number) = number {
            self.put(kind, &number.to_be_bytes());
        }
    }

    fn short(&mut self, kind: u8, number: Option<u16>) {
        if let Some(number) = number {
            self.put(kind, &number.to_be_bytes());
        }
    }

    fn routes(&mut self, routes: &[ClasslessRoute]) {
        let mut bytes = Vec::new();
        for route in routes {
            let prefix_len = route.prefix_len.min(32);
            let significant = usize::from(prefix_len).div_ceil(8);
            let destination = mask(route.destination, prefix_len).octets();
            bytes.push(prefix_len);
            bytes.extend_from_slice(&destination[..significant]);
            bytes.extend_from_slice(&route.router.octets());
        }
        self.put(code::CLASSLESS_ROUTES, &bytes);
    }
}
