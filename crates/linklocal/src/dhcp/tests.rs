use std::net::IpAddr;

use dhcproto::v4::{DhcpOption, Flags, Message, MessageType as Kind, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};

use super::*;
use crate::zone::VpcZone;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 5];
const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const OFFER: Offer = Offer {
    lease_s: 3600,
    ntp: false,
};

/// Asks with a message that another implementation encoded, and decodes with it.
fn ask(change: impl FnOnce(&mut Message)) -> (Result<Reply, Refusal>, Option<Message>) {
    ask_with(OFFER, change)
}

fn ask_with(offer: Offer, change: impl FnOnce(&mut Message)) -> (Result<Reply, Refusal>, Option<Message>) {
    let mut message = Message::default();
    message.set_xid(0x0102_0304).set_chaddr(&MAC);
    change(&mut message);
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).unwrap();
    let zone = VpcZone::default();
    let dns: [IpAddr; 1] = [[10, 0, 0, 2].into()];
    let context = InterfaceContext {
        id: "eni-1",
        mac: MAC,
        router_mac: [2, 0, 0, 0, 0, 1],
        mtu: 9001,
        ipv4: &[OURS, Ipv4Addr::new(10, 0, 0, 50)],
        ipv4_prefix_len: 20,
        ipv4_router: Some(ROUTER),
        ipv6: &[],
        dns: &dns,
        hostname: "ip-10-0-0-5",
        domain: "ec2.internal",
        metadata: None,
        zone: &zone,
        dns_support: true,
    };
    let reply = answer(&context, offer, &bytes);
    let message = reply
        .as_ref()
        .ok()
        .map(|reply| Message::decode(&mut Decoder::new(&reply.payload)).unwrap());
    (reply, message)
}

fn kind(message: &mut Message, kind: Kind) {
    message.opts_mut().insert(DhcpOption::MessageType(kind));
}

fn assert_configuration(message: &Message) {
    let option = |code| message.opts().get(code).cloned();
    assert_eq!(
        option(OptionCode::SubnetMask),
        Some(DhcpOption::SubnetMask([255, 255, 240, 0].into()))
    );
    assert_eq!(
        option(OptionCode::BroadcastAddr),
        Some(DhcpOption::BroadcastAddr([10, 0, 15, 255].into()))
    );
    assert_eq!(option(OptionCode::Router), Some(DhcpOption::Router(vec![ROUTER])));
    assert_eq!(
        option(OptionCode::DomainNameServer),
        Some(DhcpOption::DomainNameServer(vec![[10, 0, 0, 2].into()]))
    );
    assert_eq!(
        option(OptionCode::DomainName),
        Some(DhcpOption::DomainName("ec2.internal".into()))
    );
    assert_eq!(
        option(OptionCode::Hostname),
        Some(DhcpOption::Hostname("ip-10-0-0-5".into()))
    );
    assert_eq!(
        option(OptionCode::InterfaceMtu),
        Some(DhcpOption::InterfaceMtu(9001))
    );
    assert_eq!(
        option(OptionCode::ServerIdentifier),
        Some(DhcpOption::ServerIdentifier(ROUTER))
    );
    assert_eq!(option(OptionCode::NtpServers), None);
}

#[test]
fn discover_is_offered_the_interfaces_address() {
    let (reply, message) = ask(|m| kind(m, Kind::Discover));
    let message = message.unwrap();
    assert_eq!(reply.unwrap().to, OURS);
    assert_eq!(message.opts().msg_type(), Some(Kind::Offer));
    assert_eq!((message.xid(), message.yiaddr()), (0x0102_0304, OURS));
    assert_eq!(message.chaddr(), MAC);
    assert_eq!(
        message.opts().get(OptionCode::AddressLeaseTime),
        Some(&DhcpOption::AddressLeaseTime(3600))
    );
    assert_eq!(
        message.opts().get(OptionCode::Renewal),
        Some(&DhcpOption::Renewal(1800))
    );
    assert_eq!(
        message.opts().get(OptionCode::Rebinding),
        Some(&DhcpOption::Rebinding(3150))
    );
    assert_configuration(&message);
}

#[test]
fn a_client_that_hears_only_broadcasts_gets_one() {
    let (reply, message) = ask(|m| {
        kind(m, Kind::Discover);
        m.set_flags(Flags::default().set_broadcast());
        m.opts_mut().insert(DhcpOption::ClientIdentifier(vec![1, 2, 3]));
    });
    let message = message.unwrap();
    assert_eq!(reply.unwrap().to, Ipv4Addr::BROADCAST);
    assert!(message.flags().broadcast());
    assert_eq!(
        message.opts().get(OptionCode::ClientIdentifier),
        Some(&DhcpOption::ClientIdentifier(vec![1, 2, 3]))
    );
}

#[test]
fn request_in_each_state_is_granted() {
    let selecting = |m: &mut Message| {
        kind(m, Kind::Request);
        m.opts_mut().insert(DhcpOption::ServerIdentifier(ROUTER));
        m.opts_mut().insert(DhcpOption::RequestedIpAddress(OURS));
    };
    let init_reboot = |m: &mut Message| {
        kind(m, Kind::Request);
        m.opts_mut().insert(DhcpOption::RequestedIpAddress(OURS));
    };
    let renewing = |m: &mut Message| {
        kind(m, Kind::Request);
        m.set_ciaddr(OURS);
        m.set_flags(Flags::default().set_broadcast());
    };
    for (reply, message) in [ask(selecting), ask(init_reboot), ask(renewing)] {
        let message = message.unwrap();
        assert_eq!(message.opts().msg_type(), Some(Kind::Ack));
        assert_eq!(message.yiaddr(), OURS);
        // A client that has its address is reached there even if it sets the broadcast flag.
        assert_eq!(reply.unwrap().to, OURS);
        assert_configuration(&message);
    }
}

#[test]
fn another_address_is_refused() {
    let other = Ipv4Addr::new(10, 0, 0, 9);
    let requested = |m: &mut Message| {
        kind(m, Kind::Request);
        m.opts_mut().insert(DhcpOption::RequestedIpAddress(other));
    };
    let own = |m: &mut Message| {
        kind(m, Kind::Request);
        m.set_ciaddr(other);
    };
    let none = |m: &mut Message| kind(m, Kind::Request);
    for (reply, message) in [ask(requested), ask(own), ask(none)] {
        let message = message.unwrap();
        let reply = reply.unwrap();
        assert_eq!(message.opts().msg_type(), Some(Kind::Nak));
        assert_eq!(message.yiaddr(), Ipv4Addr::UNSPECIFIED);
        assert_eq!(
            (reply.to, reply.refusal),
            (Ipv4Addr::BROADCAST, Some(Refusal::DhcpNak))
        );
        assert_eq!(message.opts().get(OptionCode::AddressLeaseTime), None);
    }
}

#[test]
fn inform_gets_the_configuration_without_an_address() {
    let (reply, message) = ask(|m| {
        kind(m, Kind::Inform);
        m.set_ciaddr(OURS);
    });
    let message = message.unwrap();
    assert_eq!(reply.unwrap().to, OURS);
    assert_eq!(message.opts().msg_type(), Some(Kind::Ack));
    assert_eq!(message.yiaddr(), Ipv4Addr::UNSPECIFIED);
    assert_eq!(message.opts().get(OptionCode::AddressLeaseTime), None);
    assert_configuration(&message);
    let (reply, _) = ask(|m| {
        kind(m, Kind::Inform);
        m.set_ciaddr([10, 0, 0, 9]);
    });
    assert_eq!(reply, Err(Refusal::DhcpMalformed));
}

#[test]
fn ntp_is_announced_when_asked_for() {
    let offer = Offer { ntp: true, ..OFFER };
    let (_, message) = ask_with(offer, |m| kind(m, Kind::Discover));
    assert_eq!(
        message.unwrap().opts().get(OptionCode::NtpServers),
        Some(&DhcpOption::NtpServers(vec![[169, 254, 169, 123].into()]))
    );
}

#[test]
fn the_rest_is_counted() {
    assert_eq!(ask(|m| kind(m, Kind::Release)).0, Err(Refusal::DhcpUnsupported));
    assert_eq!(ask(|m| kind(m, Kind::Decline)).0, Err(Refusal::DhcpUnsupported));
    assert_eq!(ask(|_| {}).0, Err(Refusal::DhcpMalformed));
    assert_eq!(
        ask(|m| {
            kind(m, Kind::Discover);
            m.set_chaddr(&[2, 0, 0, 0, 0, 6]);
        })
        .0,
        Err(Refusal::DhcpOtherClient)
    );
    assert_eq!(
        ask(|m| {
            kind(m, Kind::Request);
            m.opts_mut()
                .insert(DhcpOption::ServerIdentifier([10, 0, 0, 9].into()));
        })
        .0,
        Err(Refusal::DhcpOtherServer)
    );
    assert_eq!(
        ask(|m| {
            kind(m, Kind::Discover);
            m.set_giaddr([10, 0, 0, 9]);
        })
        .0,
        Err(Refusal::DhcpMalformed)
    );
}
