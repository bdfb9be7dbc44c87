//! SRD over the carrier: messages that fit a packet are sent, longer ones are written into the peer's memory.

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use trinic_host::clock::monotonic_ns;
use trinic_host::srd::{Carrier, Options, SRD_PORT, kernel_config, wait_exactly};
use trinic_srd::{
    Action, Config, Endpoint, Gid, Gone, Incoming, Instant, Local, PairKey, Peer, Refusal, Remote, Request,
};

use crate::load::{Load, Watch};

/// What differs from the defaults.
#[derive(Clone, Debug)]
pub(crate) struct Tuning {
    config: Config,
    busy: Duration,
    offload: bool,
}

impl Tuning {
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        let mut tuning = Self {
            config: kernel_config(9_000),
            busy: Duration::ZERO,
            offload: true,
        };
        for word in words {
            let (key, value) = word
                .split_once('=')
                .with_context(|| format!("`{word}` is no setting"))?;
            let value: u32 = crate::number(value)?;
            let time = Duration::from_micros(value.into());
            let config = &mut tuning.config;
            match key {
                "mtu" => config.datagram = kernel_config(usize::try_from(value)?).datagram,
                "paths" => config.paths = u8::try_from(value)?,
                "window" => config.window = value,
                "queue_us" => config.queue_delay = time,
                "ack_us" => config.ack_delay = time,
                "timeout_us" => config.least_timeout = time,
                "burst" => config.burst = Some(u16::try_from(value)?),
                "busy_us" => tuning.busy = time,
                "offload" => tuning.offload = value != 0,
                _ => bail!("`{key}` is no setting"),
            }
        }
        Ok(tuning)
    }

    fn open(&self, own: IpAddr) -> Result<(Carrier, Endpoint)> {
        wait_exactly()?;
        let options = Options {
            paths: self.config.paths,
            busy: self.busy,
            segmentation: self.offload,
            ..Options::new(own)
        };
        let mut entropy = [0; 16];
        File::open("/dev/urandom")?.read_exact(&mut entropy)?;
        let carrier = Carrier::open(&options)?;
        Ok((carrier, Endpoint::new(self.config.clone(), gid(own), entropy)))
    }
}

/// Both ends know the pair's key; a control plane gives it in the real thing.
fn peer(address: IpAddr) -> Peer {
    Peer {
        gid: gid(address),
        address: SocketAddr::new(address, SRD_PORT),
        key: PairKey::new([0x42; 16]),
        epoch: 1,
    }
}

fn gid(address: IpAddr) -> Gid {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// One buffer to send from and one to write to.
#[derive(Debug)]
struct Memory {
    out: Vec<u8>,
    region: Vec<u8>,
    arrived: u64,
}

impl Local for Memory {
    fn gather(&mut self, _: u64, offset: u32, into: &mut [u8]) -> Result<(), Gone> {
        let start = offset as usize;
        let from = self.out.get(start..start + into.len()).ok_or(Gone)?;
        into.copy_from_slice(from);
        Ok(())
    }

    fn scatter(&mut self, _: u64, _: u32, _: &[u8]) -> Result<(), Gone> {
        Err(Gone)
    }

    fn deliver(&mut self, message: Incoming<'_>) -> Result<(), Refusal> {
        // A receive buffer, as TCP's receiver has one.
        let into = self.region.get_mut(..message.payload.len());
        into.ok_or(Refusal::TooLong)?.copy_from_slice(message.payload);
        self.arrived += 1;
        Ok(())
    }

    fn write(&mut self, remote: Remote, bytes: &[u8]) -> Result<(), Refusal> {
        let start = usize::try_from(remote.address).map_err(|_| Refusal::BadAddress)?;
        let end = start.checked_add(bytes.len()).ok_or(Refusal::BadAddress)?;
        let into = self.region.get_mut(start..end).ok_or(Refusal::BadAddress)?;
        into.copy_from_slice(bytes);
        Ok(())
    }

    fn written(&mut self, _: Remote, _: u32, _: u32) -> Result<(), Refusal> {
        self.arrived += 1;
        Ok(())
    }

    fn readable(&mut self, _: Remote, _: u32) -> Result<(), Refusal> {
        Err(Refusal::NotPermitted)
    }

    fn read(&mut self, _: Remote, _: &mut [u8]) -> Result<(), Refusal> {
        Err(Refusal::NotPermitted)
    }
}

/// Takes messages until the standard input ends; then says what it did.
pub(crate) fn serve(own: IpAddr, from: IpAddr, tuning: &Tuning) -> Result<Value> {
    let (mut carrier, mut endpoint) = tuning.open(own)?;
    endpoint.add_peer(peer(from));
    let mut memory = Memory {
        out: Vec::new(),
        region: vec![0; REGION_BYTES],
        arrived: 0,
    };
    let (stop, waker) = (Arc::new(AtomicBool::new(false)), carrier.waker()?);
    let stopped = Arc::clone(&stop);
    crate::at_end_of_input(move || {
        stopped.store(true, Ordering::Relaxed);
        waker.wake();
    });
    crate::say("serving");
    while !stop.load(Ordering::Relaxed) {
        carrier.turn(&mut endpoint, &mut memory, Duration::from_secs(1))?;
    }
    let (stats, counters) = (endpoint.stats(), carrier.counters());
    Ok(json!({
        "delivered": stats.delivered, "duplicates": stats.duplicates, "acknowledgements": stats.acknowledgements,
        "refused": stats.refused, "overflowed": counters.overflowed, "marked": counters.marked,
        "datagrams_per_receive_call": ratio(counters.received, counters.receive_calls),
    }))
}

/// Sends messages and times their completions.
pub(crate) fn run(own: IpAddr, to: IpAddr, load: &Load, tuning: &Tuning) -> Result<Value> {
    let (mut carrier, mut endpoint) = tuning.open(own)?;
    let id = endpoint.add_peer(peer(to));
    let mut memory = Memory {
        out: vec![0x5a; load.size],
        region: Vec::new(),
        arrived: 0,
    };
    let packet = endpoint.config().datagram - HEADER_BYTES;
    let mut submitted = vec![0; load.outstanding];
    let mut free: Vec<usize> = (0..load.outstanding).collect();
    let mut watch = Watch::start(load);
    loop {
        let now = monotonic_ns();
        while !watch.over(now)
            && let Some(slot) = free.pop()
        {
            let token = slot as u64;
            let action = if load.size <= packet {
                Action::Send { immediate: None }
            } else {
                let address = (slot * load.size) as u64;
                Action::Write {
                    key: 1,
                    address,
                    immediate: None,
                }
            };
            let request = Request {
                token,
                source: 1,
                destination: 1,
                qkey: 1,
                length: u32::try_from(load.size)?,
                payload: 0,
                action,
            };
            endpoint.submit(Instant::from_nanos(now), id, request)?;
            submitted[slot] = now;
        }
        if free.len() == load.outstanding || watch.given_up(now) {
            break;
        }
        carrier.turn(&mut endpoint, &mut memory, Duration::from_millis(10))?;
        let now = monotonic_ns();
        while let Some(event) = endpoint.poll_event() {
            let slot = usize::try_from(event.token)?;
            match event.result {
                Ok(()) => watch.complete(submitted[slot], now),
                Err(_) => watch.fail(),
            }
            free.push(slot);
        }
    }
    for _ in free.len()..load.outstanding {
        watch.fail();
    }
    let (stats, counters) = (endpoint.stats(), carrier.counters());
    Ok(watch.report(json!({
        "sent": stats.sent, "retransmitted": stats.retransmitted, "sessions": stats.sessions,
        "datagrams_per_send_call": ratio(counters.sent, counters.send_calls),
        "datagrams_per_receive_call": ratio(counters.received, counters.receive_calls),
        "full": counters.full, "marked": counters.marked, "overflowed": counters.overflowed,
        "not_sent": counters.expired + counters.too_long + counters.unreachable + counters.refused,
        "segmentation": carrier.segments(),
    })))
}

fn ratio(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a mean is an approximation")]
    let mean = part as f64 / whole.max(1) as f64;
    mean
}

/// Bytes of a SEND's header [PKT-7].
const HEADER_BYTES: usize = 44;
/// Room for 64 messages of 1 MiB.
const REGION_BYTES: usize = 64 << 20;
