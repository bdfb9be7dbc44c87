//! The parts of a BAR that a client maps: a memfd that both sides have in their memory.

use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{MemfdFlags, SealFlags};
use trinic_pci::{BarSpec, SharedMemory};

use crate::error::{Result, Step};
use crate::sys::{Faults, Mapping};

/// One BAR with mapped parts. Clones reach the same words.
///
/// The file is sealed against shrinking and growing and is never given to a second client: one that has left
/// keeps its mapping, but of a file that nobody reads any more. While a client stays, a reset leaves the words as
/// they are: the function zeroes what its reset says.
#[derive(Debug, Clone)]
pub struct SharedBar(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bar: u8,
    size_bytes: u64,
    mapped: Vec<Range<u64>>,
    mapping: Mapping,
    file: Mutex<OwnedFd>,
}

impl SharedBar {
    /// The mapped parts of a BAR, zeroed.
    ///
    /// # Errors
    ///
    /// When the BAR has no mapped part or one that is not of whole pages inside it, or there is no memory.
    pub fn new(spec: &BarSpec) -> Result<Self> {
        let legal = |part: &Range<u64>| {
            let whole = part.start.is_multiple_of(PAGE_BYTES) && part.end.is_multiple_of(PAGE_BYTES);
            whole && part.start < part.end && part.end <= spec.size_bytes
        };
        if spec.mapped.is_empty() || !spec.mapped.iter().all(legal) {
            let what = format!("BAR {} has no mapped parts of whole pages", spec.index);
            return Err(crate::Error::Invalid(what));
        }
        let what = || format!("make the memory of BAR {}", spec.index);
        let file = new_file(spec.size_bytes).step(what)?;
        let length = usize::try_from(spec.size_bytes)
            .map_err(std::io::Error::other)
            .step(what)?;
        let faults = Faults::new().step(what)?;
        let mapping = Mapping::new(file.as_fd(), 0, length, true, PAGE_BYTES, &faults).step(what)?;
        Ok(Self(Arc::new(Inner {
            bar: spec.index,
            size_bytes: spec.size_bytes,
            mapped: spec.mapped.clone(),
            mapping,
            file: Mutex::new(file),
        })))
    }

    /// Which BAR it is.
    #[must_use]
    pub fn bar(&self) -> u8 {
        self.0.bar
    }

    /// Writes bytes; those outside the mapped parts are ignored.
    pub fn write(&self, offset: u64, from: &[u8]) {
        if self.holds(offset, from.len()) {
            let _ = self.0.mapping.write(offset, from);
        }
    }

    /// Zeroes the words, and takes them away from the client that had them.
    ///
    /// # Errors
    ///
    /// When there is no memory; the words are the old ones then.
    pub fn renew(&self) -> Result<()> {
        let what = || format!("renew the memory of BAR {}", self.0.bar);
        let file = new_file(self.0.size_bytes).step(what)?;
        self.0.mapping.exchange(file.as_fd()).step(what)?;
        *self.0.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
        Ok(())
    }

    /// The parts that a client maps.
    pub(super) fn mapped(&self) -> &[Range<u64>] {
        &self.0.mapped
    }

    /// The file, for a client: offset 0 is the BAR's.
    pub(super) fn file(&self) -> std::io::Result<OwnedFd> {
        self.0
            .file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .try_clone()
    }

    /// Whether a range is inside one mapped part.
    #[inline]
    pub(super) fn holds(&self, offset: u64, length: usize) -> bool {
        u64::try_from(length).is_ok_and(|length| {
            self.0
                .mapped
                .iter()
                .any(|part| part.contains(&offset) && length <= part.end - offset)
        })
    }
}

impl SharedMemory for SharedBar {
    #[inline]
    fn load_u32(&self, offset: u64) -> u32 {
        let word = self
            .holds(offset, 4)
            .then(|| self.0.mapping.load_u32(offset))
            .flatten();
        word.map_or(u32::MAX, u32::from_le)
    }

    #[inline]
    fn store_u32(&self, offset: u64, value: u32) {
        if self.holds(offset, 4) {
            let _ = self.0.mapping.store_u32(offset, value.to_le());
        }
    }

    #[inline]
    fn take_u32(&self, offset: u64) -> u32 {
        let word = self
            .holds(offset, 4)
            .then(|| self.0.mapping.swap_u32(offset, 0))
            .flatten();
        word.map_or(u32::MAX, u32::from_le)
    }

    #[inline]
    fn read(&self, offset: u64, into: &mut [u8]) {
        if !self.holds(offset, into.len()) || !self.0.mapping.read(offset, into) {
            into.fill(u8::MAX);
        }
    }
}

fn new_file(size_bytes: u64) -> std::io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create("trinic-bar", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::ftruncate(&file, size_bytes)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file)
}

/// Pages as clients map them.
const PAGE_BYTES: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(mapped: Vec<Range<u64>>) -> BarSpec {
        BarSpec {
            index: 2,
            size_bytes: 0x4000,
            is_64bit: true,
            is_prefetchable: true,
            mapped,
        }
    }

    fn one(part: Range<u64>) -> Vec<Range<u64>> {
        std::iter::once(part).collect()
    }

    #[test]
    fn words_outside_the_mapped_parts_are_ones() {
        let bar = SharedBar::new(&spec(vec![0x1000..0x2000, 0x3000..0x4000])).unwrap();
        bar.store_u32(0x1ffc, 7);
        bar.store_u32(0x2000, 7);
        bar.store_u32(0x3000, 9);
        bar.store_u32(0x3002, 9);
        let words = [0, 0xffc, 0x1ffc, 0x2000, 0x3000, 0x3002, 0x4000, u64::MAX];
        let seen = words.map(|offset| bar.load_u32(offset));
        let ones = u32::MAX;
        assert_eq!(seen, [ones, ones, 7, ones, 9, ones, ones, ones]);
        assert_eq!((bar.take_u32(0x1ffc), bar.load_u32(0x1ffc)), (7, 0));
        let mut bytes = [0; 8];
        bar.read(0x1ffc, &mut bytes);
        assert_eq!(bytes, [0xff; 8]);
        bar.write(0x3001, &[1, 2]);
        bar.read(0x3000, &mut bytes);
        assert_eq!(bytes, [9, 1, 2, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn renewing_takes_the_words_from_who_had_them() {
        let bar = SharedBar::new(&spec(one(0..0x4000))).unwrap();
        let old = bar.file().unwrap();
        rustix::io::pwrite(&old, &[5; 4], 0).unwrap();
        assert_eq!(bar.load_u32(0), 0x0505_0505);
        assert!(rustix::fs::ftruncate(&old, 0).is_err() && rustix::fs::ftruncate(&old, 0x8000).is_err());
        bar.renew().unwrap();
        rustix::io::pwrite(&old, &[6; 4], 0).unwrap();
        assert_eq!(bar.load_u32(0), 0);
        rustix::io::pwrite(bar.file().unwrap(), &[7; 4], 0).unwrap();
        assert_eq!(bar.load_u32(0), 0x0707_0707);
    }

    #[test]
    fn parts_are_whole_pages_inside() {
        for mapped in [vec![], one(0..0x800), one(0x1000..0x1000), one(0x3000..0x5000)] {
            assert!(SharedBar::new(&spec(mapped)).is_err());
        }
    }
}
