//! The fuzz bodies over a corpus and over generated input: they return, whatever the bytes.

use proptest::prelude::*;
use trinic_ec2::fuzz;

/// Bodies that reached a corner once, kept.
const QUERIES: &[&[u8]] = &[
    b"",
    b"&&&=&=",
    b"%",
    b"A=%E2%82",
    b"A.1.2.3.4.5.6.7.8.9.10.11.12.13=x",
    b"Filter.4294967296.Name=x",
    b"Filter.1=x&Filter.1.Name=y",
    b"TagSpecification.1.Tag.99999.Key=%F0%9F%A6%80",
    b"IpPermissions.1.IpRanges.1.CidrIp=0.0.0.0/0&IpPermissions.1.FromPort=-1",
];

const AUTHORIZATIONS: &[&str] = &[
    "",
    "AWS4-HMAC-SHA256",
    "AWS4-HMAC-SHA256 ,,,,",
    "AWS4-HMAC-SHA256 Credential=////, SignedHeaders=;;;;host, Signature=",
    "AWS4-HMAC-SHA256 Credential=a/20260102/r/ec2/aws4_request, SignedHeaders=host;x-amz-date;nothere, \
     Signature=0000000000000000000000000000000000000000000000000000000000000000",
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=é0260102T030405Z",
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=99999999999999999999",
];

#[test]
fn the_corpus_replays() {
    for data in QUERIES {
        fuzz::query(data);
    }
    for text in AUTHORIZATIONS {
        fuzz::authorization(text.as_bytes());
    }
}

#[test]
fn fixtures_replay_cut_anywhere() {
    for line in include_str!("fixtures/requests.jsonl").lines().step_by(7) {
        let bytes = line.as_bytes();
        for cut in (0..bytes.len()).step_by(97) {
            fuzz::query(&bytes[cut..]);
            fuzz::query(&bytes[..cut]);
        }
    }
}

proptest! {
    #[test]
    fn any_query_returns(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        fuzz::query(&data);
    }

    #[test]
    fn any_query_of_likely_pieces_returns(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just("Filter"), Just("TagSpecification"), Just("IpPermissions"), Just("NetworkInterface"),
                Just("VpcId"), Just("Name"), Just("Value"), Just("DryRun"), Just("."), Just("1"), Just("0"),
                Just("="), Just("&"), Just("%41"), Just("+"), Just("true"), Just("é"),
            ],
            0..60,
        )
    ) {
        fuzz::query(pieces.concat().as_bytes());
    }

    #[test]
    fn any_authorization_returns(text in "\\PC{0,200}", parts in "[A-Za-z0-9/=,; -]{0,200}") {
        fuzz::authorization(text.as_bytes());
        fuzz::authorization(format!("AWS4-HMAC-SHA256 {parts}").as_bytes());
        fuzz::authorization(format!("X-Amz-Algorithm=AWS4-HMAC-SHA256&{parts}").as_bytes());
    }
}
