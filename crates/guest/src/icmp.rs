//! Echo requests and replies, as IP packets.

use std::net::IpAddr;

use trinic_wire::packet::Ip;
use trinic_wire::{Error, Layer, Protocol, icmpv4, icmpv6, ipv4, ipv6};

/// TTL or hop limit of what a guest sends, as Linux has it.
pub(crate) const DEFAULT_TTL: u8 = 64;

/// The numbers and data of an echo message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Echo<'a> {
    pub(crate) identifier: u16,
    pub(crate) sequence: u16,
    pub(crate) data: &'a [u8],
}

/// An echo message that came in.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Message<'a> {
    Request(Echo<'a>),
    Reply(Echo<'a>),
    Other,
}

/// Reads the ICMP message of a packet; `None` if it is malformed.
pub(crate) fn parse<'a>(ip: &Ip, message: &'a [u8]) -> Option<Message<'a>> {
    let message = match (ip.tuple.source, ip.tuple.destination) {
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            match icmpv6::Repr::parse(message, source, destination) {
                Ok(icmpv6::Repr::EchoRequest {
                    identifier,
                    sequence,
                    data,
                }) => Message::Request(Echo {
                    identifier,
                    sequence,
                    data,
                }),
                Ok(icmpv6::Repr::EchoReply {
                    identifier,
                    sequence,
                    data,
                }) => Message::Reply(Echo {
                    identifier,
                    sequence,
                    data,
                }),
                Ok(_) => Message::Other,
                Err(_) => return None,
            }
        }
        _ => match icmpv4::Repr::parse(message) {
            Ok(icmpv4::Repr::EchoRequest {
                identifier,
                sequence,
                data,
            }) => Message::Request(Echo {
                identifier,
                sequence,
                data,
            }),
            Ok(icmpv4::Repr::EchoReply {
                identifier,
                sequence,
                data,
            }) => Message::Reply(Echo {
                identifier,
                sequence,
                data,
            }),
            Ok(_) => Message::Other,
            Err(_) => return None,
        },
    };
    Some(message)
}

/// An IP packet with an echo request or reply.
pub(crate) fn packet(
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    echo: Echo<'_>,
    reply: bool,
) -> Result<Vec<u8>, Error> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let Echo {
                identifier,
                sequence,
                data,
            } = echo;
            let message = if reply {
                icmpv4::Repr::EchoReply {
                    identifier,
                    sequence,
                    data,
                }
            } else {
                icmpv4::Repr::EchoRequest {
                    identifier,
                    sequence,
                    data,
                }
            };
            let header = ipv4::Repr {
                ttl,
                ..ipv4::Repr::new(source, destination, Protocol::ICMPV4, message.buffer_len())
            };
            let mut out = vec![0; header.header_len() + message.buffer_len()];
            let start = header.emit(&mut out)?;
            message.emit(&mut out[start..])?;
            Ok(out)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let Echo {
                identifier,
                sequence,
                data,
            } = echo;
            let message = if reply {
                icmpv6::Repr::EchoReply {
                    identifier,
                    sequence,
                    data,
                }
            } else {
                icmpv6::Repr::EchoRequest {
                    identifier,
                    sequence,
                    data,
                }
            };
            let header = ipv6::Repr {
                hop_limit: ttl,
                ..ipv6::Repr::new(source, destination, Protocol::ICMPV6, message.buffer_len())
            };
            let mut out = vec![0; header.header_len() + message.buffer_len()];
            let start = header.emit(&mut out)?;
            message.emit(&mut out[start..], source, destination)?;
            Ok(out)
        }
        _ => Err(Error::Field {
            layer: Layer::Ipv4,
            field: "address family",
            got: 6,
        }),
    }
}
