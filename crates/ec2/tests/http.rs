//! Whole requests: guards, signature, action, command, answer.

use trinic_ec2::http::{Authenticated, HttpReply, Policy, handle, request_id};
use trinic_ec2::sigv4::{KeyTable, Request, Secret, Signer, UnknownKeys, sign};
use trinic_vpc::command::{Command, CreateVpc, DescribeVpcs};
use trinic_vpc::error::{Ec2Error, ErrorCode};
use trinic_vpc::reply::Reply;

const NOW_S: i64 = 1_795_439_109;
const DESCRIBE: &str = "Action=DescribeVpcs&Version=2016-11-15";

/// A request in the making.
#[derive(Debug, Clone)]
struct Draft {
    method: &'static str,
    path: &'static str,
    host: &'static str,
    extra: Vec<(&'static str, &'static str)>,
    access_key: &'static str,
    region: &'static str,
    body: String,
}

fn post(body: impl Into<String>) -> Draft {
    Draft {
        method: "POST",
        path: "/",
        host: "127.0.0.1:4566",
        extra: vec![("content-type", "application/x-www-form-urlencoded; charset=utf-8")],
        access_key: "AKIDANY",
        region: "us-east-1",
        body: body.into(),
    }
}

impl Draft {
    fn send(&self) -> Result<Authenticated, Box<HttpReply>> {
        self.send_to(&Policy::default())
    }

    fn send_to(&self, policy: &Policy) -> Result<Authenticated, Box<HttpReply>> {
        let mut headers = vec![("host", self.host)];
        headers.extend(&self.extra);
        let unsigned = Request {
            method: self.method,
            path: self.path,
            query: "",
            headers: &headers,
            body: self.body.as_bytes(),
        };
        let secret = Secret::new("some secret");
        let signer = Signer {
            access_key: self.access_key,
            secret: &secret,
            region: self.region,
            now_s: NOW_S,
        };
        let added = sign(&unsigned, &signer).expect("signs");
        let mut headers = headers.clone();
        headers.extend(added.iter().map(|(name, value)| (*name, value.as_str())));
        let request = Request {
            headers: &headers,
            ..unsigned
        };
        handle(&request, NOW_S, "r-1", policy)
    }

    fn code(&self) -> (u16, String) {
        let reply = self.send().expect_err("is refused");
        let error = reply.error.as_ref().expect("an error reply has its error");
        assert!(
            reply.body.contains(&format!("<Code>{}</Code>", error.code)),
            "{}",
            reply.body
        );
        assert!(reply.body.contains("<RequestID>r-1</RequestID>"));
        (reply.status, error.code.clone().into_owned())
    }
}

#[test]
fn a_signed_request_becomes_a_command() {
    let mut draft = post("Action=CreateVpc&Version=2016-11-15&CidrBlock=10.0.0.0%2F16");
    draft.access_key = "123456789012";
    draft.region = "eu-west-3";
    let request = draft.send().unwrap();
    assert_eq!(
        (request.account(), request.region()),
        ("123456789012", "eu-west-3")
    );
    assert_eq!(request.action.name, "CreateVpc");
    let expected = CreateVpc {
        cidr_block: Some("10.0.0.0/16".into()),
        ..CreateVpc::default()
    };
    assert_eq!(request.command, Command::CreateVpc(expected));
}

#[test]
fn answers_are_replies_and_errors() {
    let request = post("Action=DeleteVpc&Version=2016-11-15&VpcId=vpc-1")
        .send()
        .unwrap();
    let done = request.answer(Ok(&Reply::Done));
    assert_eq!(done.status, 200);
    assert!(
        done.body
            .contains("<requestId>r-1</requestId><return>true</return></DeleteVpcResponse>")
    );
    let error =
        Ec2Error::new(ErrorCode::DryRunOperation, "Request would have succeeded").with_context("secret");
    let refused = request.answer(Err(&error));
    assert_eq!(refused.status, 412);
    assert!(refused.body.contains("<Code>DryRunOperation</Code>") && !refused.body.contains("secret"));
    assert_eq!(refused.error.unwrap().context.as_deref(), Some("secret"));
}

#[test]
fn only_loopback_and_configured_hosts_are_served() {
    let hosts = [
        "127.0.0.1",
        "127.0.0.1:80",
        "LOCALHOST:4566",
        "localhost",
        "[::1]",
        "[::1]:4566",
    ];
    for host in hosts {
        let mut draft = post(DESCRIBE);
        draft.host = host;
        assert!(draft.send().is_ok(), "{host}");
    }
    let foreign = [
        "evil.example",
        "localhost.evil.example:4566",
        "127.0.0.1.evil.example",
        "127.0.0.1:4566:1",
        "127.0.0.1:port",
        "127.0.0.1:",
        "127.0.0.2",
        "[::2]",
        "[::1",
        "[::1]x",
        "::1",
        "",
    ];
    for host in foreign {
        let mut draft = post(DESCRIBE);
        draft.host = host;
        assert_eq!(draft.code(), (403, "InvalidHost".into()), "{host}");
    }
    let mut draft = post(DESCRIBE);
    draft.host = "Card.Lab:4566";
    let policy = Policy {
        hosts: vec!["card.lab".into()],
        ..Policy::default()
    };
    assert!(draft.send_to(&policy).is_ok());
}

#[test]
fn a_second_host_header_is_refused() {
    let mut draft = post(DESCRIBE);
    draft.extra.push(("Host", "127.0.0.1"));
    assert_eq!(draft.code(), (403, "InvalidHost".into()));
}

#[test]
fn web_pages_are_refused() {
    for header in [
        ("Origin", "http://127.0.0.1:4566"),
        ("origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Referer", "http://evil.example/"),
    ] {
        let mut draft = post(DESCRIBE);
        draft.extra.push(header);
        assert_eq!(draft.code(), (403, "CrossOrigin".into()), "{header:?}");
    }
}

#[test]
fn only_forms_to_the_root_are_read() {
    let mut draft = post(DESCRIBE);
    draft.path = "/latest/meta-data";
    assert_eq!(draft.code().0, 404);
    let mut draft = post(DESCRIBE);
    draft.method = "PUT";
    assert_eq!(draft.code().0, 405);
    let mut draft = post(DESCRIBE);
    draft.extra = vec![("content-type", "text/plain")];
    assert_eq!(draft.code().0, 415);
    let draft = post("x".repeat((1 << 20) + 1));
    assert_eq!(draft.code(), (413, "RequestEntityTooLarge".into()));
}

#[test]
fn the_request_must_name_an_action_and_the_version() {
    for (body, code) in [
        ("", "MissingAction"),
        ("Action=&Version=2016-11-15", "MissingAction"),
        ("Action=DescribeVpcs", "MissingParameter"),
        ("Action=DescribeVpcs&Version=2014-10-01", "NoSuchVersion"),
        ("Action=ListBuckets&Version=2016-11-15", "InvalidAction"),
        ("Action=CreateVolume&Version=2016-11-15", "UnsupportedOperation"),
        (
            "Action=DescribeVpcs&Version=2016-11-15&Colour=red",
            "UnknownParameter",
        ),
        (
            "Action=DescribeVpcs&Version=2016-11-15&MaxResults=many",
            "InvalidParameterValue",
        ),
        (
            "Action=DescribeVpcs&Version=2016-11-15&A=%zz",
            "MalformedQueryString",
        ),
        ("Action=DeleteVpc&Version=2016-11-15", "MissingParameter"),
    ] {
        assert_eq!(post(body).code(), (400, code.into()), "{body}");
    }
}

#[test]
fn an_unsigned_request_is_refused() {
    let headers = [("host", "localhost:4566")];
    let request = Request {
        method: "POST",
        path: "/",
        query: "",
        headers: &headers,
        body: DESCRIBE.as_bytes(),
    };
    let reply = handle(&request, NOW_S, "r-1", &Policy::default()).unwrap_err();
    assert_eq!(reply.status, 403);
    assert!(reply.body.contains("MissingAuthenticationToken"));
}

/// A presigned query for an unknown key, which any page could make.
fn presigned(action: &str) -> String {
    format!(
        "Action={action}&Version=2016-11-15&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=any%2F20261123%2F\
         us-east-1%2Fec2%2Faws4_request&X-Amz-Date=20261123T130509Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host\
         &X-Amz-Signature={}",
        "0".repeat(64)
    )
}

#[test]
fn a_presigned_request_may_only_read() {
    let headers = [("host", "localhost:4566")];
    let send = |query: &str| {
        let request = Request {
            method: "GET",
            path: "/",
            query,
            headers: &headers,
            body: b"",
        };
        handle(&request, NOW_S, "r-1", &Policy::default())
    };
    let read = send(&presigned("DescribeVpcs")).unwrap();
    assert_eq!(read.command, Command::DescribeVpcs(DescribeVpcs::default()));
    let written = send(&(presigned("DeleteVpc") + "&VpcId=vpc-1")).unwrap_err();
    assert_eq!(written.error.unwrap().code, "UnsupportedOperation");
}

#[test]
fn strict_policies_refuse_unknown_keys() {
    let policy = Policy {
        keys: Box::new(KeyTable::default()),
        unknown_keys: UnknownKeys::Refuse,
        ..Policy::default()
    };
    let reply = post(DESCRIBE).send_to(&policy).unwrap_err();
    assert_eq!(reply.error.unwrap().code, "InvalidClientTokenId");
}

#[test]
fn a_request_id_is_a_random_uuid() {
    assert_eq!(request_id(0), "00000000-0000-4000-8000-000000000000");
    assert_eq!(request_id(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
}
