//! The resolver: names of the VPC, and forwarding of all others.
//!
//! [`answer`] takes one message and says what becomes of it. A question about the VPC's own names is
//! answered from its [`Zone`]; another one becomes a [`Client`], who waits for the upstream resolver,
//! or is refused where there is none. What is no question is never answered, so that two servers cannot
//! talk to each other for ever, and no answer is larger than the asker said it could take.
//!
//! Source: [RFC 1035], [RFC 6891] (EDNS), [RFC 2308] (negative answers), [RFC 8482] (ANY),
//! [AWS doc docs.aws.amazon.com/vpc/latest/userguide/AmazonDNS-concepts.html].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::refusal::Refusal;
use crate::zone::{Forward, Reverse, Zone};

/// UDP and TCP port of the resolver.
pub const PORT: u16 = 53;

/// The largest query that is read.
pub const QUERY_MAX_BYTES: usize = 4096;

/// The largest answer over UDP, whatever the asker says that it can take.
pub const UDP_ANSWER_MAX_BYTES: u16 = 4096;

/// The largest message over TCP, where its length has 16 bits.
const TCP_MAX_BYTES: usize = 65_535;

/// The least that everybody can take over UDP.
const UDP_LEAST_BYTES: u16 = 512;

/// Lifetime of the VPC's own names, in seconds. [assumed A-18]
const TTL_S: u32 = 60;

const HEADER_BYTES: usize = 12;

/// How a message came, and so how long an answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// UDP.
    Udp {
        /// Room for a message in one packet.
        room_bytes: usize,
    },
    /// TCP.
    Tcp,
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is sent.
    Silent(Refusal),
    /// An answer, and what it refused if it did.
    Answer(Vec<u8>, Option<Refusal>),
    /// The upstream resolver must say.
    Ask(Box<Client>),
}

/// Somebody who waits for the upstream resolver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    request: Request,
}

/// What an answer must repeat of its query.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Request {
    id: u16,
    recursion_desired: bool,
    checking_disabled: bool,
    question: Query,
    /// Whether EDNS was spoken, and whether DNSSEC records were asked for.
    edns: Option<bool>,
    limit_bytes: usize,
}

/// Decides about one message of an instance. `forwards` says whether there is an upstream resolver.
pub fn answer(message: &[u8], transport: Transport, zone: &dyn Zone, forwards: bool) -> Outcome {
    let request = match read(message, transport) {
        Ok(request) => request,
        Err(outcome) => return outcome,
    };
    if request.question.query_class() != DNSClass::IN {
        return request.refuse(ResponseCode::Refused, Refusal::DnsUnsupported);
    }
    let name = request.question.name().to_lowercase().to_ascii();
    let name = name.trim_end_matches('.');
    let answered = match reverse_address(name) {
        Some(address) => request.answer_reverse(address, zone.reverse(address)),
        None => request.answer_forward(zone.forward(name)),
    };
    match answered {
        Some(outcome) => outcome,
        None if forwards => Outcome::Ask(Box::new(Client { request })),
        None => request.refuse(ResponseCode::Refused, Refusal::DnsRefused),
    }
}

/// Reads a query, or says what else the message is answered with.
fn read(message: &[u8], transport: Transport) -> Result<Request, Outcome> {
    let malformed = Outcome::Silent(Refusal::DnsMalformed);
    let Some(header) = message.first_chunk::<HEADER_BYTES>() else {
        return Err(malformed);
    };
    if message.len() > QUERY_MAX_BYTES || header[2] & 0x80 != 0 {
        return Err(malformed);
    }
    let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let opcode = (header[2] >> 3) & 0xf;
    if opcode != 0 {
        return Err(bare(header, ResponseCode::NotImp, Refusal::DnsUnsupported));
    }
    // The counts are looked at before anything is allocated by them.
    if count(4) != 1 || count(6) != 0 || count(8) != 0 || count(10) > 4 {
        return Err(bare(header, ResponseCode::FormErr, Refusal::DnsUnsupported));
    }
    let Ok(mut message) = Message::from_vec(message) else {
        return Err(bare(header, ResponseCode::FormErr, Refusal::DnsMalformed));
    };
    let Some(question) = message.queries.pop() else {
        return Err(malformed);
    };
    let limit = message.max_payload().clamp(UDP_LEAST_BYTES, UDP_ANSWER_MAX_BYTES);
    let request = Request {
        id: message.metadata.id,
        recursion_desired: message.metadata.recursion_desired,
        checking_disabled: message.metadata.checking_disabled,
        question,
        edns: message.edns.as_ref().map(|edns| edns.flags().dnssec_ok),
        limit_bytes: match transport {
            Transport::Udp { room_bytes } => room_bytes.min(limit.into()),
            Transport::Tcp => TCP_MAX_BYTES,
        },
    };
    if message.edns.is_some_and(|edns| edns.version() != 0) {
        return Err(request.refuse(ResponseCode::BADVERS, Refusal::DnsUnsupported));
    }
    Ok(request)
}

/// An answer of a header alone: to what cannot be read, nothing can be repeated.
fn bare(header: &[u8; HEADER_BYTES], code: ResponseCode, why: Refusal) -> Outcome {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes[..2].copy_from_slice(&header[..2]);
    // Response, the opcode and the wish for recursion as they came.
    bytes[2] = 0x80 | header[2] & 0x79;
    bytes[3] = 0x80 | code.low();
    Outcome::Answer(bytes, Some(why))
}

impl Request {
    /// The beginning of an answer.
    fn response(&self, code: ResponseCode) -> Message {
        let mut message = Message::response(self.id, OpCode::Query);
        message.metadata.recursion_desired = self.recursion_desired;
        message.metadata.checking_disabled = self.checking_disabled;
        message.metadata.recursion_available = true;
        message.metadata.response_code = code;
        message.add_query(self.question.clone());
        if let Some(dnssec_ok) = self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_ANSWER_MAX_BYTES)
                .set_version(0)
                .set_dnssec_ok(dnssec_ok);
            message.set_edns(edns);
        }
        message
    }

    fn refuse(&self, code: ResponseCode, why: Refusal) -> Outcome {
        self.finish(self.response(code), Some(why))
    }

    /// Encodes an answer; one that is too long is sent without its records and says so.
    fn finish(&self, message: Message, why: Option<Refusal>) -> Outcome {
        let Ok(bytes) = message.to_vec() else {
            return Outcome::Silent(Refusal::DnsMalformed);
        };
        if bytes.len() <= self.limit_bytes {
            return Outcome::Answer(bytes, why);
        }
        let mut short = self.response(message.metadata.response_code);
        short.metadata.truncation = true;
        match short.to_vec() {
            Ok(bytes) => Outcome::Answer(bytes, Some(Refusal::DnsTruncated)),
            Err(_) => Outcome::Silent(Refusal::DnsMalformed),
        }
    }

    fn asks_for(&self, record: RecordType) -> bool {
        let asked = self.question.query_type();
        asked == record || asked == RecordType::ANY
    }

    fn answer_forward(&self, forward: Forward) -> Option<Outcome> {
        let (zone, addresses) = match forward {
            Forward::Outside => return None,
            Forward::NoSuchName { zone } => {
                return Some(self.negative(ResponseCode::NXDomain, &zone));
            }
            Forward::Addresses { zone, addresses } => (zone, addresses),
        };
        let records: Vec<RData> = addresses
            .iter()
            .filter_map(|address| match address {
                IpAddr::V4(v4) if self.asks_for(RecordType::A) => Some(RData::A(A(*v4))),
                IpAddr::V6(v6) if self.asks_for(RecordType::AAAA) => Some(RData::AAAA(AAAA(*v6))),
                _ => None,
            })
            .collect();
        Some(self.positive(records, &zone))
    }

    fn answer_reverse(&self, address: IpAddr, reverse: Reverse) -> Option<Outcome> {
        let zone = match address {
            IpAddr::V4(_) => "in-addr.arpa",
            IpAddr::V6(_) => "ip6.arpa",
        };
        match reverse {
            Reverse::Outside => None,
            Reverse::NoSuchName => Some(self.negative(ResponseCode::NXDomain, zone)),
            Reverse::Name(name) => {
                let name = Name::from_ascii(format!("{name}.")).ok()?;
                let records = if self.asks_for(RecordType::PTR) {
                    vec![RData::PTR(PTR(name))]
                } else {
                    Vec::new()
                };
                Some(self.positive(records, zone))
            }
        }
    }

    /// The records of an existing name; none is an answer too ("no data").
    fn positive(&self, records: Vec<RData>, zone: &str) -> Outcome {
        if records.is_empty() {
            return self.negative(ResponseCode::NoError, zone);
        }
        let mut message = self.response(ResponseCode::NoError);
        for data in records {
            message.add_answer(Record::from_rdata(self.question.name().clone(), TTL_S, data));
        }
        self.finish(message, None)
    }

    /// No records: the SOA says for how long that may be remembered. [assumed A-19]
    fn negative(&self, code: ResponseCode, zone: &str) -> Outcome {
        let mut message = self.response(code);
        let name = |text: &str| Name::from_ascii(text);
        let (Ok(origin), Ok(server), Ok(contact)) = (
            name(&format!("{zone}.")),
            name(&format!("ns0.{zone}.")),
            name("hostmaster.amazon.com."),
        ) else {
            return Outcome::Silent(Refusal::DnsMalformed);
        };
        let soa = SOA::new(server, contact, 1, 3600, 3600, 3600, TTL_S);
        message.add_authority(Record::from_rdata(origin, TTL_S, RData::SOA(soa)));
        self.finish(message, None)
    }
}

impl Client {
    /// The query for the upstream resolver, under an id of our own.
    pub fn query(&self, id: u16) -> Option<Vec<u8>> {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.metadata.checking_disabled = self.request.checking_disabled;
        message.add_query(self.request.question.clone());
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_ANSWER_MAX_BYTES)
            .set_version(0)
            .set_dnssec_ok(self.request.edns.unwrap_or(false));
        message.set_edns(edns);
        message.to_vec().ok()
    }

    /// What to send for the upstream resolver's answer; `None` when that is no answer to this query.
    pub fn answer(&self, id: u16, bytes: &[u8]) -> Option<Outcome> {
        let header = bytes.first_chunk::<HEADER_BYTES>()?;
        let is_ours = header[..2] == id.to_be_bytes() && header[2] & 0x80 != 0 && header[4..6] == [0, 1];
        if !is_ours || bytes.len() > TCP_MAX_BYTES {
            return None;
        }
        let upstream = Message::from_vec(bytes).ok()?;
        if upstream.queries != [self.request.question.clone()] {
            return None;
        }
        let mut message = self.request.response(upstream.metadata.response_code);
        message.metadata.truncation = upstream.metadata.truncation;
        message.answers = upstream.answers;
        message.authorities = upstream.authorities;
        message.additionals = upstream.additionals;
        Some(self.request.finish(message, None))
    }

    /// What to send when no answer came.
    pub fn failure(&self, why: Refusal) -> Outcome {
        self.request.refuse(ResponseCode::ServFail, why)
    }
}

/// The address that a name of the reverse zones is about. `None` for other names, and for those that
/// are about no single address.
fn reverse_address(name: &str) -> Option<IpAddr> {
    if let Some(labels) = name.strip_suffix(".in-addr.arpa") {
        let dotted: Vec<&str> = labels.rsplit('.').collect();
        // The standard library's parser refuses leading zeros and signs.
        return dotted.join(".").parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    }
    let labels = name.strip_suffix(".ip6.arpa")?;
    let mut bits = 0_u128;
    let mut count = 0;
    for label in labels.rsplit('.') {
        let [digit] = label.as_bytes() else {
            return None;
        };
        let nibble = char::from(*digit).to_digit(16)?;
        bits = bits << 4 | u128::from(nibble);
        count += 1;
        if count > 32 {
            return None;
        }
    }
    (count == 32).then(|| Ipv6Addr::from(bits).into())
}

#[cfg(test)]
mod tests;
