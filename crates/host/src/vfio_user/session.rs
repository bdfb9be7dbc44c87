//! What a client asks and what it is answered: everything of a connection but its bytes.

use std::os::fd::{AsFd, OwnedFd};

use trinic_pci::config::CONFIG_SIZE_BYTES;
use trinic_pci::{Function, Interrupts, SharedMemory};
use zerocopy::IntoBytes;

use super::protocol::{
    DESCRIPTORS_MOST, DeviceInfo, DmaMap, DmaUnmap, Header, IrqInfo, IrqSet, RegionAccess, RegionInfo,
    Request, SmallWrite, SparseArea, SparseMmap, flag, vfio,
};
use super::refusal::{Refusal, Refused};
use super::server::Parts;
use super::version::{self, Capabilities};
use crate::guest_memory::{Access, MapError};

/// What is sent back to a command that succeeded.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) body: Vec<u8>,
    pub(super) descriptors: Vec<OwnedFd>,
}

impl Answer {
    fn of(body: &[&[u8]]) -> Self {
        Self {
            body: body.concat(),
            descriptors: Vec::new(),
        }
    }
}

/// One client's connection.
#[derive(Debug, Default)]
pub(super) struct Session {
    is_agreed: bool,
    /// Whether it receives descriptors.
    takes_descriptors: bool,
}

type Handled = Result<Answer, Refused>;

impl Session {
    /// Handles one message. Descriptors that are not kept are closed.
    pub(super) fn handle<F: Function>(
        &mut self,
        parts: &mut Parts<F>,
        header: &Header,
        body: &[u8],
        descriptors: Vec<OwnedFd>,
    ) -> Handled {
        if header.flags.get() & flag::TYPE != flag::COMMAND {
            return Err(Refusal::Header.into());
        }
        let request = Request::decode(header.command.get(), body)?;
        let is_version = matches!(request, Request::Version { .. });
        if is_version == self.is_agreed {
            return Err(Refusal::Version.into());
        }
        let takes = match &request {
            Request::DmaMap(_) => 1,
            Request::SetIrqs { .. } => DESCRIPTORS_MOST,
            _ => 0,
        };
        if descriptors.len() > takes {
            return Err(Refusal::Descriptors.into());
        }
        match request {
            Request::Version { major, data } => self.agree(parts, major, data),
            Request::DmaMap(map) => dma_map(parts, map, descriptors.first()),
            Request::DmaUnmap(unmap) => dma_unmap(parts, unmap),
            Request::DeviceInfo => Ok(device_info()),
            Request::RegionInfo(info) => self.region_info(parts, info),
            Request::IrqInfo(info) => irq_info(parts, info),
            Request::SetIrqs { set, data } => set_irqs(parts, set, data, descriptors),
            Request::RegionRead(access) => region_read(parts, access),
            Request::RegionWrite { access, data } => {
                region_write(parts, access, data)?;
                Ok(Answer::of(&[access.as_bytes()]))
            }
            Request::WriteMany(writes) => write_many(parts, writes),
            Request::Reset => {
                parts.function.reset();
                parts.interrupts.forget_pending();
                Ok(Answer::default())
            }
        }
    }

    fn agree<F: Function>(&mut self, parts: &Parts<F>, major: u16, data: &[u8]) -> Handled {
        if major != version::MAJOR {
            return Err(Refusal::Version.into());
        }
        let theirs = Capabilities::decode(data)?;
        self.is_agreed = true;
        self.takes_descriptors = theirs.max_msg_fds != Some(0);
        let answer = theirs.answer(parts.memory.limits().maps).encode();
        // The lowest there is, so no client proposes less.
        let minor = version::MINOR;
        Ok(Answer::of(&[&major.to_ne_bytes(), &minor.to_ne_bytes(), &answer]))
    }

    fn region_info<F: Function>(&self, parts: &Parts<F>, asked: RegionInfo) -> Handled {
        let index = asked.index.get();
        if index >= vfio::REGIONS {
            return Err(Refusal::Region.into());
        }
        let mut info = RegionInfo {
            argsz: word(size_of::<RegionInfo>()).into(),
            flags: 0.into(),
            index: index.into(),
            cap_offset: 0.into(),
            size: region_size(parts, index).into(),
            offset: 0.into(),
        };
        if info.size.get() > 0 {
            info.flags.set(vfio::REGION_READ_WRITE);
        }
        let bar = parts.shared.iter().find(|bar| u32::from(bar.bar()) == index);
        let Some(bar) = bar.filter(|_| self.takes_descriptors) else {
            return Ok(Answer::of(&[info.as_bytes()]));
        };
        let areas: Vec<SparseArea> = bar.mapped().iter().map(area).collect();
        let sparse = SparseMmap {
            id: vfio::CAP_SPARSE_MMAP.into(),
            version: 1.into(),
            next: 0.into(),
            areas: word(areas.len()).into(),
            reserved: 0.into(),
        };
        let whole = size_of::<RegionInfo>() + size_of::<SparseMmap>() + areas.as_bytes().len();
        info.argsz.set(word(whole));
        info.flags
            .set(vfio::REGION_READ_WRITE | vfio::REGION_MMAP | vfio::REGION_CAPS);
        // Also in an answer without them: QEMU looks at it before it asks again.
        info.cap_offset.set(word(size_of::<RegionInfo>()));
        // A client that has no room asks again with what it now knows.
        if asked.argsz.get() < info.argsz.get() {
            return Ok(Answer::of(&[info.as_bytes()]));
        }
        let mut answer = Answer::of(&[info.as_bytes(), sparse.as_bytes(), areas.as_bytes()]);
        answer.descriptors.push(bar.file().map_err(system)?);
        Ok(answer)
    }
}

fn area(part: &std::ops::Range<u64>) -> SparseArea {
    SparseArea {
        offset: part.start.into(),
        size: (part.end - part.start).into(),
    }
}

fn device_info() -> Answer {
    let info = DeviceInfo {
        argsz: word(size_of::<DeviceInfo>()).into(),
        flags: (vfio::DEVICE_RESET | vfio::DEVICE_PCI).into(),
        regions: vfio::REGIONS.into(),
        irqs: vfio::IRQS.into(),
    };
    Answer::of(&[info.as_bytes()])
}

fn dma_map<F: Function>(parts: &Parts<F>, map: DmaMap, file: Option<&OwnedFd>) -> Handled {
    let flags = map.flags.get();
    let access = Access {
        read: flags & vfio::MAP_READ != 0,
        write: flags & vfio::MAP_WRITE != 0,
    };
    if !access.read && !access.write {
        return Err(Refusal::Map.into());
    }
    let (address, size) = (map.address.get(), map.size.get());
    // Without a file the offset says nothing.
    let offset = file.map_or(0, |_| map.offset.get());
    let mapped = parts
        .memory
        .map(address, size, file.map(AsFd::as_fd), offset, access);
    mapped.map_err(|error| Refused {
        refusal: Refusal::Map,
        errno: match error {
            MapError::Overlap(_) => libc::EEXIST,
            MapError::TooMany(_) | MapError::TooLarge(_) => libc::ENOSPC,
            MapError::Os(error) => error.raw_os_error().unwrap_or(libc::EINVAL),
            _ => libc::EINVAL,
        },
    })?;
    Ok(Answer::default())
}

fn dma_unmap<F: Function>(parts: &mut Parts<F>, unmap: DmaUnmap) -> Handled {
    let gone = match unmap.flags.get() {
        0 => {
            let gone = parts.memory.unmap(unmap.address.get(), unmap.size.get());
            let gone = gone.map_err(|_| Refusal::Unmap)?;
            if gone.is_empty() {
                return Ok(Answer::of(&[unmap.as_bytes()]));
            }
            gone
        }
        vfio::UNMAP_ALL => parts.memory.clear(),
        _ => return Err(Refusal::Unmap.into()),
    };
    // When this returns the function's threads use the memory no more; then it is let go of, and only then the
    // client is answered.
    parts.function.memory_changed();
    drop(gone);
    Ok(Answer::of(&[unmap.as_bytes()]))
}

fn irq_info<F: Function>(parts: &Parts<F>, asked: IrqInfo) -> Handled {
    let index = asked.index.get();
    if index >= vfio::IRQS {
        return Err(Refusal::Interrupt.into());
    }
    let (flags, count) = if index == vfio::IRQ_MSIX {
        (vfio::IRQ_EVENTFD, parts.interrupts.count())
    } else {
        (0, 0)
    };
    let info = IrqInfo {
        argsz: word(size_of::<IrqInfo>()).into(),
        flags: flags.into(),
        index: index.into(),
        count: u32::from(count).into(),
    };
    Ok(Answer::of(&[info.as_bytes()]))
}

fn set_irqs<F: Function>(parts: &Parts<F>, set: IrqSet, data: &[u8], descriptors: Vec<OwnedFd>) -> Handled {
    let table = &parts.interrupts;
    let (start, count) = (set.start.get(), set.count.get());
    let kind = set.flags.get() & (vfio::SET_NONE | vfio::SET_BOOL | vfio::SET_EVENTFD);
    let action = set.flags.get() & !(vfio::SET_NONE | vfio::SET_BOOL | vfio::SET_EVENTFD);
    if kind != vfio::SET_EVENTFD && !descriptors.is_empty() {
        return Err(Refusal::Descriptors.into());
    }
    let disables = set.flags.get() == vfio::SET_NONE | vfio::SET_TRIGGER && count == 0 && start == 0;
    if disables && set.index.get() < vfio::IRQS {
        if set.index.get() == vfio::IRQ_MSIX {
            table.clear();
        }
        return Ok(Answer::default());
    }
    let end = start
        .checked_add(count)
        .filter(|end| *end <= u32::from(table.count()));
    let range = end.and_then(|end| Some(u16::try_from(start).ok()?..u16::try_from(end).ok()?));
    let Some(range) = range.filter(|_| set.index.get() == vfio::IRQ_MSIX && count > 0) else {
        return Err(Refusal::Interrupt.into());
    };
    match (kind, action) {
        (vfio::SET_EVENTFD, vfio::SET_TRIGGER) => return listen(parts, range, descriptors),
        (vfio::SET_NONE, _) => range
            .into_iter()
            .try_for_each(|vector| act(parts, action, vector))?,
        (vfio::SET_BOOL, _) => {
            let chosen = data.get(..range.len()).ok_or(Refusal::Length)?;
            let mut chosen = range.zip(chosen).filter(|(_, is_chosen)| **is_chosen != 0);
            chosen.try_for_each(|(vector, _)| act(parts, action, vector))?;
        }
        _ => return Err(Refusal::Interrupt.into()),
    }
    Ok(Answer::default())
}

/// Gives vectors their descriptors; none at all takes theirs away.
fn listen<F: Function>(parts: &Parts<F>, range: std::ops::Range<u16>, descriptors: Vec<OwnedFd>) -> Handled {
    if !descriptors.is_empty() && descriptors.len() != range.len() {
        return Err(Refusal::Descriptors.into());
    }
    let mut descriptors = descriptors.into_iter();
    for vector in range {
        let set = parts.interrupts.listen(vector, descriptors.next());
        set.map_err(|_| Refusal::Descriptors)?;
    }
    Ok(Answer::default())
}

fn act<F: Function>(parts: &Parts<F>, action: u32, vector: u16) -> Result<(), Refused> {
    match action {
        vfio::SET_MASK => parts.interrupts.mask(vector),
        vfio::SET_UNMASK => parts.interrupts.unmask(vector),
        vfio::SET_TRIGGER => parts.interrupts.trigger(vector),
        _ => return Err(Refusal::Interrupt.into()),
    }
    Ok(())
}

fn region_read<F: Function>(parts: &mut Parts<F>, access: RegionAccess) -> Handled {
    let count = check_access(parts, access)?;
    let mut body = access.as_bytes().to_vec();
    body.resize(size_of::<RegionAccess>() + count, 0);
    let (_, data) = body.split_at_mut(size_of::<RegionAccess>());
    let offset = access.offset.get();
    match u8::try_from(access.region.get()) {
        Ok(bar @ 0..6) => bar_pieces(offset, count, |offset, part| {
            match parts.shared.iter().find(|shared| shared.bar() == bar) {
                Some(shared) if shared.holds(offset, part.len()) => shared.read(offset, &mut data[part]),
                _ => parts.function.bar_read(bar, offset, &mut data[part]),
            }
        }),
        _ => parts.function.config_read(config_offset(offset)?, data),
    }
    Ok(Answer {
        body,
        descriptors: Vec::new(),
    })
}

fn region_write<F: Function>(parts: &mut Parts<F>, access: RegionAccess, data: &[u8]) -> Result<(), Refused> {
    let count = check_access(parts, access)?;
    let offset = access.offset.get();
    let data = data.get(..count).ok_or(Refusal::Length)?;
    match u8::try_from(access.region.get()) {
        Ok(bar @ 0..6) => bar_pieces(offset, count, |offset, part| {
            match parts.shared.iter().find(|shared| shared.bar() == bar) {
                Some(shared) if shared.holds(offset, part.len()) => shared.write(offset, &data[part]),
                _ => parts.function.bar_write(bar, offset, &data[part]),
            }
        }),
        _ => parts.function.config_write(config_offset(offset)?, data),
    }
    Ok(())
}

/// Several small writes; those before one that is refused have been done.
fn write_many<F: Function>(parts: &mut Parts<F>, writes: &[SmallWrite]) -> Handled {
    for write in writes {
        region_write(parts, write.access, &write.data)?;
    }
    let done = u64::try_from(writes.len()).unwrap_or(u64::MAX);
    Ok(Answer::of(&[&done.to_ne_bytes()]))
}

/// How many bytes an access has, if they are all in its region.
fn check_access<F: Function>(parts: &Parts<F>, access: RegionAccess) -> Result<usize, Refused> {
    let size = region_size(parts, access.region.get());
    let end = access.offset.get().checked_add(access.count.get().into());
    if end.is_none_or(|end| end > size) {
        return Err(Refusal::Region.into());
    }
    usize::try_from(access.count.get()).map_err(|_| Refusal::Length.into())
}

/// Bytes of a region; zero when there is none.
fn region_size<F: Function>(parts: &Parts<F>, index: u32) -> u64 {
    if index == vfio::REGION_CONFIG {
        return CONFIG_SIZE_BYTES.into();
    }
    let bars = parts.function.bars();
    let bar = bars.iter().find(|bar| u32::from(bar.index) == index && index < 6);
    bar.map_or(0, |bar| bar.size_bytes)
}

/// Cuts an access into aligned ones of 8, 4, 2 or 1 bytes, the largest that fit.
fn bar_pieces(offset: u64, count: usize, mut each: impl FnMut(u64, std::ops::Range<usize>)) {
    let mut done = 0;
    let mut offset = offset;
    while done < count {
        let fits = |size: &&(usize, u64)| size.0 <= count - done && offset.is_multiple_of(size.1);
        let (size, step) = *PIECES.iter().find(fits).unwrap_or(&(1, 1));
        each(offset, done..done + size);
        done += size;
        offset += step;
    }
}

fn config_offset(offset: u64) -> Result<u16, Refused> {
    u16::try_from(offset).map_err(|_| Refusal::Region.into())
}

fn system(error: std::io::Error) -> Refused {
    Refused {
        refusal: Refusal::System,
        errno: error.raw_os_error().unwrap_or(libc::EIO),
    }
}

fn word(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// The sizes of accesses to a BAR, twice.
const PIECES: [(usize, u64); 4] = [(8, 8), (4, 4), (2, 2), (1, 1)];
