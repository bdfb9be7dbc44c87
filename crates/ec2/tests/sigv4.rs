//! Signatures, against two other signers: botocore (fixtures) and the aws-sigv4 crate.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign as aws_sign,
};
use aws_sigv4::sign::v4;
use proptest::prelude::*;
use serde_json::Value;
use trinic_ec2::sigv4::{
    DEFAULT_SKEW_S, Identity, KeyTable, Request, Secret, Signer, UnknownKeys, sign, verify,
};

const NOW_S: i64 = 1_795_439_109;
const BODY: &[u8] = b"Action=DescribeVpcs&Version=2016-11-15";

/// A request that owns its parts.
#[derive(Debug, Clone)]
struct Owned {
    method: String,
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Owned {
    fn with<T>(&self, use_it: impl FnOnce(&Request<'_>) -> T) -> T {
        let headers: Vec<(&str, &str)> = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        use_it(&Request {
            method: &self.method,
            path: "/",
            query: &self.query,
            headers: &headers,
            body: &self.body,
        })
    }

    fn verify(&self, keys: &KeyTable, unknown: UnknownKeys, now_s: i64) -> Result<Identity, String> {
        self.with(|request| verify(request, now_s, keys, unknown, DEFAULT_SKEW_S))
            .map_err(|error| error.code.into_owned())
    }

    fn header(&mut self, name: &str) -> &mut String {
        let found = self
            .headers
            .iter_mut()
            .find(|(have, _)| have.eq_ignore_ascii_case(name));
        &mut found.expect("the request has the header").1
    }
}

fn keys(access_key: &str, secret: &str) -> KeyTable {
    let mut keys = KeyTable::empty();
    keys.insert(access_key, Secret::new(secret));
    keys
}

/// A request signed by our own signer.
fn ours(access_key: &str, secret: &str) -> Owned {
    let mut request = Owned {
        method: "POST".into(),
        query: String::new(),
        headers: vec![
            ("Host".into(), "127.0.0.1:4566".into()),
            ("Content-Type".into(), "application/x-www-form-urlencoded".into()),
        ],
        body: BODY.to_vec(),
    };
    let secret = Secret::new(secret);
    let signer = Signer {
        access_key,
        secret: &secret,
        region: "us-east-1",
        now_s: NOW_S,
    };
    let added = request.with(|request| sign(request, &signer)).expect("signs");
    request
        .headers
        .extend(added.map(|(name, value)| (name.to_owned(), value)));
    request
}

fn signed_by_botocore() -> Vec<(Owned, Value)> {
    include_str!("fixtures/signed.jsonl")
        .lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).expect("a JSON line");
            let text = |name: &str| row[name].as_str().expect("text").to_owned();
            let headers = row["headers"].as_array().expect("a list");
            let request = Owned {
                method: text("method"),
                query: text("query"),
                headers: headers
                    .iter()
                    .map(|pair| {
                        (
                            pair[0].as_str().expect("a name").to_owned(),
                            pair[1].as_str().expect("a value").to_owned(),
                        )
                    })
                    .collect(),
                body: text("body").into_bytes(),
            };
            (request, row)
        })
        .collect()
}

#[test]
fn botocores_signatures_hold() {
    let signed = signed_by_botocore();
    assert_eq!(signed.len(), 12);
    for (request, row) in signed {
        let key = row["access_key"].as_str().unwrap();
        let now_s = row["now_s"].as_i64().unwrap();
        let keys = keys(key, row["secret"].as_str().unwrap());
        let identity = request.verify(&keys, UnknownKeys::Refuse, now_s).unwrap();
        assert_eq!(identity.access_key, key);
        assert_eq!(identity.region, row["region"].as_str().unwrap());
        assert!(identity.verified);
    }
}

#[test]
fn any_change_breaks_a_signature() {
    for (request, row) in signed_by_botocore() {
        let keys = keys(
            row["access_key"].as_str().unwrap(),
            row["secret"].as_str().unwrap(),
        );
        let presigned = request.query.contains("X-Amz-Signature");
        let mut changes = Vec::new();
        let mut body = request.clone();
        body.body.push(b'x');
        changes.push(body);
        let mut query = request.clone();
        query.query = format!("Extra=1&{}", query.query);
        changes.push(query);
        let mut method = request.clone();
        method.method = "PUT".into();
        changes.push(method);
        let mut host = request.clone();
        *host.header("host") = "localhost:4566".into();
        changes.push(host);
        if !presigned {
            let mut region = request.clone();
            let header = region.header("authorization");
            *header = header.replace(row["region"].as_str().unwrap(), "us-west-2");
            changes.push(region);
        }
        for changed in changes {
            assert_eq!(
                changed.verify(&keys, UnknownKeys::Refuse, NOW_S).unwrap_err(),
                "SignatureDoesNotMatch",
                "{changed:?}"
            );
        }
    }
}

#[test]
fn a_wrong_secret_does_not_match() {
    let request = ours("test", "wrong");
    let verdict = request.verify(&KeyTable::default(), UnknownKeys::AcceptAny, NOW_S);
    assert_eq!(verdict.unwrap_err(), "SignatureDoesNotMatch");
}

#[test]
fn unknown_keys_are_as_the_policy_says() {
    let request = ours("AKIDEXAMPLE", "any");
    let accepted = request
        .verify(&KeyTable::default(), UnknownKeys::AcceptAny, NOW_S)
        .unwrap();
    assert!(!accepted.verified);
    let refused = request.verify(&KeyTable::default(), UnknownKeys::Refuse, NOW_S);
    assert_eq!(refused.unwrap_err(), "InvalidClientTokenId");
}

#[test]
fn a_twelve_digit_key_is_an_account() {
    for (key, account) in [
        ("123456789012", "123456789012"),
        ("12345678901", "000000000000"),
        ("1234567890123", "000000000000"),
        ("12345678901a", "000000000000"),
        ("test", "000000000000"),
    ] {
        let request = ours(key, "any");
        let identity = request
            .verify(&KeyTable::empty(), UnknownKeys::AcceptAny, NOW_S)
            .unwrap();
        assert_eq!(identity.account, account, "{key}");
    }
}

#[test]
fn a_request_holds_for_fifteen_minutes_either_way() {
    let request = ours("test", "test");
    let at = |now_s| request.verify(&KeyTable::default(), UnknownKeys::Refuse, now_s);
    for offset in [-DEFAULT_SKEW_S, 0, DEFAULT_SKEW_S] {
        assert!(at(NOW_S + offset).is_ok(), "{offset}");
    }
    for offset in [-DEFAULT_SKEW_S - 1, DEFAULT_SKEW_S + 1] {
        assert_eq!(at(NOW_S + offset).unwrap_err(), "RequestExpired", "{offset}");
    }
    for extreme in [i64::MIN, i64::MAX] {
        assert_eq!(at(extreme).unwrap_err(), "RequestExpired");
    }
}

#[test]
fn a_presigned_request_holds_as_long_as_it_says() {
    let (request, row) = signed_by_botocore()
        .into_iter()
        .find(|(request, _)| request.query.contains("X-Amz-Expires=600"))
        .unwrap();
    let keys = keys(
        row["access_key"].as_str().unwrap(),
        row["secret"].as_str().unwrap(),
    );
    let at = |now_s| request.verify(&keys, UnknownKeys::Refuse, now_s);
    assert!(at(NOW_S + 600).is_ok());
    assert_eq!(at(NOW_S + 601).unwrap_err(), "RequestExpired");
    for (from, to) in [("=600", "=0"), ("=600", "=604801"), ("=600", "=x")] {
        let mut changed = request.clone();
        changed.query = changed
            .query
            .replace(&format!("Expires{from}"), &format!("Expires{to}"));
        assert_eq!(
            changed.verify(&keys, UnknownKeys::Refuse, NOW_S).unwrap_err(),
            "IncompleteSignature"
        );
    }
}

#[test]
fn malformed_claims_are_told_apart() {
    let good = ours("test", "test");
    let cases: [(&str, &str, &str); 13] = [
        ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1", "IncompleteSignature"),
        ("AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256", "IncompleteSignature"),
        ("Credential=", "Credentials=", "IncompleteSignature"),
        ("SignedHeaders=", "Signature=", "IncompleteSignature"),
        ("Signature=", "Signature", "IncompleteSignature"),
        ("Signature=", "Signature=zz", "IncompleteSignature"),
        ("/ec2/", "/s3/", "AuthFailure"),
        ("aws4_request", "aws5_request", "AuthFailure"),
        ("us-east-1", "US EAST", "AuthFailure"),
        ("/us-east-1", "", "IncompleteSignature"),
        ("Credential=test", "Credential=", "IncompleteSignature"),
        ("20261123", "20261124", "SignatureDoesNotMatch"),
        (";host", "", "IncompleteSignature"),
    ];
    for (from, to, code) in cases {
        let mut request = good.clone();
        let header = request.header("authorization");
        assert!(header.contains(from), "{from}");
        *header = header.replace(from, to);
        let verdict = request.verify(&KeyTable::default(), UnknownKeys::AcceptAny, NOW_S);
        assert_eq!(verdict.unwrap_err(), code, "{from} -> {to}");
    }
}

#[test]
fn unsigned_and_doubly_signed_requests_are_refused() {
    let good = ours("test", "test");
    let code = |request: &Owned| {
        request
            .verify(&KeyTable::default(), UnknownKeys::AcceptAny, NOW_S)
            .unwrap_err()
    };
    let mut unsigned = good.clone();
    unsigned.headers.retain(|(name, _)| name != "authorization");
    assert_eq!(code(&unsigned), "MissingAuthenticationToken");
    let mut twice = good.clone();
    let again = twice.headers.last().unwrap().clone();
    twice.headers.push(again);
    assert_eq!(code(&twice), "IncompleteSignature");
    let mut both = good.clone();
    both.query = "X-Amz-Algorithm=AWS4-HMAC-SHA256".into();
    assert_eq!(code(&both), "IncompleteSignature");
    let mut dateless = good.clone();
    dateless.headers.retain(|(name, _)| name != "x-amz-date");
    assert_eq!(code(&dateless), "IncompleteSignature");
    let mut bad_date = good;
    *bad_date.header("x-amz-date") = "20261323T130509Z".into();
    assert_eq!(code(&bad_date), "IncompleteSignature");
}

#[test]
fn a_secret_does_not_show() {
    assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(…)");
}

/// Signs with the aws-sigv4 crate and returns the headers or the query that it adds.
fn signed_by_aws(headers: &[(&str, &str)], query: &str, body: &[u8], presigned: bool) -> Owned {
    let identity = Credentials::new("test", "test", None, None, "test").into();
    let mut settings = SigningSettings::default();
    if presigned {
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(Duration::from_secs(60));
    }
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW_S.unsigned_abs());
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name("ec2")
        .time(time)
        .settings(settings)
        .build()
        .expect("complete")
        .into();
    let method = if presigned { "GET" } else { "POST" };
    let uri = if query.is_empty() {
        "http://127.0.0.1:4566/".to_owned()
    } else {
        format!("http://127.0.0.1:4566/?{query}")
    };
    let signable = SignableRequest::new(method, uri, headers.iter().copied(), SignableBody::Bytes(body))
        .expect("signable");
    let (instructions, _) = aws_sign(signable, &params).expect("signs").into_parts();
    let mut request = Owned {
        method: method.into(),
        query: query.to_owned(),
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body: body.to_vec(),
    };
    for (name, value) in instructions.headers() {
        request.headers.push((name.to_owned(), value.to_owned()));
    }
    for (name, value) in instructions.params() {
        let value: String = value
            .bytes()
            .map(|byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            })
            .collect();
        if !request.query.is_empty() {
            request.query.push('&');
        }
        request.query.push_str(&format!("{name}={value}"));
    }
    request
}

proptest! {
    #[test]
    fn the_aws_signer_and_we_agree(
        body in proptest::collection::vec(any::<u8>(), 0..200),
        value in "[!-~]( {0,3}[!-~]){0,8}",
    ) {
        let headers = [("host", "127.0.0.1:4566"), ("x-amz-note", value.as_str())];
        let theirs = signed_by_aws(&headers, "", &body, false);
        let verdict = theirs.verify(&KeyTable::default(), UnknownKeys::Refuse, NOW_S);
        prop_assert!(verdict.is_ok(), "{verdict:?} {theirs:?}");
    }

    #[test]
    fn the_aws_signers_presigned_requests_hold(name in "[A-Za-z.]{1,10}", value in "[A-Za-z0-9._~-]{0,12}") {
        let query = format!("{name}={value}&Action=DescribeVpcs");
        let theirs = signed_by_aws(&[("host", "127.0.0.1:4566")], &query, b"", true);
        let verdict = theirs.verify(&KeyTable::default(), UnknownKeys::Refuse, NOW_S);
        prop_assert!(verdict.is_ok(), "{verdict:?} {theirs:?}");
    }

    #[test]
    fn what_we_sign_we_verify(body in proptest::collection::vec(any::<u8>(), 0..200), secret in ".{0,40}") {
        let mut request = ours("key", &secret);
        request.headers.truncate(2);
        request.body = body;
        let secret = Secret::new(secret);
        let signer = Signer { access_key: "key", secret: &secret, region: "us-east-1", now_s: NOW_S };
        let added = request.with(|request| sign(request, &signer)).expect("signs");
        request.headers.extend(added.map(|(name, value)| (name.to_owned(), value)));
        let mut keys = KeyTable::empty();
        keys.insert("key", secret);
        prop_assert!(request.verify(&keys, UnknownKeys::Refuse, NOW_S).is_ok());
    }
}
