//! The model in the store: one row a resource, one transaction a batch of calls.

use std::ops::ControlFlow;

use anyhow::Context;
use trinic_store::{Revision, Store, Transaction};
use trinic_vpc::Model;
use trinic_vpc::ids::{InstanceId, ResourceId};
use trinic_vpc::resource::Event;

use super::external::{Externals, Place};

/// What control keeps in memory, as of the last commit.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The model.
    pub model: Model,
    /// Namespaces of external instances.
    pub externals: Externals,
    /// The last commit.
    pub revision: Revision,
}

/// Adds an event to a transaction.
///
/// # Errors
///
/// When the resource has no JSON form.
pub fn write(transaction: &mut Transaction, event: &Event) -> anyhow::Result<()> {
    let key = event.key().to_string();
    match event {
        Event::Put(..) => transaction.put(RESOURCES, key, serde_json::to_vec(event)?),
        Event::Delete(_) => transaction.delete(RESOURCES, key),
    };
    Ok(())
}

/// Adds the namespace of an external instance to a transaction.
pub fn write_external(transaction: &mut Transaction, id: InstanceId, place: &Place) {
    transaction.put(EXTERNALS, id.to_string(), place.text().as_bytes());
}

/// Adds the end of an external instance to a transaction.
pub fn delete_external(transaction: &mut Transaction, id: InstanceId) {
    transaction.delete(EXTERNALS, id.to_string());
}

/// Reads everything.
///
/// # Errors
///
/// When the store fails or a row is not understood: then nothing is served, rather than a part.
pub fn load(store: &dyn Store) -> anyhow::Result<Loaded> {
    let snapshot = store.snapshot().context("Cannot read the store")?;
    let mut loaded = Loaded {
        revision: snapshot.revision(),
        ..Loaded::default()
    };
    let mut failed = None;
    snapshot.scan(
        RESOURCES,
        "",
        &mut |key, value| match serde_json::from_slice::<Event>(value) {
            Ok(event) => {
                loaded.model.apply(&event);
                ControlFlow::Continue(())
            }
            Err(error) => {
                failed = Some(
                    anyhow::Error::new(error).context(format!("Row {key} of the store is not understood")),
                );
                ControlFlow::Break(())
            }
        },
    )?;
    snapshot.scan(
        EXTERNALS,
        "",
        &mut |key, value| match (InstanceId::parse(key), std::str::from_utf8(value)) {
            (Ok(id), Ok(place)) => {
                loaded.externals.insert(id, Place::parse(place));
                ControlFlow::Continue(())
            }
            _ => {
                failed = Some(anyhow::anyhow!("Row {key} of the store is not understood"));
                ControlFlow::Break(())
            }
        },
    )?;
    failed.map_or(Ok(loaded), Err)
}

const RESOURCES: &str = "resources";
const EXTERNALS: &str = "externals";
