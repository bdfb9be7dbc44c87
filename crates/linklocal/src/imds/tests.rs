use super::*;
use crate::testing::metadata;

const WALL_NS: u64 = 1_800_000_000_000_000_000;

struct Service {
    tokens: Tokens,
    metadata: InstanceMetadata,
}

impl Service {
    fn new() -> Self {
        Self {
            tokens: Tokens::new(&[3; 32]),
            metadata: metadata(),
        }
    }

    fn ask(&self, request: &str) -> (Response, Option<Refusal>) {
        let text = request.replace('\n', "\r\n") + "\r\n\r\n";
        let http::Parsed::Complete(request, _) = http::parse(text.as_bytes()).unwrap() else {
            panic!("partial request: {text}");
        };
        answer(&self.tokens, WALL_NS, &mut || [9; 8], &self.metadata, &request)
    }

    fn token(&self) -> String {
        let (reply, _) =
            self.ask("PUT /latest/api/token HTTP/1.1\nX-aws-ec2-metadata-token-ttl-seconds: 21600");
        assert_eq!(reply.status, 200);
        String::from_utf8(reply.body).unwrap()
    }

    fn get(&self, path: &str) -> (u16, String) {
        let (reply, _) = self.ask(&format!("GET {path} HTTP/1.1"));
        (reply.status, String::from_utf8(reply.body).unwrap())
    }
}

#[test]
fn a_token_is_needed_when_required_and_checked_when_sent() {
    let mut service = Service::new();
    let token = service.token();
    let with = |token: &str| {
        format!("GET /latest/meta-data/instance-id HTTP/1.1\nX-aws-ec2-metadata-token: {token}")
    };
    assert_eq!(
        service.get("/latest/meta-data/instance-id"),
        (200, "i-0123456789abcdef0".into())
    );
    assert_eq!(service.ask(&with(&token)).0.status, 200);
    assert_eq!(service.ask(&with("nonsense")).1, Some(Refusal::ImdsTokenInvalid));
    service.metadata.options.tokens_required = true;
    let (reply, why) = service.ask("GET /latest/meta-data/ HTTP/1.1");
    assert_eq!((reply.status, why), (401, Some(Refusal::ImdsTokenMissing)));
    assert_eq!(service.ask(&with(&token)).0.status, 200);
    service.metadata.instance_id = "i-other".into();
    assert_eq!(service.ask(&with(&token)).0.status, 401);
}

#[test]
fn token_requests_are_refused_as_ec2_refuses_them() {
    let service = Service::new();
    let put = |headers: &str| service.ask(&format!("PUT /latest/api/token HTTP/1.1{headers}"));
    for bad in ["", "0", "21601", "-1", "1.5", "+5", "999999999999", "x"] {
        let header = format!("\nX-aws-ec2-metadata-token-ttl-seconds: {bad}");
        let (reply, why) = put(&header);
        assert_eq!((reply.status, why), (400, Some(Refusal::ImdsTokenTtl)), "{bad}");
    }
    assert_eq!(put("").0.status, 400);
    for good in ["1", "21600"] {
        let reply = put(&format!("\nx-aws-ec2-metadata-token-ttl-seconds: {good}")).0;
        assert_eq!(reply.status, 200);
        let head = String::from_utf8(reply.emit(WALL_NS, true, false)).unwrap();
        let ttl = format!("X-Aws-Ec2-Metadata-Token-Ttl-Seconds: {good}\r\n");
        assert!(head.contains(&ttl), "{head}");
    }
    let forwarded = put("\nX-aws-ec2-metadata-token-ttl-seconds: 60\nX-Forwarded-For: 10.0.0.1");
    assert_eq!(forwarded.0.status, 403);
    assert_eq!(forwarded.1, Some(Refusal::ImdsForwarded));
}

#[test]
fn only_replies_to_token_requests_carry_the_hop_limit() {
    let mut service = Service::new();
    service.metadata.options.hop_limit = 2;
    let (reply, _) = service.ask("PUT /latest/api/token HTTP/1.1");
    assert_eq!(reply.hop_limit, Some(2));
    let (reply, _) = service.ask("GET /latest/meta-data/ HTTP/1.1");
    assert_eq!(reply.hop_limit, None);
}

#[test]
fn methods_are_those_of_the_path() {
    let service = Service::new();
    let ask = |line: &str| {
        let reply = service.ask(&format!("{line} HTTP/1.1")).0;
        let head = String::from_utf8(reply.emit(WALL_NS, true, false)).unwrap();
        let allow = head.lines().find_map(|l| l.strip_prefix("Allow: "));
        (reply.status, allow.unwrap_or_default().to_owned())
    };
    assert_eq!(ask("GET /latest/api/token"), (405, "OPTIONS, PUT".into()));
    assert_eq!(ask("POST /latest/meta-data/"), (405, "OPTIONS, GET, HEAD".into()));
    assert_eq!(ask("OPTIONS /latest/api/token"), (200, "OPTIONS, PUT".into()));
    assert_eq!(ask("HEAD /latest/meta-data/").0, 200);
    assert_eq!(ask("PUT /latest/meta-data/"), (405, "OPTIONS, GET, HEAD".into()));
}

#[test]
fn a_disabled_endpoint_forbids_everything() {
    let mut service = Service::new();
    service.metadata.options.enabled = false;
    for line in ["GET /", "PUT /latest/api/token", "GET /latest/user-data"] {
        let (reply, why) = service.ask(&format!("{line} HTTP/1.1"));
        assert_eq!((reply.status, why), (403, Some(Refusal::ImdsDisabled)), "{line}");
    }
}

#[test]
fn a_missing_path_is_ec2s_404_page() {
    let service = Service::new();
    let (status, body) = service.get("/latest/meta-data/iam/info");
    assert_eq!(status, 404);
    insta::assert_snapshot!(body, @r#"
    <?xml version="1.0" encoding="iso-8859-1"?>
    <!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
    	"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
    <html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
     <head>
      <title>404 - Not Found</title>
     </head>
     <body>
      <h1>404 - Not Found</h1>
     </body>
    </html>
    "#);
    for path in [
        "/1066-10-14/meta-data",
        "/latest/meta-data/instance-id/x",
        "/latest//meta-data",
        "/latest/meta-data/tags/instance/nope",
        "/latest/meta-data/network/interfaces/macs/02:00:00:00:00:99/",
    ] {
        assert_eq!(service.get(path).0, 404, "{path}");
    }
}

#[test]
fn what_an_instance_does_not_have_is_not_there() {
    let mut service = Service::new();
    service.metadata.user_data = None;
    service.metadata.key = None;
    service.metadata.options.tags = false;
    service.metadata.interfaces.truncate(1);
    service.metadata.interfaces[0].public_ipv4s.clear();
    service.metadata.interfaces[0].ipv6s.clear();
    assert_eq!(service.get("/latest/"), (200, "dynamic\nmeta-data".into()));
    for path in [
        "/latest/user-data",
        "/latest/meta-data/public-keys/",
        "/latest/meta-data/tags/",
        "/latest/meta-data/public-ipv4",
        "/latest/meta-data/ipv6",
        "/latest/meta-data/iam/",
    ] {
        assert_eq!(service.get(path).0, 404, "{path}");
    }
}

/// Every path from `path` on, in the order of the listings, with what is there.
fn walk(service: &Service, path: &str, into: &mut String) {
    let (status, body) = service.get(path);
    assert_eq!(status, 200, "{path}");
    into.push_str(&format!("{path}\n"));
    for line in body.lines() {
        into.push_str(&format!("    {line}\n"));
    }
    let is_top = path == "/latest/";
    if !path.ends_with('/') {
        return;
    }
    assert!(!body.ends_with('\n'), "{path}");
    for line in body.lines() {
        let next = match line.split_once('=') {
            Some((index, _)) if path.ends_with("/public-keys/") => format!("{path}{index}/"),
            _ if is_top && line != "user-data" => format!("{path}{line}/"),
            _ => format!("{path}{line}"),
        };
        walk(service, &next, into);
    }
}

#[test]
fn the_whole_tree() {
    let mut text = String::new();
    walk(&Service::new(), "/latest/", &mut text);
    insta::assert_snapshot!(text);
}

#[test]
fn every_version_serves_the_tree() {
    let service = Service::new();
    let (_, versions) = service.get("/");
    assert_eq!(versions.lines().count(), tree::VERSIONS.len() + 1);
    for version in versions.lines() {
        let path = format!("/{version}/meta-data/instance-id");
        assert_eq!(service.get(&path).0, 200, "{version}");
    }
}
