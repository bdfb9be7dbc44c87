//! Control's questions, answered on a thread of their own, so that neither the reconciler nor the next
//! message waits for a ping that takes seconds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use trinic_switch::Offload;
use trinic_switch::tables::{Entry, Id, Interface};

use crate::protocol::{FromCard, Query, TraceRequest};

use super::ena::{self, EnaPort, PortFaults};
use super::job::Tools;
use super::probe_frame;
use super::reconciler::Event;
use super::worker::{Slot, Visit};

/// How long the reconciler may take to answer; it never waits for anything long.
const INSPECT_LIMIT: Duration = Duration::from_secs(5);

/// Answers a question when the answer is there.
pub fn ask(tools: &Arc<Tools>, events: &Sender<Event>, number: u64, query: Query) {
    let (answering, events) = (tools.clone(), events.clone());
    let answer = move || {
        let answer = answer(&answering, &events, query).map_err(|error| format!("{error:#}"));
        answering.outbox.send(&FromCard::Answer { number, answer });
    };
    let thread = std::thread::Builder::new().name("query".into()).spawn(answer);
    if let Err(error) = thread {
        let answer = Err(format!("The card has no thread left for a question: {error}"));
        tools.outbox.send(&FromCard::Answer { number, answer });
    }
}

fn answer(tools: &Tools, events: &Sender<Event>, query: Query) -> anyhow::Result<Value> {
    match query {
        Query::Stats { interface: None } => Ok(tools.worker.visit(all_stats)?),
        Query::Stats {
            interface: Some(interface),
        } => {
            let name = interface.clone();
            tools
                .worker
                .visit(move |visit| stats(visit, &interface))?
                .with_context(|| format!("The card knows no interface {name}"))
        }
        Query::Inspect => inspect(tools, events),
        Query::Trace(request) => tools.worker.visit(move |visit| trace(visit, &request))?,
        Query::Console { instance } => {
            let output = tools.backend.console(&instance)?;
            Ok(json!({ "output": String::from_utf8_lossy(&output) }))
        }
        Query::Functions => functions(tools),
        Query::DeviceTrace { interface } => Ok(json!(tools.functions.drain_trace(&interface)?)),
        Query::Inject { interface, fault } => {
            tools.functions.inject(&interface, ena::fault_named(&fault)?)?;
            Ok(Value::Null)
        }
        Query::Program { instance, arguments } => tools.backend.program(&instance, &arguments),
    }
}

/// Every interface that is plugged in, with its device where it is one.
fn functions(tools: &Tools) -> anyhow::Result<Value> {
    let plugged: Vec<(Id, Option<PortFaults>)> = tools.worker.visit(|visit| {
        let slots = visit.ports.iter().flatten();
        slots
            .filter_map(|slot| Some((slot.interface.clone()?, slot.device().map(EnaPort::faults))))
            .collect()
    })?;
    let mut devices = tools.functions.describe();
    let mut list: Vec<Value> = Vec::new();
    for (interface, faults) in plugged {
        let mac = tools.worker.visit({
            let interface = interface.clone();
            move |visit| mac_of(visit, &interface)
        })?;
        let mut entry =
            json!({ "interface": interface, "kind": if faults.is_some() { "ena" } else { "tap" } });
        if let Some(faults) = faults {
            entry["queue_faults"] = json!(faults);
        }
        if let Some(mac) = mac {
            entry["mac"] = mac.into();
        }
        if let Some(device) = devices.remove(&interface) {
            let described = serde_json::to_value(device)?;
            if let (Some(entry), Value::Object(fields)) = (entry.as_object_mut(), described) {
                entry.extend(fields);
            }
        }
        list.push(entry);
    }
    list.sort_by_key(|entry| entry["interface"].as_str().map(str::to_owned));
    Ok(Value::Array(list))
}

fn mac_of(visit: &Visit<'_>, interface: &Id) -> Option<String> {
    let mac = match visit.switch.tables().entries.get(interface)? {
        Entry::Interface(interface) => interface.mac,
        _ => return None,
    };
    let digits: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(digits.join(":"))
}

fn all_stats(visit: &mut Visit<'_>) -> Value {
    let interfaces: Vec<Id> = visit
        .ports
        .iter()
        .flatten()
        .filter_map(|slot| slot.interface.clone())
        .collect();
    let interfaces: BTreeMap<Id, Option<Value>> = interfaces
        .into_iter()
        .map(|id| {
            let value = stats(visit, &id);
            (id, value)
        })
        .collect();
    json!({
        "interfaces": interfaces,
        "internet": visit.switch.internet_counters(),
        "worker": visit.counters,
    })
}

/// Counters of the pipeline, of the services and of the port; `None` for an interface that the card does
/// not know.
fn stats(visit: &mut Visit<'_>, id: &Id) -> Option<Value> {
    let counters = visit.switch.counters(id)?;
    let mut value = serde_json::to_value(counters).ok()?;
    let slot = slot_of(visit.ports, id);
    let services = visit.services.counters(id).map(|counters| {
        let refusals: BTreeMap<&str, u64> = counters.iter().map(|(why, count)| (why.name(), count)).collect();
        json!({ "frames": counters.frames, "replies": counters.replies, "refusals": refusals })
    });
    let more = value.as_object_mut()?;
    if let (Some(slot), Some(drops)) = (slot, more.get_mut("drops").and_then(Value::as_object_mut)) {
        // What the port itself lost stands beside what the pipeline dropped, by name.
        for (reason, count) in [
            ("receiver-queue-full", slot.queue_full),
            ("receiver-refused", slot.refused),
            ("bad-virtio-header", slot.bad_headers),
        ] {
            if count > 0 {
                drops.insert(reason.into(), json!(count));
            }
        }
    }
    if let Some(port) = slot.and_then(Slot::device) {
        more.insert("queue_faults".into(), json!(port.faults()));
    }
    more.insert("connected".into(), json!(slot.is_some()));
    more.insert("cached_flows".into(), json!(visit.switch.cached_flows(id)));
    more.insert("services_detail".into(), json!(services));
    Some(value)
}

fn slot_of<'a>(ports: &'a [Option<Slot>], id: &Id) -> Option<&'a Slot> {
    ports
        .iter()
        .flatten()
        .find(|slot| slot.interface.as_ref() == Some(id))
}

fn inspect(tools: &Tools, events: &Sender<Event>) -> anyhow::Result<Value> {
    let (reply, answer) = mpsc::channel();
    if events.send(Event::Inspect(reply)).is_err() {
        anyhow::bail!("The card is ending");
    }
    let mut value = answer
        .recv_timeout(INSPECT_LIMIT)
        .context("The reconciler does not answer")?;
    let worker = tools.worker.visit(|visit| {
        let ports: Vec<Value> = visit
            .ports
            .iter()
            .enumerate()
            .filter_map(|(index, slot)| {
                let slot = slot.as_ref()?;
                Some(json!({
                    "port": index,
                    "interface": slot.interface,
                    "queue_full": slot.queue_full,
                }))
            })
            .collect();
        json!({
            "counters": visit.counters,
            "ports": ports,
            "unknown_port_drops": visit.switch.unknown_port_drops(),
        })
    })?;
    if let Some(object) = value.as_object_mut() {
        object.insert("workers".into(), json!([worker]));
    }
    Ok(value)
}

/// Makes the packet that the request describes and asks the switch for its way.
fn trace(visit: &mut Visit<'_>, request: &TraceRequest) -> anyhow::Result<Value> {
    let interface: Interface = visit
        .switch
        .tables()
        .interface(&request.interface)
        .with_context(|| format!("The card knows no interface {}", request.interface))?
        .clone();
    let port = visit
        .switch
        .port_of(&request.interface)
        .with_context(|| format!("Interface {} is not attached", request.interface))?;
    let frame = probe_frame::build(&interface, request)?;
    let trace = visit
        .switch
        .trace(visit.now, port, &frame, frame.len(), Offload::default());
    Ok(json!({
        "text": trace.to_string(),
        "minimal": trace.minimal(),
        "steps": trace.steps,
        "outcome": trace.outcome,
    }))
}
