//! A client's memory as a device reaches it: files mapped by bus address.
//!
//! The server of a function maps and unmaps; the threads of the device read and write. Readers never wait: the
//! map is immutable and replaced as a whole, and each handle remembers the region that it hit last, so that an
//! access costs one load of the map's number, one comparison and the copy. A handle belongs to one thread at a
//! time; clone it for another.
//!
//! Taking memory away has two steps ([`Unmapped`]). After the first no access finds it by its address. After the
//! second the client's file is let go of, whoever still holds a [`Window`] or a handle that was not used since:
//! they reach anonymous memory that nobody else sees. So a client's unmapping is final whatever the device does.
//!
//! A client that cuts its file off (truncates a memfd, a hugetlbfs file or a plain one) makes accesses fault;
//! the fault is caught, [`GuestMemory::is_faulted`] says so, and the function's server closes the client.
//!
//! [`OwnMemory`] is the same memory on the side of a driver in user space.

mod map;
mod own;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use trinic_pci::{DmaFault, Intent, Memory};

use crate::sys::Faults;
use map::{Map, Region};

pub use own::OwnMemory;

/// Most maps and bytes that a client may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maps at a time.
    pub maps: usize,
    /// Bytes of all maps together.
    pub bytes: u64,
}

impl Default for Limits {
    /// 1,024 maps of together 1 TiB. A guest of QEMU was seen to have some twenty.
    fn default() -> Self {
        Self {
            maps: 1024,
            bytes: 1 << 40,
        }
    }
}

/// What a device may do with a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// It may read.
    pub read: bool,
    /// It may write.
    pub write: bool,
}

impl Access {
    /// Reading and writing.
    pub const BOTH: Self = Self {
        read: true,
        write: true,
    };
    /// Reading only.
    pub const READ: Self = Self {
        read: true,
        write: false,
    };
}

/// Why memory was not mapped or unmapped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// Address, size or offset are not multiples of 4 KiB, the size is zero, or the range wraps.
    #[error("{size} bytes at {address:#x} (offset {offset:#x}) are not whole pages")]
    Unaligned {
        /// Bus address.
        address: u64,
        /// Bytes.
        size: u64,
        /// Offset in the file.
        offset: u64,
    },
    /// Part of the range is mapped already.
    #[error("{0:#x} is mapped already")]
    Overlap(u64),
    /// The client has as many maps as it may.
    #[error("More than {0} maps")]
    TooMany(usize),
    /// The client has mapped as many bytes as it may.
    #[error("More than {0} bytes mapped")]
    TooLarge(u64),
    /// The file ends before the map does.
    #[error("The file has {file} bytes and the map ends at {end}")]
    BeyondFile {
        /// Bytes of the file.
        file: u64,
        /// Where the map ends.
        end: u64,
    },
    /// What was given is not a file of memory or of a local disk: accesses could wait for the client.
    #[error("A file of type {0:#x} cannot be guest memory")]
    FileType(u64),
    /// The range to be unmapped ends within the map at this address.
    #[error("The map at {0:#x} goes only as a whole")]
    Split(u64),
    /// The range to be unmapped is empty, or wraps.
    #[error("{size} bytes at {address:#x} are no range")]
    Range {
        /// Bus address.
        address: u64,
        /// Bytes.
        size: u64,
    },
    /// The kernel refused.
    #[error("The kernel does not map it")]
    Os(#[from] std::io::Error),
}

/// A client's memory. See the module.
pub struct GuestMemory {
    shared: Arc<Shared>,
    last: RefCell<Last>,
}

/// The region that a handle hit last, and the number of the map that it came from.
#[derive(Debug, Default)]
struct Last {
    generation: u64,
    region: Option<Arc<Region>>,
}

#[derive(Debug)]
struct Shared {
    /// Changes after the map has changed.
    generation: AtomicU64,
    map: ArcSwap<Map>,
    /// One changes the map at a time.
    changing: Mutex<()>,
    limits: Limits,
    faults: Arc<Faults>,
}

impl GuestMemory {
    /// Nothing mapped.
    ///
    /// # Errors
    ///
    /// When the kernel has no descriptor left.
    pub fn new(limits: Limits) -> crate::Result<Self> {
        use crate::error::Step;
        let faults = Faults::new().step(|| "make an event descriptor".into())?;
        let shared = Shared {
            generation: AtomicU64::new(1),
            map: ArcSwap::from_pointee(Map::default()),
            changing: Mutex::new(()),
            limits,
            faults,
        };
        Ok(Self {
            shared: Arc::new(shared),
            last: RefCell::default(),
        })
    }

    /// The limits it was made with.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.shared.limits
    }

    /// Maps `size` bytes at bus address `address`: those at `offset` of a file, or without one nothing that can
    /// be reached (a client announces its own device registers and ROMs so, and unmaps them).
    ///
    /// # Errors
    ///
    /// As [`MapError`] says; nothing is mapped then.
    pub fn map(
        &self,
        address: u64,
        size: u64,
        file: Option<BorrowedFd<'_>>,
        offset: u64,
        access: Access,
    ) -> Result<(), MapError> {
        let _alone = self.lock();
        let map = self.shared.map.load_full();
        map.check(address, size, offset, self.shared.limits)?;
        let region = match file {
            Some(file) => Region::of_file(address, size, file, offset, access, &self.shared.faults)?,
            None => Region::without_memory(address, size),
        };
        self.publish(map.with(region));
        Ok(())
    }

    /// Takes the maps of a range away, if there are any: no access finds them from now on. With an emulated IOMMU
    /// QEMU so empties an address space, of which it does not say what is in it.
    ///
    /// Source: `VFIO_IOMMU_UNMAP_DMA`, [linux/vfio.h]: a range may hold several maps or none, and may split none.
    ///
    /// # Errors
    ///
    /// When a map is only partly in the range; nothing is taken away then.
    pub fn unmap(&self, address: u64, size: u64) -> Result<Unmapped, MapError> {
        let _alone = self.lock();
        let map = self.shared.map.load_full();
        let (map, regions) = map.without(address, size)?;
        if !regions.is_empty() {
            self.publish(map);
        }
        Ok(Unmapped { regions })
    }

    /// Takes every map away.
    pub fn clear(&self) -> Unmapped {
        let _alone = self.lock();
        let regions = self.shared.map.load_full().all();
        self.publish(Map::default());
        Unmapped { regions }
    }

    /// How many maps there are, and their bytes.
    #[must_use]
    pub fn size(&self) -> (usize, u64) {
        self.shared.map.load().size()
    }

    /// Whether a client has cut off a file that it had shared.
    #[inline]
    #[must_use]
    pub fn is_faulted(&self) -> bool {
        self.shared.faults.is_faulted()
    }

    /// Readable after a fault, until [`Self::forget_faults`].
    #[must_use]
    pub fn fault_event(&self) -> BorrowedFd<'_> {
        self.shared.faults.event()
    }

    /// After the client that caused them is gone and its memory is cleared.
    pub fn forget_faults(&self) {
        self.shared.faults.clear();
    }

    /// A part of the memory to be reached without looking it up again: `None` when it is not mapped, or by more
    /// than one map. Drop it when the function is told that memory has changed.
    #[must_use]
    pub fn resolve(&self, address: u64, length: usize) -> Option<Window> {
        let region = self.find(address)?;
        let at = address - region.base();
        let length = u64::try_from(length).ok()?;
        (region.mapping().is_some() && length <= region.size() - at).then_some(Window { region, at, length })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ()> {
        self.shared
            .changing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The number changes after the map: who still sees the old number and finds the new map looks again.
    fn publish(&self, map: Map) {
        self.shared.map.store(Arc::new(map));
        self.shared.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Does `act` with the region that was hit last, if that is of the current map; `false` when it is not, or
    /// `act` found that the range is not in it.
    #[inline]
    fn try_last(&self, act: impl FnOnce(&Region) -> bool) -> bool {
        let generation = self.shared.generation.load(Ordering::Acquire);
        let Ok(last) = self.last.try_borrow() else {
            return false;
        };
        if last.generation != generation {
            return false;
        }
        last.region.as_deref().is_some_and(act)
    }

    /// Looks the region up that holds an address, and remembers it.
    #[cold]
    fn find(&self, address: u64) -> Option<Arc<Region>> {
        let generation = self.shared.generation.load(Ordering::Acquire);
        let region = self.shared.map.load().find(address).map(Arc::clone);
        // An access that is copying between two maps of this handle holds the other one; then the next looks
        // it up again.
        if let Ok(mut last) = self.last.try_borrow_mut() {
            *last = Last {
                generation,
                region: region.clone(),
            };
        }
        region
    }

    /// Does `act` for each map that the range touches, with the address in it and the part of the range.
    #[cold]
    fn pieces(
        &self,
        address: u64,
        length: usize,
        mut act: impl FnMut(&Region, u64, std::ops::Range<usize>) -> bool,
    ) -> Result<(), DmaFault> {
        let fault = DmaFault { address, length };
        let mut done = 0;
        while done < length {
            let at = u64::try_from(done)
                .ok()
                .and_then(|done| address.checked_add(done));
            let at = at.ok_or(fault)?;
            let region = self.find(at).ok_or(fault)?;
            let part = region.bytes_from(at).min(length - done);
            if !act(&region, at, done..done + part) {
                return Err(fault);
            }
            done += part;
        }
        Ok(())
    }

    /// A word is in one map or nowhere.
    #[cold]
    fn word(&self, address: u64, length: usize, act: impl FnOnce(&Region) -> bool) -> Result<(), DmaFault> {
        match self.find(address) {
            Some(region) if act(&region) => Ok(()),
            _ => Err(DmaFault { address, length }),
        }
    }
}

impl Memory for GuestMemory {
    #[inline]
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), DmaFault> {
        if self.try_last(|region| region.read(address, into)) {
            return Ok(());
        }
        self.pieces(address, into.len(), |region, at, part| {
            region.read(at, &mut into[part])
        })
    }

    #[inline]
    fn write(&self, address: u64, from: &[u8]) -> Result<(), DmaFault> {
        if self.try_last(|region| region.write(address, from)) {
            return Ok(());
        }
        self.pieces(address, from.len(), |region, at, part| {
            region.write(at, &from[part])
        })
    }

    #[inline]
    fn load_u32(&self, address: u64) -> Result<u32, DmaFault> {
        let mut value = 0;
        let mut load = |region: &Region| region.load_u32(address).map(|word| value = word).is_some();
        if !self.try_last(&mut load) {
            self.word(address, 4, load)?;
        }
        Ok(value)
    }

    #[inline]
    fn store_u32(&self, address: u64, value: u32) -> Result<(), DmaFault> {
        if self.try_last(|region| region.store_u32(address, value)) {
            return Ok(());
        }
        self.word(address, 4, |region| region.store_u32(address, value))
    }

    #[inline]
    fn store_u16(&self, address: u64, value: u16) -> Result<(), DmaFault> {
        if self.try_last(|region| region.store_u16(address, value)) {
            return Ok(());
        }
        self.word(address, 2, |region| region.store_u16(address, value))
    }

    /// Only in the map that was hit last: to look another one up would cost more than the hint is worth.
    #[inline]
    fn prefetch(&self, addresses: impl Iterator<Item = u64>, intent: Intent) {
        self.try_last(|region| {
            region.prefetch(addresses, intent);
            true
        });
    }

    #[inline]
    fn copy_to(&self, from: u64, other: &Self, at: u64, length: usize) -> Result<(), DmaFault> {
        if self.try_last(|source| other.try_last(|target| source.copy(from, target, at, length))) {
            return Ok(());
        }
        self.pieces(from, length, |source, from, part| {
            let start = u64::try_from(part.start)
                .ok()
                .and_then(|start| at.checked_add(start));
            let Some(start) = start else { return false };
            let copied = other.pieces(start, part.len(), |target, at, inner| {
                u64::try_from(inner.start).is_ok_and(|skip| source.copy(from + skip, target, at, inner.len()))
            });
            copied.is_ok()
        })
        .map_err(|fault| other.blame(at, length).unwrap_or(fault))
    }
}

impl GuestMemory {
    /// The fault of a copy's target, if it is not wholly writable.
    fn blame(&self, address: u64, length: usize) -> Option<DmaFault> {
        self.pieces(address, length, |region, _, _| region.is_writable())
            .err()
    }
}

impl Clone for GuestMemory {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            last: RefCell::default(),
        }
    }
}

impl fmt::Debug for GuestMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (maps, bytes) = self.size();
        f.debug_struct("GuestMemory")
            .field("maps", &maps)
            .field("bytes", &bytes)
            .field("is_faulted", &self.is_faulted())
            .finish_non_exhaustive()
    }
}

/// Memory that was taken away from a device and is still held for accesses that are running. Dropping it lets go
/// of the client's files; before that the function must have been told ([`trinic_pci::Function::memory_changed`]).
#[derive(Debug)]
#[must_use = "the memory is let go of when this is dropped"]
pub struct Unmapped {
    regions: Vec<Arc<Region>>,
}

impl Unmapped {
    /// Nothing was there to be taken away.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }
}

impl Drop for Unmapped {
    fn drop(&mut self) {
        for region in &self.regions {
            region.release();
        }
    }
}

/// A part of a client's memory that was looked up once. Offsets are bytes from its start.
#[derive(Debug, Clone)]
pub struct Window {
    region: Arc<Region>,
    at: u64,
    length: u64,
}

impl Window {
    /// How many bytes it has.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Copies bytes out; `false` when they are outside or may not be read.
    #[inline]
    #[must_use]
    pub fn read(&self, offset: u64, into: &mut [u8]) -> bool {
        self.address(offset, into.len())
            .is_some_and(|address| self.region.read(address, into))
    }

    /// Copies bytes in; `false` when they are outside or may not be written.
    #[inline]
    #[must_use]
    pub fn write(&self, offset: u64, from: &[u8]) -> bool {
        self.address(offset, from.len())
            .is_some_and(|address| self.region.write(address, from))
    }

    /// As [`Memory::load_u32`].
    #[inline]
    #[must_use]
    pub fn load_u32(&self, offset: u64) -> Option<u32> {
        self.region.load_u32(self.address(offset, 4)?)
    }

    /// As [`Memory::store_u32`]; `false` when it cannot be done.
    #[inline]
    #[must_use]
    pub fn store_u32(&self, offset: u64, value: u32) -> bool {
        self.address(offset, 4)
            .is_some_and(|address| self.region.store_u32(address, value))
    }

    /// As [`Memory::store_u16`]; `false` when it cannot be done.
    #[inline]
    #[must_use]
    pub fn store_u16(&self, offset: u64, value: u16) -> bool {
        self.address(offset, 2)
            .is_some_and(|address| self.region.store_u16(address, value))
    }

    #[inline]
    fn address(&self, offset: u64, length: usize) -> Option<u64> {
        let length = u64::try_from(length).ok()?;
        (offset <= self.length && length <= self.length - offset)
            .then_some(self.region.base() + self.at + offset)
    }
}
