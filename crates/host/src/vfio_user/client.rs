//! The client: the bus of a driver in user space, in a process other than its device's.
//!
//! Registers in mapped parts are stores and loads, others are messages. DMA memory is one sealed file that is
//! mapped once, when the client connects, and handed out from its start.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use trinic_pci::Bus;
use trinic_pci::bus::BusError;
use zerocopy::{FromBytes, IntoBytes};

use super::protocol::{
    DATA_BYTES_MOST, DESCRIPTORS_MOST, DeviceInfo, DmaMap, HEADER_BYTES, IrqInfo, IrqSet, RegionAccess,
    RegionInfo, SparseArea, SparseMmap, command, flag, vfio,
};
use super::stream::{Inbox, Outbox, Received, header};
use super::version::{self, Capabilities};
use crate::guest_memory::{Limits, OwnMemory};
use crate::sys::{Faults, Mapping};

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientOptions {
    /// Bytes of DMA memory; rounded up to whole pages of 4 KiB.
    pub dma_bytes: u64,
    /// Bus address of its first byte, a multiple of 4 KiB and not 0, which devices take for "none".
    pub dma_address: u64,
    /// How long to wait for a reply.
    pub patience: Duration,
}

impl Default for ClientOptions {
    /// 64 MiB at 256 MiB, five seconds.
    fn default() -> Self {
        Self {
            dma_bytes: 64 << 20,
            dma_address: 256 << 20,
            patience: Duration::from_secs(5),
        }
    }
}

/// A driver's end of a function. Dropping it disconnects, and the function is reset. Threads may share it: only
/// accesses that are messages wait for one another.
#[derive(Debug)]
pub struct Client {
    link: Link,
    memory: OwnMemory,
    next: u64,
    dma_end: u64,
    bars: Vec<Bar>,
    vectors: Vec<OwnedFd>,
}

/// One BAR: how large it is, and its mapped parts with the offset of their first byte.
#[derive(Debug, Default)]
struct Bar {
    size_bytes: u64,
    parts: Vec<(u64, Mapping)>,
}

impl Client {
    /// Connects to the socket of a server.
    ///
    /// # Errors
    ///
    /// When nobody listens, the function has a client already, or what answers is no PCI function.
    pub fn connect(path: &Path, options: &ClientOptions) -> Result<Self, BusError> {
        let stream = UnixStream::connect(path).map_err(|error| gone(&error))?;
        Self::on_stream(stream, options)
    }

    /// As [`Self::connect`] on a stream that leads to a server.
    ///
    /// # Errors
    ///
    /// As [`Self::connect`].
    pub fn on_stream(stream: UnixStream, options: &ClientOptions) -> Result<Self, BusError> {
        stream
            .set_read_timeout(Some(options.patience))
            .map_err(|error| gone(&error))?;
        stream
            .set_write_timeout(Some(options.patience))
            .map_err(|error| gone(&error))?;
        let link = Link {
            stream,
            sending: Mutex::new(0),
            descriptors_most: AtomicU64::new(1),
        };
        link.agree()?;
        let (regions, irqs) = link.device_info()?;
        if regions <= vfio::REGION_CONFIG || irqs <= vfio::IRQ_MSIX {
            return Err(protocol("it is no PCI function"));
        }
        let faults = Faults::new().map_err(|error| gone(&error))?;
        let bars: Result<Vec<Bar>, BusError> = (0..6).map(|index| link.bar(index, &faults)).collect();
        let (memory, dma_end) = link.share_memory(options)?;
        let vectors = link.listen()?;
        Ok(Self {
            link,
            memory,
            next: options.dma_address,
            dma_end,
            bars: bars?,
            vectors,
        })
    }

    /// How many vectors the function has.
    #[must_use]
    pub fn vector_count(&self) -> u16 {
        u16::try_from(self.vectors.len()).unwrap_or(u16::MAX)
    }

    /// Bytes of a BAR; 0 when there is none.
    #[must_use]
    pub fn bar_size_bytes(&self, bar: u8) -> u64 {
        self.bars.get(usize::from(bar)).map_or(0, |bar| bar.size_bytes)
    }

    /// Reads config space.
    ///
    /// # Errors
    ///
    /// When the function is gone, or the range is outside.
    pub fn config_read(&self, offset: u16, data: &mut [u8]) -> Result<(), BusError> {
        self.link.region_read(vfio::REGION_CONFIG, offset.into(), data)
    }

    /// Writes config space.
    ///
    /// # Errors
    ///
    /// When the function is gone, or the range is outside.
    pub fn config_write(&self, offset: u16, data: &[u8]) -> Result<(), BusError> {
        self.link.region_write(vfio::REGION_CONFIG, offset.into(), data)
    }

    /// Resets the function.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn reset(&self) -> Result<(), BusError> {
        self.link.call(command::DEVICE_RESET, &[], &[]).map(drop)
    }

    /// The mapped part that holds a range, and the offset in it.
    #[inline]
    fn part(&self, bar: u8, offset: u64, length: usize) -> Option<(&Mapping, u64)> {
        let parts = &self.bars.get(usize::from(bar))?.parts;
        parts.iter().find_map(|(start, mapping)| {
            let at = offset.checked_sub(*start)?;
            let end = usize::try_from(at).ok()?.checked_add(length)?;
            (end <= mapping.length()).then_some((mapping, at))
        })
    }

    fn event(&self, vector: u16) -> Result<&OwnedFd, BusError> {
        let event = self.vectors.get(usize::from(vector));
        event.ok_or_else(|| protocol(&format!("it has no vector {vector}")))
    }
}

impl Bus for Client {
    type Memory = OwnMemory;

    fn memory(&self) -> &OwnMemory {
        &self.memory
    }

    fn allocate(&mut self, length: usize, align: usize) -> Result<u64, BusError> {
        let out = BusError::OutOfMemory(length);
        let align = u64::try_from(align.max(1)).map_err(|_| out.clone())?;
        let start = self
            .next
            .checked_next_multiple_of(align)
            .ok_or_else(|| out.clone())?;
        let end = u64::try_from(length)
            .ok()
            .and_then(|length| start.checked_add(length));
        self.next = end.filter(|end| *end <= self.dma_end).ok_or(out)?;
        Ok(start)
    }

    #[inline]
    fn register_read(&self, bar: u8, offset: u64) -> Result<u32, BusError> {
        if let Some((mapping, at)) = self.part(bar, offset, 4)
            && let Some(word) = mapping.load_u32(at)
        {
            return Ok(u32::from_le(word));
        }
        let mut bytes = [0; 4];
        self.link.region_read(bar.into(), offset, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    #[inline]
    fn register_write(&self, bar: u8, offset: u64, value: u32) -> Result<(), BusError> {
        if let Some((mapping, at)) = self.part(bar, offset, 4)
            && mapping.store_u32(at, value.to_le())
        {
            return Ok(());
        }
        self.link.region_write(bar.into(), offset, &value.to_le_bytes())
    }

    #[inline]
    fn push(&self, bar: u8, offset: u64, bytes: &[u8]) -> Result<(), BusError> {
        let outside = || protocol(&format!("offset {offset:#x} of BAR {bar} is not mapped memory"));
        let (words, rest) = bytes.as_chunks::<8>();
        let (mapping, at) = self.part(bar, offset, bytes.len()).ok_or_else(outside)?;
        if !rest.is_empty() {
            return Err(protocol("a push has whole 8-byte words"));
        }
        for (word, at) in words.iter().zip((at..).step_by(8)) {
            if !mapping.store_u64(at, u64::from_ne_bytes(*word)) {
                return Err(outside());
            }
        }
        Ok(())
    }

    fn wait(&self, vector: u16, timeout: Duration) -> Result<bool, BusError> {
        let event = self.event(vector)?;
        let deadline = Instant::now().checked_add(timeout);
        loop {
            if rustix::io::read(event, &mut [0u8; 8]).is_ok() {
                return Ok(true);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            let mut ready = [
                PollFd::new(event, PollFlags::IN),
                PollFd::new(&self.link.stream, PollFlags::RDHUP),
            ];
            match rustix::event::poll(&mut ready, left.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(gone(&error.into())),
            }
            let has_event = ready[0].revents().contains(PollFlags::IN);
            if !has_event && !ready[1].revents().is_empty() {
                return Err(BusError::Gone("its server has hung up".into()));
            }
        }
    }
}

/// The connection: one message and its reply at a time.
#[derive(Debug)]
struct Link {
    stream: UnixStream,
    /// The id of the last message, held until it is answered.
    sending: Mutex<u16>,
    /// Most descriptors that the server receives in a message.
    descriptors_most: AtomicU64,
}

type Reply = (Vec<u8>, Vec<OwnedFd>);

impl Link {
    fn call(&self, command: u16, body: &[&[u8]], descriptors: &[&OwnedFd]) -> Result<Reply, BusError> {
        let mut id = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        *id = id.wrapping_add(1);
        let copies: io::Result<Vec<OwnedFd>> = descriptors.iter().map(|fd| fd.try_clone()).collect();
        let copies = copies.map_err(|error| gone(&error))?;
        let mut outbox = Outbox::default();
        outbox.put(header(*id, command, flag::COMMAND), body, copies);
        outbox.send(&self.stream).map_err(|error| gone(&error))?;
        if !outbox.is_empty() {
            return Err(BusError::Gone("its server does not receive".into()));
        }
        let mut inbox = Inbox::new();
        let reply = match inbox.receive(&self.stream) {
            Ok(Received::Message(reply)) => reply,
            Ok(Received::Nothing) => return Err(BusError::Gone("its server does not answer".into())),
            Ok(Received::Closed) => return Err(BusError::Gone("its server has hung up".into())),
            Err(_) => return Err(protocol("a reply has no proper header")),
        };
        if reply.id.get() != *id
            || reply.command.get() != command
            || reply.flags.get() & flag::TYPE != flag::REPLY
        {
            return Err(protocol("a reply is not the one to what was asked"));
        }
        if reply.flags.get() & flag::ERROR != 0 {
            let errno = i32::try_from(reply.error.get()).unwrap_or(libc::EIO);
            let why = io::Error::from_raw_os_error(errno);
            return Err(protocol(&format!("command {command} failed: {why}")));
        }
        let received = inbox
            .take_descriptors()
            .map_err(|_| protocol("too many descriptors"))?;
        Ok((inbox.body().to_vec(), received))
    }

    fn agree(&self) -> Result<(), BusError> {
        let ours = Capabilities::ours(Limits::default().maps).encode();
        let numbers = [version::MAJOR, version::MINOR].map(u16::to_ne_bytes);
        let (body, _) = self.call(command::VERSION, &[&numbers[0], &numbers[1], &ours], &[])?;
        let ([major, _minor], data) = fields::<[[u8; 2]; 2]>(&body)?;
        if u16::from_ne_bytes(major) != version::MAJOR {
            return Err(protocol("it speaks another version"));
        }
        let theirs = Capabilities::decode(data).map_err(|_| protocol("its capabilities are nonsense"))?;
        let most = theirs.max_msg_fds.unwrap_or(1);
        self.descriptors_most.store(most, Ordering::Relaxed);
        Ok(())
    }

    /// How many regions and interrupts there are.
    fn device_info(&self) -> Result<(u32, u32), BusError> {
        let asked = DeviceInfo {
            argsz: word(size_of::<DeviceInfo>())?.into(),
            flags: 0.into(),
            regions: 0.into(),
            irqs: 0.into(),
        };
        let (body, _) = self.call(command::DEVICE_GET_INFO, &[asked.as_bytes()], &[])?;
        let (info, _) = fields::<DeviceInfo>(&body)?;
        if info.flags.get() & vfio::DEVICE_PCI == 0 {
            return Err(protocol("it is no PCI function"));
        }
        Ok((info.regions.get(), info.irqs.get()))
    }

    fn bar(&self, index: u32, faults: &Arc<Faults>) -> Result<Bar, BusError> {
        let asked = RegionInfo {
            argsz: word(DATA_BYTES_MOST)?.into(),
            flags: 0.into(),
            index: index.into(),
            cap_offset: 0.into(),
            size: 0.into(),
            offset: 0.into(),
        };
        let (body, files) = self.call(command::DEVICE_GET_REGION_INFO, &[asked.as_bytes()], &[])?;
        let (info, _) = fields::<RegionInfo>(&body)?;
        let mut bar = Bar {
            size_bytes: info.size.get(),
            parts: Vec::new(),
        };
        let Some(file) = files
            .first()
            .filter(|_| info.flags.get() & vfio::REGION_MMAP != 0)
        else {
            return Ok(bar);
        };
        for (start, size) in areas(&body, &info)? {
            let length = usize::try_from(size).map_err(|_| protocol("an area is too large"))?;
            let end = start.checked_add(size).filter(|end| *end <= bar.size_bytes);
            let offset = info
                .offset
                .get()
                .checked_add(start)
                .filter(|at| at.is_multiple_of(4096));
            let (Some(_), Some(offset)) = (end, offset) else {
                return Err(protocol("an area is not inside its region"));
            };
            let mapping = Mapping::new(file.as_fd(), offset, length, true, 4096, faults);
            bar.parts.push((start, mapping.map_err(|error| gone(&error))?));
        }
        Ok(bar)
    }

    /// Makes DMA memory and gives it to the function; the address of its end.
    fn share_memory(&self, options: &ClientOptions) -> Result<(OwnMemory, u64), BusError> {
        let address = options.dma_address;
        let none = || BusError::OutOfMemory(usize::try_from(options.dma_bytes).unwrap_or(usize::MAX));
        let bytes = options
            .dma_bytes
            .checked_next_multiple_of(4096)
            .ok_or_else(none)?;
        let (memory, file) = OwnMemory::new(address, bytes).map_err(|_| none())?;
        let map = DmaMap {
            argsz: word(size_of::<DmaMap>())?.into(),
            flags: (vfio::MAP_READ | vfio::MAP_WRITE).into(),
            offset: 0.into(),
            address: address.into(),
            size: bytes.into(),
        };
        self.call(command::DMA_MAP, &[map.as_bytes()], &[&file])?;
        Ok((memory, address + bytes))
    }

    /// Makes an event for each vector.
    fn listen(&self) -> Result<Vec<OwnedFd>, BusError> {
        let asked = IrqInfo {
            argsz: word(size_of::<IrqInfo>())?.into(),
            flags: 0.into(),
            index: vfio::IRQ_MSIX.into(),
            count: 0.into(),
        };
        let (body, _) = self.call(command::DEVICE_GET_IRQ_INFO, &[asked.as_bytes()], &[])?;
        let count = fields::<IrqInfo>(&body)?.0.count.get();
        if count > u32::from(trinic_pci::capability::MSIX_VECTORS_MOST) {
            return Err(protocol("it has more vectors than a function can"));
        }
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let events: Result<Vec<OwnedFd>, _> = (0..count).map(|_| rustix::event::eventfd(0, flags)).collect();
        let events = events.map_err(|error| gone(&error.into()))?;
        let most = self.descriptors_most.load(Ordering::Relaxed);
        let most = usize::try_from(most)
            .unwrap_or(usize::MAX)
            .clamp(1, DESCRIPTORS_MOST);
        for (start, some) in (0..).step_by(most).zip(events.chunks(most)) {
            let set = IrqSet {
                argsz: word(size_of::<IrqSet>())?.into(),
                flags: (vfio::SET_EVENTFD | vfio::SET_TRIGGER).into(),
                index: vfio::IRQ_MSIX.into(),
                start: word(start)?.into(),
                count: word(some.len())?.into(),
            };
            let descriptors: Vec<&OwnedFd> = some.iter().collect();
            self.call(command::DEVICE_SET_IRQS, &[set.as_bytes()], &descriptors)?;
        }
        Ok(events)
    }

    fn region_read(&self, region: u32, offset: u64, data: &mut [u8]) -> Result<(), BusError> {
        let asked = region_access(region, offset, data.len())?;
        let (body, _) = self.call(command::REGION_READ, &[asked.as_bytes()], &[])?;
        let (_, read) = fields::<RegionAccess>(&body)?;
        let read = read
            .get(..data.len())
            .ok_or_else(|| protocol("a read came back short"))?;
        data.copy_from_slice(read);
        Ok(())
    }

    fn region_write(&self, region: u32, offset: u64, data: &[u8]) -> Result<(), BusError> {
        let access = region_access(region, offset, data.len())?;
        self.call(command::REGION_WRITE, &[access.as_bytes(), data], &[])
            .map(drop)
    }
}

fn region_access(region: u32, offset: u64, length: usize) -> Result<RegionAccess, BusError> {
    if length > DATA_BYTES_MOST {
        return Err(protocol("an access is too long"));
    }
    Ok(RegionAccess {
        offset: offset.into(),
        region: region.into(),
        count: word(length)?.into(),
    })
}

/// The areas of a region that can be mapped, as offset and size: those that its capability names, else all.
fn areas(body: &[u8], info: &RegionInfo) -> Result<Vec<(u64, u64)>, BusError> {
    if info.flags.get() & vfio::REGION_CAPS == 0 {
        return Ok(vec![(0, info.size.get())]);
    }
    let mut at = info.cap_offset.get();
    // A list that does not end is no list.
    for _ in 0..CAPABILITIES_MOST {
        let rest = usize::try_from(at).ok().and_then(|at| body.get(at..));
        let rest = rest.filter(|_| at != 0).unwrap_or_default();
        // Every capability begins as this one does.
        let Ok((sparse, areas)) = SparseMmap::ref_from_prefix(rest) else {
            break;
        };
        if sparse.id.get() == vfio::CAP_SPARSE_MMAP {
            let count = usize::try_from(sparse.areas.get()).unwrap_or(usize::MAX);
            let areas = <[SparseArea]>::ref_from_prefix_with_elems(areas, count);
            let (areas, _) = areas.map_err(|_| protocol("areas are cut off"))?;
            return Ok(areas
                .iter()
                .map(|area| (area.offset.get(), area.size.get()))
                .collect());
        }
        at = sparse.next.get();
    }
    Ok(vec![(0, info.size.get())])
}

/// The fields at the start of a reply, and the rest.
fn fields<T: FromBytes>(body: &[u8]) -> Result<(T, &[u8]), BusError> {
    T::read_from_prefix(body).map_err(|_| protocol("a reply is too short"))
}

fn word(value: usize) -> Result<u32, BusError> {
    u32::try_from(value).map_err(|_| protocol("a number is too large"))
}

fn gone(error: &io::Error) -> BusError {
    BusError::Gone(error.to_string())
}

fn protocol(what: &str) -> BusError {
    BusError::Protocol(what.to_owned())
}

/// Most capabilities of a region that are looked through.
const CAPABILITIES_MOST: usize = 16;
const _: () = assert!(HEADER_BYTES < DATA_BYTES_MOST);
