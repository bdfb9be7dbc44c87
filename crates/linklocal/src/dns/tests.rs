use super::*;
use crate::zone::VpcZone;

const UDP: Transport = Transport::Udp { room_bytes: 8953 };

fn zone() -> VpcZone {
    let mut zone = VpcZone::new(
        "us-east-1",
        vec!["10.0.0.0/16".parse().unwrap(), "2001:db8::/56".parse().unwrap()],
    );
    zone.add_public([198, 18, 0, 1].into(), [10, 0, 0, 5].into());
    zone.add_host(
        "i-0a",
        &["10.0.0.5".parse().unwrap(), "2001:db8::5".parse().unwrap()],
    );
    zone
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn decode(outcome: Outcome) -> (Message, Option<Refusal>) {
    match outcome {
        Outcome::Answer(bytes, why) => (Message::from_vec(&bytes).unwrap(), why),
        other => panic!("{other:?}"),
    }
}

fn ask(name: &str, kind: RecordType) -> Message {
    let bytes = query(name, kind).to_vec().unwrap();
    decode(answer(&bytes, UDP, &zone(), false)).0
}

fn data(message: &Message) -> Vec<String> {
    message.answers.iter().map(|r| r.data.to_string()).collect()
}

#[test]
fn a_query_and_its_answer_byte_by_byte() {
    let query =
        "1234 0100 0001 0000 0000 0000 0b 69702d31302d302d302d35 03 656332 08 696e7465726e616c 00 0001 0001";
    let mut want =
        "1234 8180 0001 0001 0000 0000 0b 69702d31302d302d302d35 03 656332 08 696e7465726e616c 00 0001 0001"
            .to_owned();
    want.push_str(" c00c 0001 0001 0000003c 0004 0a000005");
    let Outcome::Answer(bytes, None) = answer(&hex(query), UDP, &zone(), false) else {
        panic!("no answer");
    };
    assert_eq!(bytes, hex(&want));
}

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len() / 2)
        .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

#[test]
fn names_of_the_vpc_are_answered_in_any_case() {
    let message = ask("IP-10-0-0-5.Ec2.Internal.", RecordType::A);
    assert_eq!(data(&message), ["10.0.0.5"]);
    assert_eq!(message.queries[0].name().to_ascii(), "IP-10-0-0-5.Ec2.Internal.");
    assert!(message.metadata.recursion_available && message.metadata.recursion_desired);
    let message = ask("ec2-198-18-0-1.compute-1.amazonaws.com.", RecordType::A);
    assert_eq!(data(&message), ["10.0.0.5"]);
    let message = ask("i-0a.ec2.internal.", RecordType::AAAA);
    assert_eq!(data(&message), ["2001:db8::5"]);
    let message = ask("i-0a.ec2.internal.", RecordType::ANY);
    assert_eq!(data(&message), ["10.0.0.5", "2001:db8::5"]);
}

#[test]
fn addresses_of_the_vpc_have_names() {
    let message = ask("5.0.0.10.in-addr.arpa.", RecordType::PTR);
    assert_eq!(data(&message), ["ip-10-0-0-5.ec2.internal."]);
    let six = format!("5.{}8.b.d.0.1.0.0.2.ip6.arpa.", "0.".repeat(23));
    let message = ask(&six, RecordType::PTR);
    assert_eq!(data(&message), ["i-0a.ec2.internal."]);
}

#[test]
fn no_data_and_no_name_carry_the_soa() {
    for (name, kind, code) in [
        (
            "ip-10-0-0-5.ec2.internal.",
            RecordType::AAAA,
            ResponseCode::NoError,
        ),
        ("ip-10-0-0-5.ec2.internal.", RecordType::MX, ResponseCode::NoError),
        ("ec2.internal.", RecordType::A, ResponseCode::NoError),
        ("5.0.0.10.in-addr.arpa.", RecordType::A, ResponseCode::NoError),
        ("nobody.ec2.internal.", RecordType::A, ResponseCode::NXDomain),
    ] {
        let message = ask(name, kind);
        assert_eq!(message.metadata.response_code, code, "{name}");
        assert!(message.answers.is_empty(), "{name}");
        assert_eq!(message.authorities[0].record_type(), RecordType::SOA, "{name}");
    }
}

#[test]
fn names_outside_are_refused_without_an_upstream() {
    for name in ["example.com.", "1.2.0.192.in-addr.arpa.", "10.in-addr.arpa.", "."] {
        let bytes = query(name, RecordType::A).to_vec().unwrap();
        let (message, why) = decode(answer(&bytes, UDP, &zone(), false));
        assert_eq!(message.metadata.response_code, ResponseCode::Refused, "{name}");
        assert_eq!(why, Some(Refusal::DnsRefused));
    }
}

#[test]
fn names_outside_travel_under_another_id() {
    let bytes = query("example.com.", RecordType::A).to_vec().unwrap();
    let Outcome::Ask(client) = answer(&bytes, UDP, &zone(), true) else {
        panic!("not forwarded");
    };
    let upstream = Message::from_vec(&client.query(0x7777).unwrap()).unwrap();
    assert_eq!(upstream.metadata.id, 0x7777);
    assert_eq!(upstream.queries[0].name().to_ascii(), "example.com.");
    let mut reply = Message::response(0x7777, OpCode::Query);
    reply.add_query(upstream.queries[0].clone());
    let name = Name::from_ascii("example.com.").unwrap();
    let record = RData::A(A([192, 0, 2, 1].into()));
    reply.add_answer(Record::from_rdata(name.clone(), 30, record.clone()));
    let (message, why) = decode(client.answer(0x7777, &reply.to_vec().unwrap()).unwrap());
    assert_eq!((message.metadata.id, why), (0x1234, None));
    assert_eq!(data(&message), ["192.0.2.1"]);
    assert!(message.edns.is_none());
    // Another id, a query, or another question is not the answer.
    assert_eq!(client.answer(0x7778, &reply.to_vec().unwrap()), None);
    assert_eq!(client.answer(0x7777, &client.query(0x7777).unwrap()), None);
    let mut other = reply.clone();
    other.queries[0].set_query_type(RecordType::AAAA);
    assert_eq!(client.answer(0x7777, &other.to_vec().unwrap()), None);
    let (failed, _) = decode(client.failure(Refusal::DnsUpstreamTimeout));
    assert_eq!(failed.metadata.response_code, ResponseCode::ServFail);
    // An answer that the asker cannot take is cut to its header.
    for _ in 0..40 {
        reply.add_answer(Record::from_rdata(name.clone(), 30, record.clone()));
    }
    let long = reply.to_vec().unwrap();
    assert!(long.len() > 512);
    let (message, why) = decode(client.answer(0x7777, &long).unwrap());
    assert!(message.metadata.truncation && message.answers.is_empty());
    assert_eq!(why, Some(Refusal::DnsTruncated));
}

#[test]
fn truncation_follows_what_the_asker_can_take() {
    let mut zone = zone();
    let many: Vec<IpAddr> = (0..=255).map(|n| Ipv4Addr::new(10, 0, 1, n).into()).collect();
    zone.add_host("many", &many);
    let mut message = query("many.ec2.internal.", RecordType::A);
    let ask = |zone: &VpcZone, message: &Message, transport| {
        decode(answer(&message.to_vec().unwrap(), transport, zone, false))
    };
    let (reply, why) = ask(&zone, &message, UDP);
    assert!(reply.metadata.truncation && reply.answers.is_empty());
    assert_eq!(why, Some(Refusal::DnsTruncated));
    let (reply, _) = ask(&zone, &message, Transport::Tcp);
    assert_eq!((reply.metadata.truncation, reply.answers.len()), (false, 256));
    let mut edns = Edns::new();
    edns.set_max_payload(65_535).set_version(0).set_dnssec_ok(true);
    message.set_edns(edns);
    // 256 records of 16 bytes are more than our own limit.
    assert!(ask(&zone, &message, UDP).0.metadata.truncation);
    zone.add_host("many", &many[..150]);
    let (reply, why) = ask(&zone, &message, UDP);
    assert_eq!((reply.answers.len(), why), (150, None));
    let narrow = Transport::Udp { room_bytes: 1252 };
    assert!(ask(&zone, &message, narrow).0.metadata.truncation);
    assert!(reply.edns.is_some_and(|edns| edns.flags().dnssec_ok));
}

#[test]
fn what_is_no_question_gets_the_least() {
    let good = query("example.com.", RecordType::A).to_vec().unwrap();
    let handle = |bytes: &[u8]| answer(bytes, UDP, &zone(), true);
    for len in 0..HEADER_BYTES {
        assert_eq!(handle(&good[..len]), Outcome::Silent(Refusal::DnsMalformed));
    }
    let mut response = good.clone();
    response[2] |= 0x80;
    assert_eq!(handle(&response), Outcome::Silent(Refusal::DnsMalformed));
    let changed = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        handle(&bytes)
    };
    let header = |flags: [u8; 2]| {
        let mut bytes = vec![0x12, 0x34];
        bytes.extend(flags);
        bytes.resize(HEADER_BYTES, 0);
        bytes
    };
    let unsupported = Some(Refusal::DnsUnsupported);
    // NOTIFY; two questions; 65,281 questions; an answer inside a query.
    assert_eq!(
        changed(2, 0x21),
        Outcome::Answer(header([0xa1, 0x84]), unsupported)
    );
    for (at, value) in [(5, 2), (5, 0), (4, 0xff), (7, 1), (9, 1), (11, 5)] {
        let form_error = Outcome::Answer(header([0x81, 0x81]), unsupported);
        assert_eq!(changed(at, value), form_error, "{at}");
    }
    // A label that runs out of the message.
    assert_eq!(
        changed(12, 60),
        Outcome::Answer(header([0x81, 0x81]), Some(Refusal::DnsMalformed))
    );
    let mut chaos = query("version.bind.", RecordType::TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    let (reply, why) = decode(handle(&chaos.to_vec().unwrap()));
    assert_eq!(reply.metadata.response_code, ResponseCode::Refused);
    assert_eq!(why, unsupported);
    let mut new = query("example.com.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_version(1);
    new.set_edns(edns);
    let (reply, _) = decode(handle(&new.to_vec().unwrap()));
    // BADVERS has the number of BADSIG.
    assert_eq!(u16::from(reply.metadata.response_code), 16);
}
