//! What the card keeps on disk so that the next card process can go on: the last desired state, and one
//! record per instance that is there.
//!
//! Files are replaced whole (written beside, then renamed), so a card that is killed at any moment leaves
//! either the old or the new one. They are for a card that dies, not for a machine that does: a record of
//! another boot is never adopted.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use trinic_host::probe::Probe;
use trinic_switch::tables::{Id, Tables};

use crate::protocol::{InstanceSpec, InterfaceSpec};

/// What control wants, as of the last update.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Desired {
    /// The packet tables.
    pub tables: Tables,
    /// Every instance that should exist.
    pub instances: BTreeMap<Id, Arc<InstanceSpec>>,
}

/// One instance that was there when its record was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What it was made from.
    pub spec: InstanceSpec,
    /// Its interfaces as configured.
    pub interfaces: BTreeMap<Id, InterfaceSpec>,
    /// The boot that it belongs to.
    pub boot_id: String,
    /// What the backend needs to find it again.
    pub backend: serde_json::Value,
}

/// What the host allows, as found out in one boot.
#[derive(Debug, Serialize, Deserialize)]
struct Findings {
    boot_id: String,
    probe: Probe,
}

/// The card's directory.
#[derive(Debug, Clone)]
pub struct Records {
    root: PathBuf,
    boot_id: String,
}

impl Records {
    /// Opens the directory, making it if need be.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root.join("instances"))?;
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Ok(Self {
            root: root.to_path_buf(),
            boot_id: boot_id.trim().to_owned(),
        })
    }

    /// A secret of this card that outlives the process: session tokens of the metadata service stay valid.
    ///
    /// # Errors
    ///
    /// When it cannot be kept.
    pub fn secret(&self) -> io::Result<[u8; 32]> {
        let path = self.root.join("secret");
        if let Ok(bytes) = fs::read(&path)
            && let Ok(secret) = bytes.try_into()
        {
            return Ok(secret);
        }
        let mut secret = [0; 32];
        rustix::rand::getrandom(&mut secret, rustix::rand::GetRandomFlags::empty())?;
        let next = path.with_extension("new");
        fs::write(&next, secret)?;
        fs::rename(next, path)?;
        Ok(secret)
    }

    /// What an earlier card of this boot found out about the host.
    pub fn probe(&self) -> Option<Probe> {
        let found: Findings = read(&self.root.join("host.json"))?;
        (found.boot_id == self.boot_id).then_some(found.probe)
    }

    /// Keeps what was found out about the host.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub fn keep_probe(&self, probe: &Probe) -> io::Result<()> {
        let found = Findings {
            boot_id: self.boot_id.clone(),
            probe: probe.clone(),
        };
        replace(&self.root.join("host.json"), &found)
    }

    /// The last desired state; the empty one when there is none or its file is not understood.
    pub fn desired(&self) -> Desired {
        read(&self.root.join("desired.json")).unwrap_or_default()
    }

    /// Keeps the desired state.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub fn keep_desired(&self, desired: &Desired) -> io::Result<()> {
        replace(&self.root.join("desired.json"), desired)
    }

    /// Every instance of this boot with a record, and the records of others (which are only swept).
    pub fn instances(&self) -> Vec<Record> {
        let Ok(entries) = fs::read_dir(self.root.join("instances")) else {
            return Vec::new();
        };
        entries
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|e| e == "json"))
            .filter_map(|entry| read::<Record>(&entry.path()))
            .collect()
    }

    /// Whether a record is of this boot.
    pub fn is_of_this_boot(&self, record: &Record) -> bool {
        record.boot_id == self.boot_id
    }

    /// Keeps the record of an instance.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub fn keep(
        &self,
        spec: &InstanceSpec,
        interfaces: &BTreeMap<Id, InterfaceSpec>,
        backend: serde_json::Value,
    ) -> io::Result<()> {
        let record = Record {
            spec: spec.clone(),
            interfaces: interfaces.clone(),
            boot_id: self.boot_id.clone(),
            backend,
        };
        replace(&self.path(&spec.id)?, &record)
    }

    /// Forgets an instance.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub fn forget(&self, id: &str) -> io::Result<()> {
        match fs::remove_file(self.path(id)?) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes everything, at the end of a card that leaves nothing.
    pub fn clear(&self) {
        // What is absent is as good as removed; the next start overwrites what stays.
        let _ = fs::remove_dir_all(&self.root);
    }

    /// Ids become file names, so only those of AWS's form are taken.
    fn path(&self, id: &str) -> io::Result<PathBuf> {
        let fits = (1..=64).contains(&id.len())
            && id
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !fits {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{id:?} is no instance id"),
            ));
        }
        Ok(self.root.join("instances").join(format!("{id}.json")))
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    let bytes = fs::read(path).ok()?;
    match serde_json::from_slice(&bytes) {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "File of an earlier card is not understood");
            None
        }
    }
}

fn replace(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let next = path.with_extension("new");
    fs::write(&next, serde_json::to_vec(value)?)?;
    fs::rename(next, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_are_paths_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(dir.path()).unwrap();
        for id in ["", "../x", "i-A", "a/b", &"i".repeat(65)] {
            assert!(records.path(id).is_err(), "{id}");
        }
        assert!(records.path("i-0123456789abcdef0").is_ok());
    }

    /// A card that is started after an upgrade finds what the one of before kept; a file that it did not
    /// understand would leave its instances without an owner.
    #[test]
    fn files_of_an_earlier_program_are_understood() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/state-1/card");
        let records = Records::open(&folder).unwrap();
        let desired = records.desired();
        assert_eq!(desired.tables.revision.0, 14);
        let instances: Vec<&str> = desired.instances.keys().map(|id| &**id).collect();
        assert_eq!(instances, ["i-69c7f5da7b75fd074"]);
        let mut found = records.instances();
        found.sort_by(|a, b| a.spec.id.cmp(&b.spec.id));
        let [instance, internet] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!(&*internet.spec.id, "internet");
        assert_eq!(&instance.spec, &*desired.instances["i-69c7f5da7b75fd074"]);
        assert!(instance.interfaces.contains_key("eni-f91c7e32add47a297"));
    }

    #[test]
    fn a_broken_file_is_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(dir.path()).unwrap();
        fs::write(dir.path().join("desired.json"), b"{").unwrap();
        fs::write(dir.path().join("instances/i-1.json"), b"[]").unwrap();
        assert_eq!(records.desired(), Desired::default());
        assert!(records.instances().is_empty());
        records.forget("i-2").unwrap();
    }
}
