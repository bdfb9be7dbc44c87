//! Why bytes are not a packet, or a packet does not fit into bytes.

use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// The format that an [`Error`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Layer {
    /// Ethernet II.
    Ethernet,
    /// An IEEE 802.1Q tag.
    Vlan,
    /// ARP.
    Arp,
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// An IPv6 extension header.
    Ipv6Extension,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP for IPv4.
    Icmpv4,
    /// ICMP for IPv6.
    Icmpv6,
    /// Neighbor Discovery.
    Ndp,
    /// DHCP for IPv4.
    Dhcpv4,
    /// NTP.
    Ntp,
}

/// Why bytes are not a legal packet, or a packet does not fit into a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The packet ends before the header does.
    #[error("{layer:?} needs {needed} bytes, the packet has {got}")]
    Truncated {
        /// The header that is cut.
        layer: Layer,
        /// Bytes that it needs.
        needed: usize,
        /// Bytes that are left of the packet.
        got: usize,
    },
    /// The packet is long enough, but the header lies beyond the bytes that the caller can see.
    #[error("{layer:?} header lies beyond the window of {window} bytes")]
    BeyondWindow {
        /// The header that is out of sight.
        layer: Layer,
        /// The size of the window.
        window: usize,
    },
    /// A version field has another version.
    #[error("{layer:?} header says version {got}")]
    Version {
        /// The header.
        layer: Layer,
        /// The version that it says.
        got: u8,
    },
    /// A length field contradicts the format or the bytes that are there.
    #[error("{layer:?} length field says {got} bytes, which cannot be")]
    Length {
        /// The header.
        layer: Layer,
        /// The length that it says.
        got: usize,
    },
    /// The checksum is wrong.
    #[error("{layer:?} checksum is wrong")]
    Checksum {
        /// The header that it protects.
        layer: Layer,
    },
    /// A field has a value that the format forbids or that this crate does not represent.
    #[error("{layer:?} field {field} has the illegal value {got}")]
    Field {
        /// The header.
        layer: Layer,
        /// The field's name in the format's specification.
        field: &'static str,
        /// Its value.
        got: u32,
    },
    /// A first fragment that hides the ports or flags in the next one (RFC 1858), or a later one that would
    /// overwrite them (RFC 3128).
    #[error("{layer:?} header is split over fragments")]
    TinyFragment {
        /// The transport header that is split.
        layer: Layer,
    },
    /// More IPv6 extension headers than [`crate::ipv6::MAX_EXTENSIONS`].
    #[error("More than {max} IPv6 extension headers")]
    TooManyExtensions {
        /// The limit.
        max: usize,
    },
    /// The caller's buffer cannot hold the packet.
    #[error("{layer:?} needs a buffer of {needed} bytes, got {got}")]
    NoSpace {
        /// The format that was to be written.
        layer: Layer,
        /// Bytes that it needs.
        needed: usize,
        /// Bytes that the buffer has.
        got: usize,
    },
}

impl Error {
    /// The format that the error is about.
    pub const fn layer(self) -> Layer {
        match self {
            Self::Truncated { layer, .. }
            | Self::BeyondWindow { layer, .. }
            | Self::Version { layer, .. }
            | Self::Length { layer, .. }
            | Self::Checksum { layer }
            | Self::Field { layer, .. }
            | Self::TinyFragment { layer }
            | Self::NoSpace { layer, .. } => layer,
            Self::TooManyExtensions { .. } => Layer::Ipv6Extension,
        }
    }
}

/// Views the first bytes as a header; the second part is what follows it.
#[inline]
pub(crate) fn view<T>(layer: Layer, bytes: &[u8]) -> Result<(&T, &[u8]), Error>
where
    T: FromBytes + Immutable + KnownLayout + Unaligned,
{
    T::ref_from_prefix(bytes).map_err(|_| Error::Truncated {
        layer,
        needed: size_of::<T>(),
        got: bytes.len(),
    })
}

/// The first `needed` bytes of a buffer that a packet is written to.
#[inline]
pub(crate) fn room(layer: Layer, out: &mut [u8], needed: usize) -> Result<&mut [u8], Error> {
    let got = out.len();
    out.get_mut(..needed).ok_or(Error::NoSpace { layer, needed, got })
}

/// A length as a 16-bit field, refused when it does not fit.
#[inline]
pub(crate) fn length16(layer: Layer, length: usize) -> Result<u16, Error> {
    u16::try_from(length).map_err(|_| Error::Length { layer, got: length })
}
