//! DHCP for IPv4.
//!
//! Source: [RFC 2131], [RFC 2132] (options), [RFC 3396] (options longer than 255 bytes), [RFC 3442] (classless
//! routes), [RFC 4702 §3] (which bytes a name may have is the receiver's to judge).
//!
//! Unlike the other representations this one keeps lists and strings: a DHCP message is not on the way of
//! packets, and its lists are bounded by the size of the message.

use std::mem::offset_of;
use std::net::Ipv4Addr;

use zerocopy::byteorder::{BE, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{room, view};
use crate::ethernet::Mac;
use crate::{Error, Layer};

mod options;

pub use options::{ClasslessRoute, code};

/// UDP port of servers.
pub const SERVER_PORT: u16 = 67;

/// UDP port of clients.
pub const CLIENT_PORT: u16 = 68;

/// Smallest message that is sent: BOOTP clients wait for 300 bytes. Source: [RFC 1542 §2.1].
pub const MIN_LEN: usize = 300;

/// A buffer of this size holds every message that fits into one Ethernet frame of 1500 bytes.
pub const MAX_LEN: usize = 1472;

/// The four bytes before the options.
pub const MAGIC_COOKIE: [u8; 4] = [99, 130, 83, 99];

/// Size of the fixed part, the cookie included.
pub const HEADER_LEN: usize = size_of::<Header>();

/// The fixed part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// 1 = from a client, 2 = from a server.
    pub op: u8,
    /// Kind of link: 1 = Ethernet.
    pub hardware_type: u8,
    /// Size of a link address: 6.
    pub hardware_len: u8,
    /// Relays that the message passed.
    pub hops: u8,
    /// Pairs replies with requests.
    pub transaction_id: U32<BE>,
    /// Seconds since the client began.
    pub seconds: U16<BE>,
    /// Bit 15: the client can hear only broadcasts.
    pub flags: U16<BE>,
    /// Address that the client has (`ciaddr`).
    pub client_address: [u8; 4],
    /// Address that the client gets (`yiaddr`).
    pub your_address: [u8; 4],
    /// The next server to ask (`siaddr`).
    pub next_server: [u8; 4],
    /// The relay (`giaddr`).
    pub relay_address: [u8; 4],
    /// Link address of the client, padded (`chaddr`).
    pub client_hardware: [u8; 16],
    /// Name of the server, or options.
    pub server_name: [u8; 64],
    /// Name of a boot file, or options.
    pub boot_file: [u8; 128],
    /// [`MAGIC_COOKIE`].
    pub cookie: [u8; 4],
}

const _: () = {
    assert!(size_of::<Header>() == 240);
    assert!(offset_of!(Header, client_address) == 12);
    assert!(offset_of!(Header, client_hardware) == 28);
    assert!(offset_of!(Header, boot_file) == 108);
    assert!(offset_of!(Header, cookie) == 236);
};

impl Header {
    /// Views the first bytes of a message; the second part is the options.
    pub fn parse(message: &[u8]) -> Result<(&Self, &[u8]), Error> {
        view(Layer::Dhcpv4, message)
    }
}

/// What a message does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// A client looks for servers.
    Discover,
    /// A server offers an address.
    Offer,
    /// A client asks for an address, or to keep it.
    Request,
    /// A client refuses an address that somebody else has.
    Decline,
    /// A server grants.
    Ack,
    /// A server refuses.
    Nak,
    /// A client gives its address back.
    Release,
    /// A client that has an address asks for the rest.
    Inform,
}

impl MessageType {
    const ALL: [Self; 8] = [
        Self::Discover,
        Self::Offer,
        Self::Request,
        Self::Decline,
        Self::Ack,
        Self::Nak,
        Self::Release,
        Self::Inform,
    ];

    /// The type with this number on the wire.
    pub fn from_number(number: u8) -> Option<Self> {
        let index = usize::from(number).checked_sub(1)?;
        Self::ALL.get(index).copied()
    }

    /// The number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::Discover => 1,
            Self::Offer => 2,
            Self::Request => 3,
            Self::Decline => 4,
            Self::Ack => 5,
            Self::Nak => 6,
            Self::Release => 7,
            Self::Inform => 8,
        }
    }

    /// Whether servers send it.
    pub const fn is_reply(self) -> bool {
        matches!(self, Self::Offer | Self::Ack | Self::Nak)
    }
}

/// A message of legal values. Options that it does not name are skipped.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Repr {
    /// What it does.
    pub message_type: MessageType,
    /// Pairs replies with requests.
    pub transaction_id: u32,
    /// Seconds since the client began.
    pub seconds: u16,
    /// The client can hear only broadcasts.
    pub broadcast: bool,
    /// Address that the client has (`ciaddr`).
    pub client_address: Ipv4Addr,
    /// Address that the client gets (`yiaddr`).
    pub your_address: Ipv4Addr,
    /// The next server to ask (`siaddr`).
    pub next_server: Ipv4Addr,
    /// The relay (`giaddr`).
    pub relay_address: Ipv4Addr,
    /// Link address of the client.
    pub client_mac: Mac,
    /// Address that the client would like to have (50).
    pub requested_address: Option<Ipv4Addr>,
    /// The server that sends, or that the client chose (54).
    pub server_id: Option<Ipv4Addr>,
    /// How long the address is the client's (51).
    pub lease_s: Option<u32>,
    /// When to ask the same server again (58).
    pub renew_s: Option<u32>,
    /// When to ask any server again (59).
    pub rebind_s: Option<u32>,
    /// Mask of the subnet (1).
    pub subnet_mask: Option<Ipv4Addr>,
    /// Broadcast address of the subnet (28).
    pub broadcast_address: Option<Ipv4Addr>,
    /// Default routers (3).
    pub routers: Vec<Ipv4Addr>,
    /// DNS servers (6).
    pub dns: Vec<Ipv4Addr>,
    /// NTP servers (42).
    pub ntp: Vec<Ipv4Addr>,
    /// Domain (15).
    pub domain_name: Option<String>,
    /// Name of the client (12).
    pub host_name: Option<String>,
    /// MTU of the link (26).
    pub mtu: Option<u16>,
    /// Routes; with them `routers` is not used by clients that know them (121).
    pub classless_routes: Vec<ClasslessRoute>,
    /// Codes of the options that the client wants (55).
    pub parameter_list: Vec<u8>,
    /// What the client calls itself (61).
    pub client_id: Vec<u8>,
    /// Largest message that the client takes (57).
    pub max_message_size: Option<u16>,
    /// Why a server refuses (56).
    pub message: Option<String>,
}

impl Repr {
    /// A message with nothing but its type, transaction and client.
    pub const fn new(message_type: MessageType, transaction_id: u32, client_mac: Mac) -> Self {
        Self {
            message_type,
            transaction_id,
            seconds: 0,
            broadcast: false,
            client_address: Ipv4Addr::UNSPECIFIED,
            your_address: Ipv4Addr::UNSPECIFIED,
            next_server: Ipv4Addr::UNSPECIFIED,
            relay_address: Ipv4Addr::UNSPECIFIED,
            client_mac,
            requested_address: None,
            server_id: None,
            lease_s: None,
            renew_s: None,
            rebind_s: None,
            subnet_mask: None,
            broadcast_address: None,
            routers: Vec::new(),
            dns: Vec::new(),
            ntp: Vec::new(),
            domain_name: None,
            host_name: None,
            mtu: None,
            classless_routes: Vec::new(),
            parameter_list: Vec::new(),
            client_id: Vec::new(),
            max_message_size: None,
            message: None,
        }
    }

    /// Reads the payload of a UDP datagram.
    pub fn parse(message: &[u8]) -> Result<Self, Error> {
        let (header, options) = Header::parse(message)?;
        expect("htype", header.hardware_type, 1)?;
        expect("hlen", header.hardware_len, 6)?;
        if header.cookie != MAGIC_COOKIE {
            return Err(illegal("magic cookie", u32::from_be_bytes(header.cookie)));
        }
        let options = options::collect(header, options)?;
        let message_type = options.message_type()?;
        expect("op", header.op, if message_type.is_reply() { 2 } else { 1 })?;
        let [a, b, c, d, e, f, ..] = header.client_hardware;
        let mut repr = Self {
            seconds: header.seconds.get(),
            broadcast: header.flags.get() & BROADCAST_FLAG != 0,
            client_address: header.client_address.into(),
            your_address: header.your_address.into(),
            next_server: header.next_server.into(),
            relay_address: header.relay_address.into(),
            ..Self::new(message_type, header.transaction_id.get(), [a, b, c, d, e, f])
        };
        options.fill(&mut repr)?;
        Ok(repr)
    }

    /// Writes the message; returns its size, at least [`MIN_LEN`].
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, Error> {
        let mut client_hardware = [0; 16];
        client_hardware[..6].copy_from_slice(&self.client_mac);
        let header = Header {
            op: if self.message_type.is_reply() { 2 } else { 1 },
            hardware_type: 1,
            hardware_len: 6,
            hops: 0,
            transaction_id: self.transaction_id.into(),
            seconds: self.seconds.into(),
            flags: if self.broadcast { BROADCAST_FLAG } else { 0 }.into(),
            client_address: self.client_address.octets(),
            your_address: self.your_address.octets(),
            next_server: self.next_server.octets(),
            relay_address: self.relay_address.octets(),
            client_hardware,
            server_name: [0; 64],
            boot_file: [0; 128],
            cookie: MAGIC_COOKIE,
        };
        let options = options::write(self);
        let used = HEADER_LEN + options.len();
        let len = used.max(MIN_LEN);
        let out = room(Layer::Dhcpv4, out, len)?;
        out[..HEADER_LEN].copy_from_slice(header.as_bytes());
        out[HEADER_LEN..used].copy_from_slice(&options);
        out[used..].fill(0);
        Ok(len)
    }
}

const BROADCAST_FLAG: u16 = 0x8000;

fn expect(field: &'static str, got: u8, wanted: u8) -> Result<(), Error> {
    if got == wanted {
        Ok(())
    } else {
        Err(illegal(field, got.into()))
    }
}

fn illegal(field: &'static str, got: u32) -> Error {
    Error::Field {
        layer: Layer::Dhcpv4,
        field,
        got,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 1];

    fn bytes(options: &[u8]) -> Vec<u8> {
        let mut out = vec![0; MIN_LEN];
        Repr::new(MessageType::Discover, 7, MAC).emit(&mut out).unwrap();
        out.truncate(HEADER_LEN);
        out.extend(options);
        out
    }

    #[test]
    fn discover_bytes() {
        let mut out = [0xff; MIN_LEN];
        let repr = Repr {
            broadcast: true,
            host_name: Some("a".into()),
            parameter_list: vec![1, 3, 121],
            ..Repr::new(MessageType::Discover, 0x0102_0304, MAC)
        };
        assert_eq!(repr.emit(&mut out), Ok(300));
        assert_eq!(out[..12], [1, 1, 6, 0, 1, 2, 3, 4, 0, 0, 0x80, 0]);
        assert_eq!(out[28..34], MAC);
        assert_eq!(out[236..240], MAGIC_COOKIE);
        assert_eq!(out[240..252], [53, 1, 1, 12, 1, b'a', 55, 3, 1, 3, 121, 255]);
        assert_eq!(Repr::parse(&out), Ok(repr));
    }

    #[test]
    fn routes_are_compressed() {
        let repr = Repr {
            classless_routes: vec![
                ClasslessRoute {
                    destination: Ipv4Addr::UNSPECIFIED,
                    prefix_len: 0,
                    router: Ipv4Addr::new(10, 0, 0, 1),
                },
                ClasslessRoute {
                    destination: Ipv4Addr::new(10, 128, 0, 0),
                    prefix_len: 9,
                    router: Ipv4Addr::new(10, 0, 0, 1),
                },
            ],
            ..Repr::new(MessageType::Ack, 1, MAC)
        };
        let mut out = [0; MIN_LEN];
        repr.emit(&mut out).unwrap();
        assert_eq!(out[243..257], [121, 12, 0, 10, 0, 0, 1, 9, 10, 128, 10, 0, 0, 1]);
        assert_eq!(Repr::parse(&out), Ok(repr));
    }

    #[test]
    fn long_options_are_split_and_joined() {
        let repr = Repr {
            domain_name: Some("x".repeat(300)),
            ..Repr::new(MessageType::Ack, 1, MAC)
        };
        let mut out = [0; 1024];
        let len = repr.emit(&mut out).unwrap();
        assert_eq!(out[243..245], [15, 255]);
        assert_eq!(out[500..502], [15, 45]);
        assert_eq!(Repr::parse(&out[..len]), Ok(repr));
    }

    #[test]
    fn overloaded_fields_are_read() {
        let mut message = bytes(&[53, 1, 1, 52, 1, 3, 255]);
        message[108..115].copy_from_slice(&[12, 2, b'a', b'b', 255, 0, 0]);
        message[44..51].copy_from_slice(&[50, 4, 10, 0, 0, 9, 255]);
        let repr = Repr::parse(&message).unwrap();
        assert_eq!(repr.host_name.as_deref(), Some("ab"));
        assert_eq!(repr.requested_address, Some(Ipv4Addr::new(10, 0, 0, 9)));
    }

    #[test]
    fn illegal_messages_are_refused() {
        for (options, field) in [
            (&[255][..], "message type"),
            (&[53, 1, 9, 255], "message type"),
            (&[53, 2, 1, 1, 255], "message type"),
            (&[53, 1, 2, 255], "op"),
            (&[53, 1, 1, 50, 3, 0, 0, 0], "option length"),
            (&[53, 1, 1, 50, 9, 0], "option length"),
            (&[53, 1, 1, 50], "option without length"),
            (&[53, 1, 1, 121, 1, 33], "route"),
            (&[53, 1, 1, 121, 3, 32, 1, 2], "route"),
            (&[53, 1, 1, 3, 6, 1, 2, 3, 4, 5, 6], "option length"),
        ] {
            let error = Repr::parse(&bytes(options)).unwrap_err();
            assert!(
                matches!(error, Error::Field { field: f, .. } if f == field),
                "{options:?}: {error}"
            );
        }
        let mut message = bytes(&[53, 1, 1]);
        message[236] = 0;
        assert!(Repr::parse(&message).is_err());
        assert!(Repr::parse(&message[..239]).is_err());
    }
}
