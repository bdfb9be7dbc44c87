use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicBool;
use std::thread;

use rustix::fs::MemfdFlags;

use super::*;

fn memfd(bytes: u64) -> OwnedFd {
    let file = rustix::fs::memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&file, bytes).unwrap();
    file
}

fn small_memory() -> GuestMemory {
    GuestMemory::new(Limits {
        maps: 4,
        bytes: 1 << 20,
    })
    .unwrap()
}

#[test]
fn accesses_reach_the_file_and_nothing_else() {
    let (memory, file) = (small_memory(), memfd(0x4000));
    memory
        .map(0x10000, 0x2000, Some(file.as_fd()), 0x1000, Access::BOTH)
        .unwrap();
    memory.write(0x10ffe, &[1, 2, 3, 4]).unwrap();
    let mut bytes = [0; 6];
    rustix::io::pread(&file, &mut bytes, 0x1ffd).unwrap();
    assert_eq!(bytes, [0, 1, 2, 3, 4, 0]);
    memory.store_u32(0x11ffc, 0x0403_0201).unwrap();
    memory.store_u16(0x11ffe, 0x0605).unwrap();
    assert_eq!(memory.load_u32(0x11ffc), Ok(0x0605_0201));
    for (address, length) in [
        (0xffff, 1),
        (0x11fff, 2),
        (0x12000, 1),
        (0, 1),
        (u64::MAX, 2),
        (0x10000, 0x2001),
    ] {
        let fault = Err(DmaFault { address, length });
        assert_eq!(memory.read(address, &mut vec![0; length]), fault);
        assert_eq!(memory.write(address, &vec![0; length]), fault);
    }
    for address in [0x11ffe, 0x10001, 0x11ffd, u64::MAX - 3] {
        assert_eq!(memory.load_u32(address), Err(DmaFault { address, length: 4 }));
    }
    assert!(memory.store_u16(0x10001, 1).is_err());
}

/// Short copies are made in pieces that overlap: of every length the bytes are right, and no other is touched.
#[test]
fn copies_of_every_length_are_whole() {
    let (memory, file) = (small_memory(), memfd(0x1000));
    memory
        .map(0x1000, 0x1000, Some(file.as_fd()), 0, Access::BOTH)
        .unwrap();
    let source: Vec<u8> = (1..=130).collect();
    for length in 0..source.len() {
        memory.write(0x1000, &[0; 200]).unwrap();
        memory.write(0x1003, &source[..length]).unwrap();
        let mut seen = [9; 200];
        memory.read(0x1000, &mut seen).unwrap();
        let mut expected = [0; 200];
        expected[3..3 + length].copy_from_slice(&source[..length]);
        assert_eq!(seen, expected, "{length}");
        let mut read = vec![9; length];
        memory.read(0x1003, &mut read).unwrap();
        assert_eq!(read, source[..length]);
    }
}

#[test]
fn ranges_cross_maps_in_both_directions() {
    let (memory, file) = (small_memory(), memfd(0x4000));
    // Neighbours by address, apart in the file.
    memory
        .map(0x1000, 0x1000, Some(file.as_fd()), 0x2000, Access::BOTH)
        .unwrap();
    memory
        .map(0x2000, 0x1000, Some(file.as_fd()), 0, Access::BOTH)
        .unwrap();
    let data: Vec<u8> = (0..200).collect();
    memory.write(0x1f9c, &data).unwrap();
    let mut back = vec![0; 200];
    memory.read(0x1f9c, &mut back).unwrap();
    assert_eq!(back, data);
    let mut half = [0; 100];
    rustix::io::pread(&file, &mut half, 0).unwrap();
    assert_eq!(half[..], data[100..]);
    // Source and target both cross, at different places, within one handle and between two.
    let (other, other_file) = (small_memory(), memfd(0x2000));
    other
        .map(0x8000, 0x1000, Some(other_file.as_fd()), 0x1000, Access::BOTH)
        .unwrap();
    other
        .map(0x9000, 0x1000, Some(other_file.as_fd()), 0, Access::BOTH)
        .unwrap();
    memory.copy_to(0x1f9c, &other, 0x8ff0, 200).unwrap();
    other.read(0x8ff0, &mut back).unwrap();
    assert_eq!(back, data);
    memory.copy_to(0x1f9c, &memory, 0x1100, 200).unwrap();
    memory.read(0x1100, &mut back).unwrap();
    assert_eq!(back, data);
    let fault = DmaFault {
        address: 0x9fff,
        length: 200,
    };
    assert_eq!(memory.copy_to(0x1f9c, &other, 0x9fff, 200), Err(fault));
    assert_eq!(
        memory.copy_to(0x2fff, &other, 0x8000, 200).unwrap_err().address,
        0x2fff
    );
}

#[test]
fn access_rights_hold() {
    let (memory, file) = (small_memory(), memfd(0x3000));
    let write_only = Access {
        read: false,
        write: true,
    };
    memory
        .map(0, 0x1000, Some(file.as_fd()), 0, Access::READ)
        .unwrap();
    memory
        .map(0x1000, 0x1000, Some(file.as_fd()), 0x1000, write_only)
        .unwrap();
    memory.map(0x2000, 0x1000, None, 0, Access::BOTH).unwrap();
    assert!(
        memory.load_u32(0).is_ok()
            && memory.store_u32(0, 1).is_err()
            && memory.write(0xffc, &[0; 8]).is_err()
    );
    assert!(memory.write(0x1000, &[1]).is_ok() && memory.read(0x1000, &mut [0]).is_err());
    assert!(memory.write(0x2000, &[1]).is_err() && memory.read(0x2000, &mut [0]).is_err());
    assert!(memory.resolve(0x2000, 1).is_none());
    assert!(memory.copy_to(0, &memory, 0x1000, 16).is_ok());
    assert!(memory.copy_to(0x1000, &memory, 0x1800, 16).is_err());
}

#[test]
fn what_cannot_be_mapped_is_refused() {
    let (memory, file) = (small_memory(), memfd(0x10_0000));
    let map = |address, size, offset| memory.map(address, size, Some(file.as_fd()), offset, Access::BOTH);
    map(0x4000, 0x2000, 0).unwrap();
    for (address, size, offset) in [
        (1, 0x1000, 0),
        (0, 0x800, 0),
        (0, 0, 0),
        (0, 0x1000, 8),
        (0xffff_ffff_ffff_f000, 0x1000, 0),
        (0, 0x1000, 0xffff_ffff_ffff_f000),
    ] {
        assert!(matches!(
            map(address, size, offset),
            Err(MapError::Unaligned { .. })
        ));
    }
    for (address, size) in [
        (0x3000, 0x2000),
        (0x4000, 0x2000),
        (0x5000, 0x1000),
        (0x3000, 0x4000),
    ] {
        assert!(matches!(map(address, size, 0), Err(MapError::Overlap(_))));
    }
    assert!(matches!(
        map(0, 0x1000, 0x10_0000),
        Err(MapError::BeyondFile { .. })
    ));
    assert!(matches!(map(0x10_0000, 0x10_0000, 0), Err(MapError::TooLarge(_))));
    map(0x6000, 0x1000, 0).unwrap();
    map(0x3000, 0x1000, 0).unwrap();
    memory.map(0, 0x1000, None, 0, Access::BOTH).unwrap();
    assert!(matches!(map(0x8000, 0x1000, 0), Err(MapError::TooMany(4))));
    for (address, size) in [(0x4000, 0x1000), (0x5000, 0x1000), (0x5000, 0x2000), (0, 0x5000)] {
        assert!(matches!(
            memory.unmap(address, size),
            Err(MapError::Split(0x4000))
        ));
    }
    for (address, size) in [(0x4000, 0), (0x4000, u64::MAX)] {
        assert!(matches!(memory.unmap(address, size), Err(MapError::Range { .. })));
    }
    assert_eq!(memory.size(), (4, 0x5000));
    let (_read, write) = rustix::pipe::pipe().unwrap();
    drop(memory.clear());
    let pipe = memory.map(0, 0x1000, Some(write.as_fd()), 0, Access::BOTH);
    assert!(matches!(pipe, Err(MapError::FileType(_))));
    let proc = std::fs::File::open("/proc/self/maps").unwrap();
    let proc = memory.map(0, 0x1000, Some(proc.as_fd()), 0, Access::READ);
    assert!(matches!(proc, Err(MapError::FileType(_))));
    assert_eq!(memory.size(), (0, 0));
}

#[test]
fn unmapping_is_final_for_handles_and_windows() {
    let (memory, file) = (small_memory(), memfd(0x1000));
    memory
        .map(0, 0x1000, Some(file.as_fd()), 0, Access::BOTH)
        .unwrap();
    let other = memory.clone();
    other.write(0, &[7]).unwrap();
    let window = other.resolve(0, 0x1000).unwrap();
    assert!(other.resolve(1, 0x1000).is_none());
    assert!(window.store_u32(8, 9) && window.load_u32(8) == Some(9));
    assert!(!window.write(0xfff, &[0; 2]) && !window.read(u64::MAX, &mut [0; 2]));
    let gone = memory.unmap(0, 0x1000).unwrap();
    // Not found any more, but an access that had begun still has its memory.
    assert!(other.read(0, &mut [0]).is_err() && memory.read(0, &mut [0]).is_err());
    assert_eq!(window.load_u32(8), Some(9));
    drop(gone);
    assert!(window.store_u32(8, 5));
    let mut bytes = [0; 4];
    rustix::io::pread(&file, &mut bytes, 8).unwrap();
    assert_eq!(bytes, [9, 0, 0, 0]);
    assert!(!memory.is_faulted());
}

#[test]
fn a_range_takes_every_map_within_it() {
    let (memory, file) = (small_memory(), memfd(0x10_0000));
    let map = |address, size| memory.map(address, size, Some(file.as_fd()), 0, Access::BOTH);
    for (address, size) in [(0, 0x1000), (0x1000, 0x2000), (0x8000, 0x1000)] {
        map(address, size).unwrap();
    }
    let gone = memory.unmap(0x1000, 0x7000).unwrap();
    assert!(!gone.is_empty());
    assert_eq!(memory.size(), (2, 0x2000));
    assert!(memory.read(0x1000, &mut [0]).is_err() && memory.read(0xfff, &mut [0]).is_ok());
    assert!(memory.unmap(0x1000, 0x7000).unwrap().is_empty());
    // All addresses, in the halves in which QEMU unmaps them.
    drop(memory.unmap(0, 1 << 63).unwrap());
    assert!(memory.unmap(1 << 63, 1 << 63).unwrap().is_empty());
    assert_eq!(memory.size(), (0, 0));
    // What a range left free can be mapped again.
    map(0, 0x10_0000).unwrap();
}

#[test]
fn unmapping_under_readers_harms_nobody() {
    let memory = small_memory();
    let file = memfd(0x2000);
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (memory, stop) = (memory.clone(), Arc::clone(&stop));
            thread::spawn(move || {
                let (mut found, mut missing) = (0u64, 0u64);
                let mut bytes = [0; 64];
                while !stop.load(Ordering::Relaxed) || found == 0 || missing == 0 {
                    match memory.read(0xfe0, &mut bytes) {
                        Ok(()) => found += 1,
                        Err(_) => missing += 1,
                    }
                }
                (found, missing)
            })
        })
        .collect();
    for _ in 0..500 {
        memory
            .map(0, 0x1000, Some(file.as_fd()), 0, Access::BOTH)
            .unwrap();
        memory
            .map(0x1000, 0x1000, Some(file.as_fd()), 0x1000, Access::BOTH)
            .unwrap();
        thread::yield_now();
        drop(memory.unmap(0, 0x1000).unwrap());
        drop(memory.clear());
    }
    memory
        .map(0, 0x2000, Some(file.as_fd()), 0, Access::BOTH)
        .unwrap();
    stop.store(true, Ordering::Relaxed);
    thread::sleep(std::time::Duration::from_millis(5));
    drop(memory.clear());
    for reader in readers {
        let (found, missing) = reader.join().unwrap();
        assert!(found > 0 && missing > 0);
    }
}

#[test]
fn a_file_cut_off_under_an_access_is_survived() {
    let (memory, other) = (small_memory(), small_memory());
    let (file, sound) = (memfd(0x4000), memfd(0x1000));
    memory
        .map(0x10000, 0x4000, Some(file.as_fd()), 0, Access::BOTH)
        .unwrap();
    other
        .map(0, 0x1000, Some(sound.as_fd()), 0, Access::BOTH)
        .unwrap();
    let worker = {
        let memory = memory.clone();
        thread::spawn(move || {
            let mut bytes = [0; 256];
            while !memory.is_faulted() {
                memory.write(0x12000, &[1; 256]).unwrap();
                memory.read(0x13f00, &mut bytes).unwrap();
            }
            // What is left is anonymous memory: still there, and empty.
            memory.read(0x10000, &mut bytes).unwrap();
            bytes
        })
    };
    memory.write(0x10000, &[5; 256]).unwrap();
    thread::sleep(std::time::Duration::from_millis(5));
    rustix::fs::ftruncate(&file, 0).unwrap();
    assert_eq!(worker.join().unwrap(), [0; 256]);
    assert!(memory.is_faulted() && !other.is_faulted());
    let mut event = [0; 8];
    rustix::io::read(memory.fault_event(), &mut event).unwrap();
    drop(memory.clear());
    memory.forget_faults();
    assert!(!memory.is_faulted());
    // A second one, read from beyond the new end of a file on a disk.
    let mut plain = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut plain, &[3; 0x2000]).unwrap();
    memory
        .map(0, 0x2000, Some(plain.as_fd()), 0, Access::BOTH)
        .unwrap();
    plain.set_len(0x1000).unwrap();
    assert_eq!(memory.load_u32(0x1000), Ok(0));
    assert!(memory.is_faulted());
    assert!(other.write(0, &[1]).is_ok());
}

/// A hint accesses nothing: not what is not mapped, nor what was cut off.
#[test]
fn asking_ahead_changes_nothing_and_cannot_fault() {
    let (memory, file) = (small_memory(), memfd(0x2000));
    memory
        .map(0x10000, 0x2000, Some(file.as_fd()), 0, Access::BOTH)
        .unwrap();
    memory.write(0x10000, &[7; 64]).unwrap();
    let ask = |address| {
        memory.prefetch(std::iter::once(address), Intent::Read);
        memory.prefetch(std::iter::once(address), Intent::Write);
    };
    for address in [0, 0xffff, 0x10000, 0x11fff, 0x12000, u64::MAX] {
        ask(address);
    }
    let mut bytes = [0; 64];
    memory.read(0x10000, &mut bytes).unwrap();
    assert_eq!(bytes, [7; 64]);
    rustix::fs::ftruncate(&file, 0).unwrap();
    [0x10000, 0x11000].into_iter().for_each(ask);
    assert!(!memory.is_faulted());
    // The same address, accessed, is a fault: the hint did reach where it would have been one.
    assert_eq!(memory.load_u32(0x11000), Ok(0));
    assert!(memory.is_faulted());
    drop(memory.clear());
    ask(0x10000);
}

/// Huge pages are replaced whole, so parts of them are mapped by whole pages too.
#[test]
fn huge_pages_cut_off_are_survived() {
    const HUGE: u64 = 2 << 20;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB;
    let Ok(file) = rustix::fs::memfd_create("guest", flags) else {
        println!("SKIP: this kernel has no huge pages of 2 MiB");
        return;
    };
    rustix::fs::ftruncate(&file, 3 * HUGE).unwrap();
    let memory = GuestMemory::new(Limits::default()).unwrap();
    memory
        .map(0x10000, HUGE, Some(file.as_fd()), 0x1000, Access::BOTH)
        .unwrap();
    let beside = memory.map(
        0x10000 + HUGE,
        0x1000,
        Some(file.as_fd()),
        HUGE + 0x1000,
        Access::BOTH,
    );
    beside.unwrap();
    // Without free huge pages an access would fault anyway.
    rustix::fs::ftruncate(&file, 0).unwrap();
    memory.write(0x10000 + HUGE - 8, &[1; 16]).unwrap();
    assert!(memory.is_faulted());
    let mut bytes = [0; 16];
    memory.read(0x10000 + HUGE - 8, &mut bytes).unwrap();
    assert_eq!(bytes, [1; 16]);
    drop(memory.clear());
}
