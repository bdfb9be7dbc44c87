use dhcproto::v6::{DhcpOption, DhcpOptions, IAAddr, IANA, Message, MessageType, OptionCode, Status as Code};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};

use super::*;
use crate::zone::VpcZone;

const FIRST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0x100, 0, 0, 0, 5);
const SECOND: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0x100, 0, 0, 0, 6);
const OTHER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0x100, 0, 0, 0, 9);
const CLIENT: [u8; 10] = [0, 3, 0, 1, 2, 0, 0, 0, 0, 5];
const SERVER: [u8; 10] = [0, 3, 0, 1, 2, 0, 0, 0, 0, 1];

/// Asks with a message that another implementation encoded, and decodes with it.
fn ask(own: &[Ipv6Addr], kind: MessageType, options: Vec<DhcpOption>) -> Result<Message, Refusal> {
    let mut message = Message::new_with_id(kind, [1, 2, 3]);
    for option in options {
        message.opts_mut().insert(option);
    }
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).unwrap();
    let reply = answer_bytes(own, &bytes)?;
    let message = Message::decode(&mut Decoder::new(&reply)).unwrap();
    assert_eq!(message.xid(), [1, 2, 3]);
    Ok(message)
}

fn answer_bytes(own: &[Ipv6Addr], bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    let context = InterfaceContext {
        id: "eni-1",
        mac: [2, 0, 0, 0, 0, 5],
        router_mac: [2, 0, 0, 0, 0, 1],
        mtu: 9001,
        ipv4: &[],
        ipv4_prefix_len: 24,
        ipv4_router: None,
        ipv6: own,
        dns: &[],
        hostname: "ip-10-0-0-5",
        domain: "ec2.internal",
        metadata: None,
        zone: &VpcZone::default(),
        dns_support: true,
    };
    answer(&context, bytes)
}

fn client() -> DhcpOption {
    DhcpOption::ClientId(CLIENT.to_vec())
}

fn server() -> DhcpOption {
    DhcpOption::ServerId(SERVER.to_vec())
}

fn association(addresses: &[Ipv6Addr]) -> DhcpOption {
    let addresses = addresses.iter().map(|addr| {
        DhcpOption::IAAddr(IAAddr {
            addr: *addr,
            preferred_life: 0,
            valid_life: 0,
            opts: DhcpOptions::default(),
        })
    });
    DhcpOption::IANA(IANA {
        id: 7,
        t1: 0,
        t2: 0,
        opts: addresses.collect(),
    })
}

/// The addresses of the reply's association, with their lifetimes.
fn given(message: &Message) -> Vec<(Ipv6Addr, u32, u32)> {
    let Some(DhcpOption::IANA(association)) = message.opts().get(OptionCode::IANA) else {
        panic!("no association");
    };
    assert_eq!((association.id, association.t1, association.t2), (7, 70, 112));
    let addresses = association.opts.get_all(OptionCode::IAAddr).unwrap_or(&[]);
    addresses
        .iter()
        .map(|option| match option {
            DhcpOption::IAAddr(a) => (a.addr, a.preferred_life, a.valid_life),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_solicitation_and_its_answer_byte_by_byte() {
    let solicit = [
        1, 1, 2, 3, 0, 1, 0, 4, 0, 3, 0, 1, 0, 3, 0, 12, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let mut want = vec![2, 1, 2, 3, 0, 2, 0, 10];
    want.extend(SERVER);
    want.extend([0, 1, 0, 4, 0, 3, 0, 1]);
    want.extend([0, 3, 0, 40, 0, 0, 0, 7, 0, 0, 0, 70, 0, 0, 0, 112, 0, 5, 0, 24]);
    want.extend(FIRST.octets());
    want.extend([0, 0, 0, 140, 0, 0, 1, 194]);
    assert_eq!(answer_bytes(&[FIRST], &solicit), Ok(want));
}

#[test]
fn four_messages_give_the_first_address() {
    let advertise = ask(
        &[FIRST, SECOND],
        MessageType::Solicit,
        vec![client(), association(&[])],
    )
    .unwrap();
    assert_eq!(advertise.msg_type(), MessageType::Advertise);
    assert_eq!(advertise.opts().get(OptionCode::ServerId), Some(&server()));
    assert_eq!(advertise.opts().get(OptionCode::ClientId), Some(&client()));
    assert_eq!(given(&advertise), [(FIRST, 140, 450)]);
    let options = vec![client(), server(), association(&[FIRST])];
    let reply = ask(&[FIRST, SECOND], MessageType::Request, options).unwrap();
    assert_eq!(reply.msg_type(), MessageType::Reply);
    assert_eq!(given(&reply), [(FIRST, 140, 450)]);
}

#[test]
fn two_messages_do_with_rapid_commit() {
    let options = vec![client(), association(&[]), DhcpOption::RapidCommit];
    let reply = ask(&[FIRST], MessageType::Solicit, options).unwrap();
    assert_eq!(reply.msg_type(), MessageType::Reply);
    assert!(reply.opts().get(OptionCode::RapidCommit).is_some());
}

#[test]
fn renewal_ends_addresses_that_moved_away() {
    let own = [FIRST, SECOND];
    let options = || vec![client(), server(), association(&[SECOND, OTHER])];
    let reply = ask(&own, MessageType::Renew, options()).unwrap();
    assert_eq!(given(&reply), [(SECOND, 140, 450), (OTHER, 0, 0)]);
    let options = vec![client(), association(&[OTHER])];
    let reply = ask(&own, MessageType::Rebind, options).unwrap();
    assert_eq!(given(&reply), [(OTHER, 0, 0), (FIRST, 140, 450)]);
}

#[test]
fn an_interface_without_addresses_says_so() {
    let reply = ask(&[], MessageType::Solicit, vec![client(), association(&[])]).unwrap();
    let Some(DhcpOption::IANA(association)) = reply.opts().get(OptionCode::IANA) else {
        panic!("no association");
    };
    let Some(DhcpOption::StatusCode(status)) = association.opts.get(OptionCode::StatusCode) else {
        panic!("no status");
    };
    assert_eq!(status.status, Code::NoAddrsAvail);
}

#[test]
fn confirm_and_release_are_acknowledged() {
    let status = |kind, options| {
        let reply = ask(&[FIRST], kind, options).unwrap();
        match reply.opts().get(OptionCode::StatusCode) {
            Some(DhcpOption::StatusCode(status)) => status.status,
            other => panic!("{other:?}"),
        }
    };
    let confirm = |address| vec![client(), association(&[address])];
    assert_eq!(status(MessageType::Confirm, confirm(FIRST)), Code::Success);
    assert_eq!(status(MessageType::Confirm, confirm(OTHER)), Code::NotOnLink);
    let release = vec![client(), server(), association(&[FIRST])];
    assert_eq!(status(MessageType::Release, release), Code::Success);
    let information = ask(&[FIRST], MessageType::InformationRequest, vec![]).unwrap();
    assert_eq!(information.opts().get(OptionCode::DomainNameServers), None);
}

#[test]
fn the_rest_is_counted() {
    let refused = |kind, options| ask(&[FIRST], kind, options).unwrap_err();
    assert_eq!(refused(MessageType::Solicit, vec![]), Refusal::Dhcp6Malformed);
    assert_eq!(
        refused(MessageType::Solicit, vec![client(), server()]),
        Refusal::Dhcp6Malformed
    );
    assert_eq!(
        refused(MessageType::Request, vec![client()]),
        Refusal::Dhcp6Malformed
    );
    let other = DhcpOption::ServerId(vec![0, 3, 0, 1, 9]);
    assert_eq!(
        refused(MessageType::Renew, vec![client(), other]),
        Refusal::Dhcp6OtherServer
    );
    assert_eq!(
        refused(MessageType::Confirm, vec![client()]),
        Refusal::Dhcp6Unsupported
    );
    for kind in [MessageType::Advertise, MessageType::Reply, MessageType::RelayForw] {
        assert_eq!(refused(kind, vec![client()]), Refusal::Dhcp6Unsupported);
    }
    assert_eq!(
        refused(MessageType::InformationRequest, vec![association(&[])]),
        Refusal::Dhcp6Malformed
    );
    for bytes in [&[1, 0, 0][..], &[1, 0, 0, 0, 0, 1, 0, 9, 0], &[1, 0, 0, 0, 0]] {
        assert_eq!(answer_bytes(&[FIRST], bytes), Err(Refusal::Dhcp6Malformed));
    }
    // A DUID that is too long, and an association that ends early.
    let long = DhcpOption::ClientId(vec![1; 131]);
    assert_eq!(refused(MessageType::Solicit, vec![long]), Refusal::Dhcp6Malformed);
    let short = [1, 0, 0, 0, 0, 3, 0, 11, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(answer_bytes(&[FIRST], &short), Err(Refusal::Dhcp6Malformed));
}

#[test]
fn many_associations_and_addresses_are_bounded() {
    let mut bytes = vec![1, 0, 0, 0, 0, 1, 0, 3, 1, 2, 3];
    let association = [0, 3, 0, 12, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0];
    for _ in 0..8 {
        bytes.extend(association);
    }
    assert!(answer_bytes(&[FIRST], &bytes).is_ok());
    bytes.extend(association);
    assert_eq!(answer_bytes(&[FIRST], &bytes), Err(Refusal::Dhcp6Malformed));
    let many = |count: u8| {
        let mut bytes = vec![1, 0, 0, 0, 0, 1, 0, 3, 1, 2, 3, 0, 3];
        let len = 12 + 28 * u16::from(count);
        bytes.extend(len.to_be_bytes());
        bytes.extend([0; 12]);
        for n in 0..count {
            bytes.extend([0, 5, 0, 24, n]);
            bytes.extend([0; 23]);
        }
        answer_bytes(&[FIRST], &bytes)
    };
    assert!(many(40).is_ok());
    // More than a reply has room for, and more than are looked at.
    assert_eq!(many(45), Err(Refusal::Dhcp6Malformed));
    assert_eq!(many(51), Err(Refusal::Dhcp6Malformed));
}
