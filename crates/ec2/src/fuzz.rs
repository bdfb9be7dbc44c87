//! The bodies of the fuzz targets, as library functions, so that a corpus replays under plain tests.
//!
//! Each takes any bytes and must return: no panic, and memory bounded by the limits of
//! [`crate::query`] and [`crate::sigv4`].

use crate::actions::ACTIONS;
use crate::http::{Policy, handle};
use crate::query::Parameters;
use crate::sigv4::{self, Request};

/// Any bytes as a request body: parsed, and decoded as every action.
pub fn query(data: &[u8]) {
    let mut parameters = Parameters::default();
    if parameters.parse(data).is_err() {
        return;
    }
    for action in ACTIONS {
        let _ = action.decode(&parameters);
    }
}

/// Any bytes as the value of an `Authorization` header, and as the query of a presigned request.
pub fn authorization(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let headers = [
        ("host", "localhost:4566"),
        ("x-amz-date", "20260102T030405Z"),
        ("authorization", text),
    ];
    let by_header = Request {
        method: "POST",
        path: "/",
        query: "",
        headers: &headers,
        body: b"Action=DescribeVpcs&Version=2016-11-15",
    };
    let by_query = Request {
        method: "GET",
        query: text,
        headers: &headers[..1],
        body: b"",
        ..by_header
    };
    for request in [by_header, by_query] {
        let _ = sigv4::parse(&request);
        let _ = handle(&request, 1_767_323_045, "fuzz", &Policy::default());
    }
}
