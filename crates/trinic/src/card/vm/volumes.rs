//! Disks of virtual machines: the image's with a layer of the machine's own on it.
//!
//! A layer outlives its machine's stops, the card and `trinic down`; it goes when control says that the
//! instance is terminated. The image itself is only read, so it may not change while layers lie on it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The directory of layers, one file an instance.
#[derive(Debug, Clone)]
pub struct Volumes {
    root: PathBuf,
}

impl Volumes {
    /// The volumes in a directory, which need not be there yet.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// The disk of an instance; made at its first start.
    ///
    /// # Errors
    ///
    /// When the image is not in the qcow2 format, or the layer cannot be written.
    pub(super) fn open(&self, id: &str, base: &Path) -> anyhow::Result<PathBuf> {
        let layer = self.path(id);
        if !layer.exists() {
            fs::create_dir_all(&self.root).with_context(|| format!("Cannot make {}", self.root.display()))?;
            let bytes = layer_on(base, virtual_bytes(base)?)?;
            let next = layer.with_extension("new");
            File::create(&next)
                .and_then(|mut file| file.write_all(&bytes))
                .and_then(|()| fs::rename(&next, &layer))
                .with_context(|| format!("Cannot write {}", layer.display()))?;
        }
        Ok(layer)
    }

    /// Removes the disk of an instance, if it has one.
    pub fn remove(&self, id: &str) {
        if let Err(error) = fs::remove_file(self.path(id))
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(instance = id, %error, "The disk of a terminated instance remains");
        }
    }

    /// Removes the disks of all other instances.
    pub fn keep_only(&self, is_kept: impl Fn(&str) -> bool) {
        let Ok(entries) = fs::read_dir(&self.root) else {
            return;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if let Some(id) = path.file_stem().and_then(|name| name.to_str())
                && !is_kept(id)
            {
                self.remove(id);
            }
        }
    }

    fn path(&self, id: &str) -> PathBuf {
        self.root.join(format!("{id}.qcow2"))
    }
}

/// Size of the disk that an image holds, bytes.
fn virtual_bytes(base: &Path) -> anyhow::Result<u64> {
    let mut header = [0; 32];
    File::open(base)
        .and_then(|mut file| file.read_exact(&mut header))
        .with_context(|| format!("Cannot read the image {}", base.display()))?;
    let (magic, rest) = header.split_at(MAGIC.len());
    anyhow::ensure!(magic == MAGIC, "{} is not in the qcow2 format", base.display());
    let mut size = [0; 8];
    size.copy_from_slice(rest.get(20..28).unwrap_or(&[0; 8]));
    Ok(u64::from_be_bytes(size))
}

/// A qcow2 file of `size` bytes in which everything is still the base's.
///
/// Source: QEMU, docs/interop/qcow2.rst: header of version 3, its extensions, refcount table and block, L1 table.
fn layer_on(base: &Path, size: u64) -> anyhow::Result<Vec<u8>> {
    let base = base.as_os_str().as_bytes();
    anyhow::ensure!(
        base.len() <= BACKING_NAME_MAX,
        "The image's path is longer than {BACKING_NAME_MAX} bytes"
    );
    let entries = size.div_ceil(L1_ENTRY_BYTES);
    let l1_entries = u32::try_from(entries).context("The image's disk is too large")?;
    let l1_clusters = (entries * 8).div_ceil(CLUSTER_BYTES).max(1);
    let clusters = 3 + l1_clusters;
    anyhow::ensure!(clusters <= REFCOUNTS_OF_A_BLOCK, "The image's disk is too large");
    let length = usize::try_from(clusters * CLUSTER_BYTES)?;
    let name_at = HEADER_BYTES + FORMAT_EXTENSION_BYTES + 8;

    let mut file = Vec::with_capacity(length);
    file.extend(MAGIC);
    file.extend(3_u32.to_be_bytes());
    file.extend(u64::from(name_at).to_be_bytes());
    file.extend(u32::try_from(base.len())?.to_be_bytes());
    file.extend(CLUSTER_BITS.to_be_bytes());
    file.extend(size.to_be_bytes());
    file.extend(0_u32.to_be_bytes()); // not encrypted
    file.extend(l1_entries.to_be_bytes());
    file.extend((3 * CLUSTER_BYTES).to_be_bytes());
    file.extend(CLUSTER_BYTES.to_be_bytes()); // refcount table: the second cluster
    file.extend(1_u32.to_be_bytes());
    file.extend([0; 4 + 8]); // no snapshots
    file.extend([0; 3 * 8]); // no features
    file.extend(4_u32.to_be_bytes()); // refcounts of 16 bits
    file.extend(HEADER_BYTES.to_be_bytes());
    file.extend(FORMAT_EXTENSION.to_be_bytes());
    file.extend(5_u32.to_be_bytes());
    file.extend(b"qcow2\0\0\0");
    file.extend([0; 8]); // end of the extensions
    file.extend(base);
    file.resize(usize::try_from(CLUSTER_BYTES)?, 0);
    // The table's only block is the third cluster.
    file.extend((2 * CLUSTER_BYTES).to_be_bytes());
    file.resize(usize::try_from(2 * CLUSTER_BYTES)?, 0);
    for _ in 0..clusters {
        file.extend(1_u16.to_be_bytes());
    }
    file.resize(length, 0);
    Ok(file)
}

const MAGIC: [u8; 4] = *b"QFI\xfb";
const CLUSTER_BITS: u32 = 16;
const CLUSTER_BYTES: u64 = 1 << CLUSTER_BITS;
/// What one L1 entry maps: a cluster full of 8-byte entries, one a cluster.
const L1_ENTRY_BYTES: u64 = CLUSTER_BYTES / 8 * CLUSTER_BYTES;
const REFCOUNTS_OF_A_BLOCK: u64 = CLUSTER_BYTES / 2;
const HEADER_BYTES: u32 = 104;
/// Type of the extension that names the base's format.
const FORMAT_EXTENSION: u32 = 0xe279_2aca;
const FORMAT_EXTENSION_BYTES: u32 = 8 + 8;
const BACKING_NAME_MAX: usize = 1023;

#[cfg(test)]
mod tests {
    use super::*;

    fn image(folder: &Path, size: u64) -> PathBuf {
        let path = folder.join("base.qcow2");
        let mut bytes = vec![0; 104];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[24..32].copy_from_slice(&size.to_be_bytes());
        fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn a_layer_has_the_images_size_and_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let base = image(folder.path(), 10 << 30);
        let volumes = Volumes::new(&folder.path().join("volumes"));
        let layer = volumes.open("i-1", &base).unwrap();
        assert_eq!(virtual_bytes(&layer).unwrap(), 10 << 30);
        let bytes = fs::read(&layer).unwrap();
        let name = base.as_os_str().as_bytes();
        assert!(bytes.windows(name.len()).any(|window| window == name));
        assert_eq!(bytes.len(), 4 << 16);
    }

    #[test]
    fn a_layer_stays_until_its_instance_is_terminated() {
        let folder = tempfile::tempdir().unwrap();
        let base = image(folder.path(), 1 << 20);
        let volumes = Volumes::new(&folder.path().join("volumes"));
        let first = volumes.open("i-1", &base).unwrap();
        fs::write(&first, "written").unwrap();
        assert_eq!(volumes.open("i-1", &base).unwrap(), first);
        assert_eq!(fs::read(&first).unwrap(), b"written");
        let second = volumes.open("i-2", &base).unwrap();
        volumes.keep_only(|id| id == "i-1");
        assert!(first.exists() && !second.exists());
        volumes.remove("i-1");
        volumes.remove("i-1");
        assert!(!first.exists());
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let volumes = Volumes::new(&folder.path().join("volumes"));
        let path = folder.path().join("raw");
        fs::write(&path, vec![0; 4096]).unwrap();
        assert!(volumes.open("i-1", &path).is_err());
        let huge = image(folder.path(), u64::MAX);
        assert!(volumes.open("i-1", &huge).is_err());
        assert!(!folder.path().join("volumes/i-1.qcow2").exists());
    }
}
