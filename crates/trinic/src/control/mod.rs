//! The control process: the EC2 API, the model and its store, and the card's supervisor.
//!
//! ```text
//!   HTTP (api) ----> engine ----> store (durable, then the reply)
//!   admin socket -->   |
//!                      +--------> link ----> card process
//!                      ^             |
//!                      +-- reports --+
//! ```
//!
//! [`engine`] is one thread and the only one that changes state; everything else is tokio tasks that wait for
//! it, for the card ([`link`], [`receipt`]) or for clients ([`api`], [`admin`]). Ending control leaves the card alone unless
//! it is asked to end, too; a new control on the same directory finds the card and sends it a snapshot.

pub mod admin;
pub mod api;
pub mod card_process;
pub mod engine;
pub mod external;
pub mod images;
pub mod link;
pub mod list;
pub mod receipt;
pub mod spec;
pub mod storage;
pub mod touch;

#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use anyhow::{Context, bail};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use trinic_store::{MemoryStore, RedbStore, Store, StoreError};
use trinic_vpc::Policing;
use trinic_vpc::quota::Quotas;

use crate::state::{Endpoint, StateDir};
use admin::Admin;
use card_process::CardProcess;
use engine::{Engine, Rules};
use link::{CardStatus, Link};

/// What control is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where its files are.
    pub state: StateDir,
    /// Where the API listens; a loopback address.
    pub listen: SocketAddr,
    /// Keeps the state in memory.
    pub ephemeral: bool,
    /// Refuses image ids that nobody registered.
    pub strict_images: bool,
    /// Holds accounts to the quotas of a new AWS account.
    pub new_account_quotas: bool,
    /// Lets names and packets out to the host's network.
    pub uplink: bool,
    /// Devices refuse what real ones refuse.
    pub strict: bool,
    /// Whose interfaces are held to their instance type's allowances.
    pub policing: Policing,
}

/// What control says when it is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Where the API listens.
    pub endpoint: Endpoint,
    /// The card.
    pub card: CardStatus,
}

/// Runs control until a signal or `trinic down` ends it. `ready` is called once, when calls are served.
///
/// # Errors
///
/// When it cannot start: another control has the directory, the address is taken, the store is newer.
pub async fn run(options: Options, ready: impl FnOnce(&Ready)) -> anyhow::Result<()> {
    options.state.prepare()?;
    let _lock = lock(&options.state)?;
    let store = open_store(&options)?;
    let listener = listen(options.listen).await?;
    let endpoint = Endpoint {
        url: format!("http://{}", listener.local_addr()?),
        pid: std::process::id(),
    };
    let admin_listener = admin::listen(&options.state).context("Cannot open the admin socket")?;
    let mut signals = Signals::new()?;
    let rules = Rules {
        strict_images: options.strict_images,
        quotas: if options.new_account_quotas {
            Quotas::NEW_ACCOUNT
        } else {
            Quotas::RAISED
        },
        policing: options.policing,
    };
    let engine = Engine::start(store, StdRng::from_rng(&mut rand::rng()), rules)?;
    let process = CardProcess::new(options.state.clone(), options.uplink, options.strict);
    let link = Link::start(engine.clone(), process);
    let (end, mut ended) = mpsc::channel(1);
    let admin = Admin {
        engine: engine.clone(),
        link: link.clone(),
        endpoint: endpoint.clone(),
        ephemeral: options.ephemeral,
        end,
    };
    tokio::spawn(admin::serve(admin_listener, admin));
    tokio::spawn(api::serve(listener, engine.clone(), link.clone()));
    tokio::spawn(expire(engine));
    options
        .state
        .write_endpoint(&endpoint)
        .context("Cannot write the endpoint's file")?;
    let card = link.first_status(CARD_PATIENCE).await;
    ready(&Ready { endpoint, card });
    tokio::select! {
        () = signals.recv() => {
            tracing::info!("Ending, with the card and its instances");
            if !link.shut_down(true, END_LIMIT).await {
                tracing::error!("The card did not end in time; `trinic up` finds it again");
            }
        }
        _ = ended.recv() => tracing::info!("Ending, as asked"),
    }
    // The admin connection that asked is still to get its answer.
    tokio::time::sleep(LAST_WORDS).await;
    options.state.remove_endpoint();
    // Absent is as good as removed.
    let _ = std::fs::remove_file(options.state.control_socket());
    Ok(())
}

/// SIGINT, SIGTERM, and SIGHUP of a closed terminal.
struct Signals {
    hangup: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn recv(&mut self) {
        tokio::select! {
            _ = self.hangup.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Takes the lock that makes this the one control of the directory.
fn lock(state: &StateDir) -> anyhow::Result<File> {
    let path = state.control_lock();
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("Cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder)?;
            bail!(
                "trinic is up already for {} (process {}); end it with `trinic down`, or choose another directory with --state",
                state.root().display(),
                holder.trim()
            );
        }
        Err(TryLockError::Error(error)) => return Err(error).context("Cannot lock the state directory"),
    }
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
}

fn open_store(options: &Options) -> anyhow::Result<Box<dyn Store>> {
    if options.ephemeral {
        return Ok(Box::new(MemoryStore::new()));
    }
    let path = options.state.store();
    match RedbStore::open(&path) {
        Ok(store) => Ok(Box::new(store)),
        Err(error @ StoreError::Database(_)) => Err(error).with_context(|| {
            format!(
                "Cannot read {}; to start without what it has, move it away",
                path.display()
            )
        }),
        Err(error) => Err(error.into()),
    }
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    if !address.ip().is_loopback() {
        bail!(
            "{address} is not a loopback address; any key is accepted here, so the API stays on this machine"
        );
    }
    TcpListener::bind(address).await.with_context(|| {
        format!(
            "Cannot listen on {address}; another program may have it: choose another address with --listen"
        )
    })
}

/// Forgets terminated instances, now and then.
async fn expire(engine: Engine) {
    while engine.expire().await.is_ok() {
        tokio::time::sleep(EXPIRE_EVERY).await;
    }
}

/// How long the ready line waits for the card; calls are served before.
const CARD_PATIENCE: Duration = Duration::from_secs(10);
const END_LIMIT: Duration = Duration::from_secs(30);
const LAST_WORDS: Duration = Duration::from_millis(20);
const EXPIRE_EVERY: Duration = Duration::from_secs(30);
