//! The EC2 API over HTTP/1.1: every path, GET and POST, one answer.
//!
//! What a connection may cost is bounded: `CONNECTION_LIMIT` connections, `BODY_LIMIT_BYTES` of a body,
//! `HEAD_LIMIT` for a request's head and for the silence between requests, `BODY_LIMIT` for its body.
//! Meaning is `trinic-ec2`'s: it verifies, decodes and encodes.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, SERVER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use trinic_ec2::error::ApiError;
use trinic_ec2::http::{self, HttpReply, Policy};
use trinic_ec2::query::MAX_REQUEST_BYTES;
use trinic_ec2::sigv4::Request;
use trinic_switch::tables::Id;
use trinic_vpc::reply::{GetConsoleOutputResult, Reply};
use trinic_vpc::{AccountId, RegionName, Scope};

use super::engine::Engine;
use super::images;
use super::link::{AskError, Link};
use crate::protocol::Query;

/// Serves connections for ever.
pub async fn serve(listener: TcpListener, engine: Engine, link: Link) {
    let slots = Arc::new(Semaphore::new(CONNECTION_LIMIT));
    let crowd = Arc::new(Notify::new());
    loop {
        if slots.available_permits() == 0 {
            crowd.notify_one();
        }
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (engine, link) = (engine.clone(), link.clone());
                let crowd = crowd.clone();
                tokio::spawn(async move {
                    connection(stream, engine, link, &crowd).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "API cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves a connection until it ends, or until it is the one that has waited longest of a crowd of
/// [`CONNECTION_LIMIT`] and has no call to answer: so clients that fall silent shut nobody out.
async fn connection(stream: TcpStream, engine: Engine, link: Link, crowd: &Notify) {
    // A small answer must not wait for the client's acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let is_busy = Arc::new(AtomicBool::new(false));
    let busy = is_busy.clone();
    let service = service_fn(move |request| {
        let (engine, link, busy) = (engine.clone(), link.clone(), busy.clone());
        async move { Ok::<_, Infallible>(answer(request, &engine, &link, &busy).await) }
    });
    let mut served = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_LIMIT)
            .max_headers(HEADERS_LIMIT)
            .serve_connection(TokioIo::new(stream), service)
    );
    loop {
        tokio::select! {
            result = &mut served => {
                if let Err(error) = result {
                    tracing::debug!(%error, "API connection ended");
                }
                return;
            }
            () = crowd.notified() => {
                if !is_busy.load(Ordering::Relaxed) {
                    tracing::debug!("API connection ended: it was silent in a crowd");
                    return;
                }
                // Another one shall go, and this one stands at the end of the queue from here on.
                crowd.notify_one();
                tokio::task::yield_now().await;
            }
        }
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    engine: &Engine,
    link: &Link,
    is_busy: &AtomicBool,
) -> Response<Full<Bytes>> {
    let request_id = http::request_id(rand::random());
    let (head, body) = request.into_parts();
    let body = match read(body).await {
        Ok(body) => body,
        Err(error) => return closing(HttpReply::error(error, &request_id)),
    };
    let headers: Vec<(&str, &str)> = head
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), std::str::from_utf8(value.as_bytes()).ok()?)))
        .collect();
    let request = Request {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        headers: &headers,
        body: &body,
    };
    is_busy.store(true, Ordering::Relaxed);
    let reply = decide(&request, &request_id, engine, link).await;
    is_busy.store(false, Ordering::Relaxed);
    response(reply)
}

/// Reads a body whole, if it is not too long and not too slow.
async fn read(body: Incoming) -> Result<Bytes, ApiError> {
    let too_large = || {
        ApiError::new(
            "RequestEntityTooLarge",
            format!("The request has more than {BODY_LIMIT_BYTES} bytes"),
        )
    };
    // What is announced as too long need not come first.
    if usize::try_from(body.size_hint().lower()).map_or(true, |length| length > BODY_LIMIT_BYTES) {
        return Err(too_large());
    }
    let limited = Limited::new(body, BODY_LIMIT_BYTES).collect();
    match tokio::time::timeout(BODY_LIMIT, limited).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(ApiError::new(
            "InvalidRequest",
            "The request's body could not be read",
        )),
        Err(_) => Err(ApiError::new(
            "RequestTimeout",
            "The request's body did not come in time",
        )),
    }
}

async fn decide(request: &Request<'_>, request_id: &str, engine: &Engine, link: &Link) -> HttpReply {
    let now_s = jiff::Timestamp::now().as_second();
    let call = match http::handle(request, now_s, request_id, &Policy::default()) {
        Ok(call) => call,
        Err(refusal) => return *refusal,
    };
    let scope = AccountId::parse(call.account()).zip(RegionName::parse(call.region()));
    let Some((account, region)) = scope else {
        let error = ApiError::new("AuthFailure", "The signature's scope names no region that can be");
        return HttpReply::error(error, request_id);
    };
    if let Err(error) = images::check(&call.command).await {
        return call.answer(Err(&error));
    }
    match engine.call(Scope { account, region }, call.command.clone()).await {
        Ok(Ok(Reply::GetConsoleOutput(result))) => match console(result, link).await {
            Ok(result) => call.answer(Ok(&result.into())),
            Err(error) => HttpReply::error(ApiError::new("Unavailable", error.to_string()), request_id),
        },
        Ok(decided) => call.answer(decided.as_ref()),
        Err(ended) => HttpReply::error(ApiError::new("Unavailable", ended.to_string()), request_id),
    }
}

/// Adds what the instance printed, which the card has. An instance that never ran has no console: EC2 leaves
/// the output out then.
async fn console(
    mut result: GetConsoleOutputResult,
    link: &Link,
) -> Result<GetConsoleOutputResult, AskError> {
    let instance = Id::from(result.instance_id.as_deref().unwrap_or_default());
    match link.ask(Query::Console { instance }).await {
        Ok(answer) => {
            let output = answer.get("output").and_then(|output| output.as_str());
            let output = output.unwrap_or_default().as_bytes();
            let last = output.len().saturating_sub(CONSOLE_BYTES);
            let encoded = base64::engine::general_purpose::STANDARD.encode(&output[last..]);
            result.output = Some(encoded);
        }
        Err(AskError::Refused(_)) => {}
        Err(error) => return Err(error),
    }
    Ok(result)
}

/// A reply after which the connection ends, since the rest of the request is not read.
fn closing(reply: HttpReply) -> Response<Full<Bytes>> {
    let mut response = response(reply);
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn response(reply: HttpReply) -> Response<Full<Bytes>> {
    if let Some(error) = &reply.error {
        // A caller's mistakes are the caller's to read; only our own belong into everybody's log.
        if reply.status >= 500 {
            tracing::error!(code = %error.code, message = error.message, context = error.context, "Failed");
        } else {
            tracing::debug!(code = %error.code, message = error.message, context = error.context, "Refused");
        }
    }
    let mut response = Response::new(Full::new(Bytes::from(reply.body)));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(http::CONTENT_TYPE));
    headers.insert(SERVER, HeaderValue::from_static("trinic"));
    if let Ok(id) = HeaderValue::from_str(&reply.request_id) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}

/// Source: [AWS doc AWSEC2/latest/APIReference/API_GetConsoleOutput.html, 2026-11-23].
const CONSOLE_BYTES: usize = 64 << 10;
const CONNECTION_LIMIT: usize = 512;
const HEADERS_LIMIT: usize = 64;
const HEAD_LIMIT: Duration = Duration::from_secs(30);
const BODY_LIMIT: Duration = Duration::from_secs(30);
const BODY_LIMIT_BYTES: usize = MAX_REQUEST_BYTES;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
