//! The card process: datapath and instances of one state directory.
//!
//! ```text
//!            control
//!               | card.sock (session)
//!          reconciler ---- jobs (one short-lived thread per instance that changes)
//!               |            |  backend: namespaces with taps, or user-space guests
//!               v            v
//!            worker <---- ports        (one thread: switch, link-local services, every packet)
//! ```
//!
//! The worker owns everything a packet touches and shares nothing; tables, ports and questions reach it as
//! messages between two rounds of packets. The reconciler compares what control wants with what is there.
//! What the next card process needs is on disk at every moment ([`record`]), so a card may be killed and
//! started again: it adopts its instances, opens their functions again and goes on with the last tables,
//! with or without control.
//!
//! The process stays in the caller's network namespace (the resolver's uplink needs it). As an ordinary user
//! it enters a user namespace of its own before it starts a thread.

pub mod backend;
pub mod clock;
pub mod device_instance;
pub mod ena;
pub mod functions;
pub mod internet;
pub mod job;
pub mod memory_port;
pub mod namespace;
pub mod one_subnet;
pub mod probe_frame;
pub mod queries;
pub mod reconciler;
pub mod record;
pub mod services;
pub mod session;
pub mod userspace;
pub mod vm;
pub mod watch;
pub mod worker;
pub mod zones;

use std::fs::{File, TryLockError};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context;
use trinic_switch::Switch;
use trinic_wire::time::Instant;

use crate::protocol::{FromCard, PROTOCOL, ToCard};
use crate::state::StateDir;

use ena::Functions;
use job::Tools;
use reconciler::{Event, Reconciler};
use record::Records;
use services::Services;
use session::Outbox;
use vm::Volumes;
use watch::Watch;
use worker::{Handle, Message, Worker};

/// The id of the card's "internet", as an instance and as an interface.
pub const INTERNET: &str = "internet";

/// What the card is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where its socket, logs and instances are.
    pub state: StateDir,
    /// Whether the resolver forwards what it does not know to the host's resolver.
    pub uplink: bool,
    /// Whether devices refuse what real ones refuse, beyond what stock drivers need.
    pub strict: bool,
}

/// Runs the card until control tells it to end. Called in a process of its own, before any thread of it is
/// started, in its own session, with standard output and error going to the card's log.
///
/// # Errors
///
/// When the card cannot start; the error is its last line in the log.
pub fn main(options: Options) -> anyhow::Result<()> {
    abort_on_panic();
    raise_file_limit();
    let state = &options.state;
    std::fs::create_dir_all(state.card_dir()).context("Cannot make the card's directory")?;
    // Held until the process ends, however it ends.
    let _lock = lock(state)?;
    let records = Records::open(&state.card_dir()).context("Cannot open the card's directory")?;
    let functions = Functions::new(options.strict);
    let (backend, backend_reason) = backend::choose(state, &records, &functions)?;
    let (sender, events) = mpsc::channel();
    let is_successor = !records.instances().is_empty();
    let config = switch_config(records.secret()?, is_successor);
    let handle = start_worker(&options, records.secret()?, config, sender.clone())?;
    functions.set_worker(handle.clone());
    let ends = sender.clone();
    let watch = Watch::start(move |id, incarnation| {
        let _ = ends.send(Event::Ended(id, incarnation));
    })?;
    let tools = Arc::new(Tools {
        backend,
        functions,
        worker: handle.clone(),
        outbox: Outbox::default(),
        records,
        volumes: Volumes::new(&state.volumes_dir()),
        watch,
        incarnations: AtomicU64::new(1),
    });
    serve(state, &tools, backend_reason, &sender)?;
    std::fs::write(state.card_pid(), format!("{}\n", std::process::id()))?;
    tracing::info!(backend = ?tools.backend.kind(), "Card is up");
    let is_clear = Reconciler::new(tools.clone(), internet::spec(), (sender, events)).run()?;
    handle.send(Message::Stop)?;
    tools.backend.finish(is_clear);
    if is_clear {
        tools.records.clear();
    }
    for file in [state.card_socket(), state.card_pid()] {
        // Absent is as good as removed.
        let _ = std::fs::remove_file(file);
    }
    Ok(())
}

fn start_worker(
    options: &Options,
    seed: [u8; 32],
    config: trinic_switch::Config,
    events: mpsc::Sender<Event>,
) -> anyhow::Result<Handle> {
    let services = Services::new(options.uplink, seed).context("Cannot prepare the link-local services")?;
    let broken = Box::new(move |interface| {
        let _ = events.send(Event::Broken(interface));
    });
    let (worker, handle) = Worker::new(Switch::new(config), services, broken)?;
    std::thread::Builder::new().name("worker".into()).spawn(move || {
        if let Err(error) = worker.run() {
            tracing::error!(%error, "The datapath ended");
            std::process::abort();
        }
    })?;
    Ok(handle)
}

/// The hash tables of the switch are seeded, so that an instance cannot choose colliding flows.
///
/// A card that adopts instances finds connections under way that it does not know: it picks them up.
fn switch_config(seed: [u8; 32], is_successor: bool) -> trinic_switch::Config {
    let (first, _) = seed.split_at(8);
    trinic_switch::Config {
        hash_seed: first.iter().fold(0, |seed, byte| seed << 8 | u64::from(*byte)),
        pick_up_until: if is_successor {
            clock::now() + PICK_UP
        } else {
            Instant::ZERO
        },
        ..trinic_switch::Config::default()
    }
}

/// How long a card that took over picks up connections; senders try again within seconds. [assumed A-25]
const PICK_UP: Duration = Duration::from_secs(60);

/// Listens for control on a thread of its own.
fn serve(
    state: &StateDir,
    tools: &Arc<Tools>,
    backend_reason: Option<String>,
    events: &mpsc::Sender<Event>,
) -> anyhow::Result<()> {
    let listener = session::listen(&state.card_socket()).context("Cannot open the card's socket")?;
    let hello = {
        let tools = tools.clone();
        move || FromCard::Hello {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: PROTOCOL,
            backend: tools.backend.kind(),
            backend_reason: backend_reason.clone(),
            revision: tools
                .worker
                .visit(|visit| visit.switch.tables().revision)
                .unwrap_or_default(),
        }
    };
    let outbox = tools.outbox.clone();
    let handle = {
        let (tools, events) = (tools.clone(), events.clone());
        move |message| match message {
            ToCard::Ask { number, query } => queries::ask(&tools, &events, number, query),
            message => {
                // The reconciler is the last to end.
                let _ = events.send(Event::Control(message));
            }
        }
    };
    std::thread::Builder::new().name("accept".into()).spawn(move || {
        if let Err(error) = session::serve(&listener, &outbox, hello, handle) {
            tracing::error!(%error, "The card's socket failed; a new card must be started");
            std::process::abort();
        }
    })?;
    Ok(())
}

/// An instance costs a handful of descriptors, and the usual soft limit of 1,024 is made for `select`, which
/// the card does not use.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "The card may run out of descriptors with many instances");
    }
}

/// One card per state directory.
fn lock(state: &StateDir) -> anyhow::Result<File> {
    let path = state.card_dir().join("lock");
    let file = File::create(&path).with_context(|| format!("Cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            anyhow::bail!("Another card runs on {}", state.root().display())
        }
        Err(TryLockError::Error(error)) => Err(error).context("Cannot lock the card's directory"),
    }
}

/// A panic in one thread would leave half a card; the whole process ends, and its successor adopts.
fn abort_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(%panic, backtrace = %std::backtrace::Backtrace::force_capture(), "Panic");
        std::process::abort();
    }));
}
