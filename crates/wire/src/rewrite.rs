//! Edits of a packet in place: MAC addresses, TTL, addresses, with the checksums that depend on them.
//!
//! Every function takes the window that [`Parsed`] was made from and keeps both in step. Checksums are updated
//! from the difference (RFC 1624), so that the payload is not touched.

use std::net::IpAddr;

use crate::checksum::{never_zero, update, update_bytes, update_partial_bytes};
use crate::ethernet::Mac;
use crate::packet::{Network, Parsed, Transport};
use crate::{Error, Layer, Protocol, icmpv6, ipv4, ipv6, tcp, udp};

/// Which of a packet's two addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The sender's.
    Source,
    /// The receiver's.
    Destination,
}

/// What the checksum field of the transport header holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransportChecksum {
    /// The checksum.
    Complete,
    /// The sum of the pseudo header: the device that sends the packet completes it.
    Partial,
}

/// Sets both MAC addresses.
#[inline]
pub fn macs(window: &mut [u8], parsed: &mut Parsed, destination: Mac, source: Mac) -> Result<(), Error> {
    put(window, Layer::Ethernet, 0, &destination)?;
    put(window, Layer::Ethernet, 6, &source)?;
    parsed.ethernet.destination = destination;
    parsed.ethernet.source = source;
    Ok(())
}

/// Counts a hop. A TTL of zero stays; the caller has answered a packet whose TTL ran out before.
#[inline]
pub fn decrement_ttl(window: &mut [u8], parsed: &mut Parsed) -> Result<(), Error> {
    let start = parsed.network_offset;
    let Network::Ip(ip) = &mut parsed.network else {
        return Ok(());
    };
    let ttl = ip.ttl.saturating_sub(1);
    if ip.tuple.source.is_ipv6() {
        put(window, Layer::Ipv6, start + ipv6::HOP_LIMIT_OFFSET, &[ttl])?;
    } else {
        let protocol = ip.tuple.protocol.0;
        let field = start + ipv4::CHECKSUM_OFFSET;
        let checksum = update(
            word(window, Layer::Ipv4, field)?,
            u16::from_be_bytes([ip.ttl, protocol]),
            u16::from_be_bytes([ttl, protocol]),
        );
        put(window, Layer::Ipv4, start + ipv4::TTL_OFFSET, &[ttl])?;
        put(window, Layer::Ipv4, field, &checksum.to_be_bytes())?;
    }
    ip.ttl = ttl;
    Ok(())
}

/// Replaces an address of the packet by another of the same family, and updates the header's and the
/// transport's checksum.
pub fn address(
    window: &mut [u8],
    parsed: &mut Parsed,
    side: Side,
    new: IpAddr,
    transport: TransportChecksum,
) -> Result<(), Error> {
    let start = parsed.network_offset;
    let Network::Ip(ip) = &mut parsed.network else {
        return Ok(());
    };
    same_family(ip.tuple.source, new)?;
    let change = Change::write(window, start, side, new)?;
    let field = checksum_field(ip.tuple.protocol, ip.tuple.source.is_ipv6())
        .filter(|_| ip.transport != Transport::Absent);
    if let Some((layer, offset)) = field {
        change.update(window, layer, ip.transport_offset + offset, transport)?;
    }
    match side {
        Side::Source => ip.tuple.source = new,
        Side::Destination => ip.tuple.destination = new,
    }
    Ok(())
}

/// Replaces an address of the packet that an ICMP error quotes. The error's own checksum covers the quote and
/// follows. Does nothing for other packets.
pub fn inner_address(
    window: &mut [u8],
    parsed: &mut Parsed,
    side: Side,
    new: IpAddr,
    transport: TransportChecksum,
) -> Result<(), Error> {
    let Network::Ip(ip) = &mut parsed.network else {
        return Ok(());
    };
    same_family(ip.tuple.source, new)?;
    let v6 = new.is_ipv6();
    let end = parsed.network_offset + ip.total_len;
    let outer_field = ip.transport_offset + icmpv6::CHECKSUM_OFFSET;
    let Transport::Icmp(icmp) = &mut ip.transport else {
        return Ok(());
    };
    let Some(inner) = &mut icmp.inner else {
        return Ok(());
    };
    let layer = if v6 { Layer::Icmpv6 } else { Layer::Icmpv4 };
    let mut outer = word(window, layer, outer_field)?;
    let header_field = inner.network_offset + ipv4::CHECKSUM_OFFSET;
    let header_before = word(window, Layer::Ipv4, header_field)?;
    let change = Change::write(window, inner.network_offset, side, new)?;
    outer = change.apply(outer);
    if !v6 {
        outer = update(outer, header_before, word(window, Layer::Ipv4, header_field)?);
    }
    // The quote may be cut before the checksum, which is nothing to update then.
    let field = checksum_field(inner.tuple.protocol, v6)
        .map(|(layer, offset)| (layer, inner.transport_offset + offset))
        .filter(|(_, offset)| inner.has_ports && offset + 2 <= end.min(window.len()));
    if let Some((layer, offset)) = field {
        let before = word(window, layer, offset)?;
        change.update(window, layer, offset, TransportChecksum::Complete)?;
        outer = update(outer, before, word(window, layer, offset)?);
    }
    // With an offloaded checksum the device sums the quote up as it is then.
    if transport == TransportChecksum::Complete {
        put(window, layer, outer_field, &outer.to_be_bytes())?;
    }
    match side {
        Side::Source => inner.tuple.source = new,
        Side::Destination => inner.tuple.destination = new,
    }
    Ok(())
}

/// An address that was replaced, for the checksums that cover it.
struct Change {
    old: IpAddr,
    new: IpAddr,
}

impl Change {
    /// Replaces the address in the IP header at `start`, and updates that header's checksum.
    fn write(window: &mut [u8], start: usize, side: Side, new: IpAddr) -> Result<Self, Error> {
        match new {
            IpAddr::V4(address) => {
                let offset = start
                    + match side {
                        Side::Source => ipv4::SOURCE_OFFSET,
                        Side::Destination => ipv4::DESTINATION_OFFSET,
                    };
                let old = bytes::<4>(window, Layer::Ipv4, offset)?;
                let change = Self { old: old.into(), new };
                let field = start + ipv4::CHECKSUM_OFFSET;
                let checksum = change.apply(word(window, Layer::Ipv4, field)?);
                put(window, Layer::Ipv4, field, &checksum.to_be_bytes())?;
                put(window, Layer::Ipv4, offset, &address.octets())?;
                Ok(change)
            }
            IpAddr::V6(address) => {
                let offset = start
                    + match side {
                        Side::Source => ipv6::SOURCE_OFFSET,
                        Side::Destination => ipv6::DESTINATION_OFFSET,
                    };
                let old = bytes::<16>(window, Layer::Ipv6, offset)?;
                put(window, Layer::Ipv6, offset, &address.octets())?;
                Ok(Self { old: old.into(), new })
            }
        }
    }

    /// A checksum that covers the address, after the change.
    fn apply(&self, checksum: u16) -> u16 {
        match (self.old, self.new) {
            (IpAddr::V4(old), IpAddr::V4(new)) => update_bytes(checksum, &old.octets(), &new.octets()),
            (IpAddr::V6(old), IpAddr::V6(new)) => update_bytes(checksum, &old.octets(), &new.octets()),
            _ => checksum,
        }
    }

    fn apply_partial(&self, sum: u16) -> u16 {
        match (self.old, self.new) {
            (IpAddr::V4(old), IpAddr::V4(new)) => update_partial_bytes(sum, &old.octets(), &new.octets()),
            (IpAddr::V6(old), IpAddr::V6(new)) => update_partial_bytes(sum, &old.octets(), &new.octets()),
            _ => sum,
        }
    }

    /// Updates a transport checksum field whose pseudo header has the address.
    fn update(
        &self,
        window: &mut [u8],
        layer: Layer,
        offset: usize,
        transport: TransportChecksum,
    ) -> Result<(), Error> {
        let before = word(window, layer, offset)?;
        let after = match (transport, layer) {
            (TransportChecksum::Partial, _) => self.apply_partial(before),
            // No checksum (IPv4).
            (TransportChecksum::Complete, Layer::Udp) if before == 0 => 0,
            (TransportChecksum::Complete, Layer::Udp) => never_zero(self.apply(before)),
            (TransportChecksum::Complete, _) => self.apply(before),
        };
        put(window, layer, offset, &after.to_be_bytes())
    }
}

/// An address of the other family would be written over half of a header.
fn same_family(old: IpAddr, new: IpAddr) -> Result<(), Error> {
    if old.is_ipv4() == new.is_ipv4() {
        return Ok(());
    }
    let (layer, got) = if old.is_ipv4() {
        (Layer::Ipv4, 6)
    } else {
        (Layer::Ipv6, 4)
    };
    Err(Error::Field {
        layer,
        field: "address family",
        got,
    })
}

/// Where the checksum with a pseudo header is in the transport header, if it has one.
const fn checksum_field(protocol: Protocol, v6: bool) -> Option<(Layer, usize)> {
    match protocol {
        Protocol::TCP => Some((Layer::Tcp, tcp::CHECKSUM_OFFSET)),
        Protocol::UDP => Some((Layer::Udp, udp::CHECKSUM_OFFSET)),
        Protocol::ICMPV6 if v6 => Some((Layer::Icmpv6, icmpv6::CHECKSUM_OFFSET)),
        _ => None,
    }
}

#[inline]
fn put(window: &mut [u8], layer: Layer, offset: usize, bytes: &[u8]) -> Result<(), Error> {
    let size = window.len();
    window
        .get_mut(offset..offset + bytes.len())
        .ok_or(Error::BeyondWindow { layer, window: size })?
        .copy_from_slice(bytes);
    Ok(())
}

#[inline]
fn bytes<const N: usize>(window: &[u8], layer: Layer, offset: usize) -> Result<[u8; N], Error> {
    window
        .get(offset..)
        .and_then(<[u8]>::first_chunk)
        .copied()
        .ok_or(Error::BeyondWindow {
            layer,
            window: window.len(),
        })
}

#[inline]
fn word(window: &[u8], layer: Layer, offset: usize) -> Result<u16, Error> {
    bytes(window, layer, offset).map(u16::from_be_bytes)
}
