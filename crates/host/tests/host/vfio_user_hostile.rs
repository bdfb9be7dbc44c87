//! Clients that lie: each is refused by name and counted, and a new one works afterwards.

use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use libtest_mimic::Trial;
use rustix::event::{EventfdFlags, eventfd};
use rustix::pipe::PipeFlags;
use trinic_host::vfio_user::{Client, ClientOptions, Refusal, ServerHandle, fuzz};
use trinic_pci::Bus;

use crate::files::{HugePages, Kind};
use crate::support::Host;
use crate::vfio_user_parts::{
    Raw, Scratch, access, connected, dma_map, dma_unmap, eventually, header, memfd, register, words,
};

pub(crate) fn trials(host: &Host) -> Vec<Trial> {
    vec![
        host.plain_trial("vfio_user_hostile_framing", framing),
        host.plain_trial("vfio_user_hostile_versions", versions),
        host.plain_trial("vfio_user_hostile_lengths", lengths),
        host.plain_trial("vfio_user_hostile_regions", regions),
        host.plain_trial("vfio_user_hostile_maps", maps),
        host.plain_trial("vfio_user_hostile_descriptors", descriptors),
        host.plain_trial("vfio_user_hostile_interrupts", interrupts),
        host.plain_trial("vfio_user_hostile_deaf_client", deaf),
        host.file_trial("vfio_user_hostile_truncation", Kind::Memfd, truncation),
        host.file_trial(
            "vfio_user_hostile_truncation_of_a_tmpfs_file",
            Kind::Tmpfs,
            truncation,
        ),
        host.file_trial(
            "vfio_user_hostile_truncation_of_a_disk_file",
            Kind::Disk,
            truncation,
        ),
        host.file_trial(
            "vfio_user_hostile_truncation_of_huge_pages",
            Kind::Huge,
            truncation,
        ),
        host.plain_trial("vfio_user_fuzz_corpus", corpus),
    ]
}

/// A new client can do everything.
fn works<F>(server: &ServerHandle<F>) {
    eventually("the end of the client", || !server.state().is_connected);
    let options = ClientOptions {
        dma_bytes: 1 << 16,
        ..ClientOptions::default()
    };
    let client = Client::on_stream(connected(server), &options).unwrap();
    client.register_write(0, register::SCRATCH, 3).unwrap();
    assert_eq!(client.register_read(0, register::SCRATCH), Ok(3));
    drop(client);
    eventually("the end of the client", || !server.state().is_connected);
}

fn framing() {
    let (server, stream) = Scratch::served();
    let mut raw = Raw::agreed(stream);
    let broken = [
        header(1, 4, 15, 0),
        header(1, 4, 0, 0),
        header(1, 4, u32::MAX, 0),
        header(1, 9, 65_536 + 65, 0),
    ];
    for (times, broken) in (1..).zip(broken) {
        raw.send_bytes(&broken, &[]);
        assert!(raw.is_closed());
        assert_eq!(server.counters().refused(Refusal::Header), times);
        works(&server);
        raw = Raw::agreed(connected(&server));
    }
    // A reply to nothing is answered by an error and the end.
    let reply = header(1, 4, 16, 1);
    raw.send_bytes(&reply, &[]);
    assert_eq!(raw.receive().flags, 0x21);
    assert!(raw.is_closed());
    works(&server);
    // Half a header, half a message, then nothing more.
    for half in [&header(1, 4, 32, 0)[..7], &header(1, 4, 32, 0), &[]] {
        let mut raw = Raw::new(connected(&server));
        raw.send_bytes(&[half, &[][..]].concat(), &[]);
        raw.stream.shutdown(Shutdown::Write).unwrap();
        assert!(raw.is_closed());
        works(&server);
    }
    // A message that comes byte by byte is a message.
    let mut raw = Raw::agreed(connected(&server));
    for byte in [header(9, 4, 32, 0), words(&[16, 0, 0, 0])].concat() {
        raw.send_bytes(&[byte], &[]);
    }
    assert_eq!(raw.receive().body, words(&[16, 3, 9, 5]));
}

fn versions() {
    let (server, stream) = Scratch::served();
    drop(stream);
    let bad: [&[&[u8]]; 5] = [
        &[&[1, 0, 0, 0]],
        &[&[0; 4], b"{\"capabilities\":"],
        &[&[0; 4], b"{\"capabilities\":{\"pgsizes\":65536}}\0"],
        &[&[0; 4], &[0xff; 4096]],
        &[&[0; 4], &[b'['; 60_000]],
    ];
    for (times, bad) in (1..).zip(bad) {
        eventually("the end of the client", || !server.state().is_connected);
        let mut raw = Raw::new(connected(&server));
        raw.ask_badly(1, bad, &[]);
        assert!(raw.is_closed());
        assert_eq!(server.counters().refused(Refusal::Version), times);
    }
    // Anything before a version, and a second version.
    eventually("the end of the client", || !server.state().is_connected);
    let mut raw = Raw::new(connected(&server));
    raw.ask_badly(13, &[], &[]);
    assert!(raw.is_closed());
    eventually("the end of the client", || !server.state().is_connected);
    let mut raw = Raw::agreed(connected(&server));
    raw.ask_badly(1, &[&[0; 4]], &[]);
    assert!(raw.is_closed());
    works(&server);
    // No data at all is the defaults; one that receives no descriptor gets no file.
    let mut raw = Raw::new(connected(&server));
    raw.ask_well(1, &[&[0; 4]], &[]);
    drop(raw);
    eventually("the end of the client", || !server.state().is_connected);
    let mut raw = Raw::new(connected(&server));
    raw.ask_well(1, &[&[0; 4], b"{\"capabilities\":{\"max_msg_fds\":0}}\0"], &[]);
    let region = raw.ask_well(5, &[&words(&[64, 0, 0, 0, 0, 0, 0, 0])], &[]);
    assert_eq!(region.body, words(&[32, 3, 0, 0, 0x4000, 0, 0, 0]));
}

fn lengths() {
    let (server, stream) = Scratch::served();
    let mut raw = Raw::agreed(stream);
    for command in [2, 3, 4, 5, 7, 8, 9, 10, 15] {
        let errno = raw.ask_badly(command, &[&[0; 7]], &[]);
        assert_eq!(errno, libc::EINVAL, "command {command}");
    }
    let write = |count: u32| [access(0, 0, count), vec![0; 4]].concat();
    for count in [5, 65_537, u32::MAX] {
        raw.ask_badly(10, &[&write(count)], &[]);
    }
    raw.ask_badly(9, &[&access(0, 7, u32::MAX)], &[]);
    for count in [1u64, 2, 1 << 32, u64::MAX] {
        raw.ask_badly(15, &[&count.to_ne_bytes(), &[0; 20]], &[]);
    }
    raw.ask_badly(8, &[&words(&[20, 0x22, 2, 0, 4]), &[1; 3]], &[]);
    assert_eq!(server.counters().refused(Refusal::Length), 18);
    for command in [0, 6, 11, 12, 14, 16, 17, 18, 19, u16::MAX] {
        assert_eq!(raw.ask_badly(command, &[&[0; 64]], &[]), libc::EOPNOTSUPP);
    }
    assert_eq!(server.counters().refused(Refusal::Command), 10);
    // A refusal of a command that wants no reply is silent, and the next reply is the next command's.
    raw.send(99, 0x10, &[], &[]);
    assert_eq!(raw.read_register(0, register::SCRATCH), 0);
    assert_eq!(server.counters().refused(Refusal::Command), 11);
    drop(raw);
    works(&server);
}

fn regions() {
    let (server, stream) = Scratch::served();
    let mut raw = Raw::agreed(stream);
    let outside = [
        access(0x4000, 0, 4),
        access(0x3ffd, 0, 4),
        access(u64::MAX, 0, 1),
        access(u64::MAX - 3, 7, 4),
        access(4096, 7, 1),
        access(0, 3, 1),
        access(0, 6, 1),
        access(0, 8, 1),
        access(0, 9, 1),
        access(0, u32::MAX, 1),
        access(0, 256, 4),
    ];
    for body in &outside {
        raw.ask_badly(9, &[body], &[]);
        raw.ask_badly(10, &[body, &[0; 4]], &[]);
        raw.ask_badly(15, &[&1u64.to_ne_bytes(), body, &[0; 8]], &[]);
    }
    for index in [9, u32::MAX] {
        raw.ask_badly(5, &[&words(&[64, 0, index, 0, 0, 0, 0, 0])], &[]);
    }
    assert_eq!(server.counters().refused(Refusal::Region), 35);
    // A small write of more bytes than it has.
    raw.ask_badly(15, &[&1u64.to_ne_bytes(), &access(0, 0, 16), &[0; 8]], &[]);
    // Nothing at all may be read and written.
    raw.ask_well(9, &[&access(0x4000, 0, 0)], &[]);
    raw.ask_well(10, &[&access(0, 7, 0)], &[]);
    drop(raw);
    works(&server);
}

fn maps() {
    let (server, stream) = Scratch::served();
    let mut raw = Raw::agreed(stream);
    let file = memfd(0x10_0000);
    let map = |raw: &mut Raw, address, size, offset, flags| {
        raw.ask_badly(2, &[&dma_map(address, size, offset, flags)], &[file.as_fd()])
    };
    assert_eq!(raw.map(0x10000, 0x4000, &file).flags, 1);
    assert_eq!(map(&mut raw, 0x13000, 0x1000, 0, 3), libc::EEXIST);
    assert_eq!(map(&mut raw, 0, 0x10_0000, 0, 3), libc::EEXIST);
    assert_eq!(map(&mut raw, 0x20000, 0x1000, 0, 0), libc::EINVAL);
    assert_eq!(map(&mut raw, 0x20000, 0, 0, 3), libc::EINVAL);
    assert_eq!(map(&mut raw, 0x20001, 0x1000, 0, 3), libc::EINVAL);
    assert_eq!(map(&mut raw, u64::MAX - 0xfff, 0x2000, 0, 3), libc::EINVAL);
    assert_eq!(map(&mut raw, 0x20000, 0x20_0000, 0, 3), libc::EINVAL);
    assert_eq!(map(&mut raw, 0x20000, 0x1000, 0x10_0000, 3), libc::EINVAL);
    assert_eq!(map(&mut raw, 0x20000, u64::MAX - 0x30fff, 0, 3), libc::ENOSPC);
    // More maps than a client may have, and more bytes, with and without files.
    for at in 1..16 {
        raw.ask_well(2, &[&dma_map(at << 32, 0x1000, 0, 3)], &[]);
    }
    assert_eq!(map(&mut raw, 0x20000, 0x1000, 0, 3), libc::ENOSPC);
    raw.ask_well(3, &[&dma_unmap(1 << 32, 0x1000, 0)], &[]);
    assert_eq!(
        raw.ask_badly(2, &[&dma_map(1 << 40, 1 << 30, 0, 3)], &[]),
        libc::ENOSPC
    );
    // Files that are no memory, or may not be written.
    let (_read, pipe) = rustix::pipe::pipe().unwrap();
    let zero = std::fs::File::open("/dev/zero").unwrap();
    let status = std::fs::File::open("/proc/self/status").unwrap();
    let kept = tempfile::NamedTempFile::new().unwrap();
    kept.as_file().set_len(0x1000).unwrap();
    let read_only = std::fs::File::open(kept.path()).unwrap();
    for file in [
        pipe.as_fd(),
        zero.as_fd(),
        status.as_fd(),
        raw.stream.try_clone().unwrap().as_fd(),
        read_only.as_fd(),
    ] {
        raw.ask_badly(2, &[&dma_map(1 << 41, 0x1000, 0, 3)], &[file]);
    }
    assert_eq!(server.counters().refused(Refusal::Map), 16);
    for (address, size, flags) in [
        (0x10000, 0x1000, 0),
        (0x11000, 0x1000, 0),
        (0x10000, 0x4000, 1),
        (7, 0, 0),
    ] {
        assert_eq!(
            raw.ask_badly(3, &[&dma_unmap(address, size, flags)], &[]),
            libc::ENOENT
        );
    }
    assert_eq!(server.counters().refused(Refusal::Unmap), 4);
    drop(raw);
    works(&server);
}

fn descriptors() {
    let (server, stream) = Scratch::served();
    let mut raw = Raw::agreed(stream);
    // The other end of a pipe tells when every copy of this one is closed.
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).unwrap();
    let files = [write.as_fd(); 40];
    // More than a message may have, with and without a use for them; where none is wanted; too few.
    raw.ask_badly(8, &[&words(&[20, 0x24, 2, 0, 17])], &files[..17]);
    raw.ask_badly(8, &[&words(&[20, 0x24, 2, 0, 16])], &files[..40]);
    raw.ask_badly(4, &[&words(&[16, 0, 0, 0])], &files[..1]);
    raw.ask_badly(13, &[], &files[..16]);
    raw.ask_badly(2, &[&dma_map(0, 0x1000, 0, 3)], &files[..2]);
    raw.ask_badly(8, &[&words(&[20, 0x24, 2, 0, 4])], &files[..3]);
    raw.ask_badly(8, &[&words(&[20, 0x24, 2, 0, 3])], &files[..4]);
    raw.ask_badly(8, &[&words(&[20, 0x21, 2, 0, 1])], &files[..1]);
    // Not an event.
    raw.ask_badly(8, &[&words(&[20, 0x24, 2, 0, 1])], &[memfd(4096).as_fd()]);
    assert_eq!(server.counters().refused(Refusal::Descriptors), 9);
    // Spread over the bytes of one message they are still counted together.
    let message = [header(7, 8, 36, 0), words(&[20, 0x24, 2, 0, 16])].concat();
    for (byte, file) in message.iter().zip(&files) {
        raw.send_bytes(&[*byte], &[*file]);
    }
    assert_eq!(raw.receive().flags, 0x21);
    assert_eq!(server.counters().refused(Refusal::Descriptors), 10);
    drop(write);
    assert_eq!(rustix::io::read(&read, &mut [0; 1]), Ok(0), "all were closed");
    drop(raw);
    works(&server);
}

fn interrupts() {
    let (server, stream) = Scratch::served();
    let mut raw = Raw::agreed(stream);
    let bad = [
        // flags, index, start, count
        [0x21, 2, 20, 1],
        [0x21, 2, 0, 21],
        [0x21, 2, u32::MAX, 2],
        [0x21, 2, 1, 0],
        [0x24, 2, 0, 0],
        [0x24, 2, 19, 2],
        [0x21, 0, 0, 1],
        [0x21, 5, 0, 0],
        [0x21, u32::MAX, 0, 1],
        [0x00, 2, 0, 1],
        [0x20, 2, 0, 1],
        [0x01, 2, 0, 1],
        [0x0c, 2, 0, 1],
        [0x39, 2, 0, 1],
        [0x27, 2, 0, 1],
        [0xffff_ffff, 2, 0, 1],
        [0x41, 2, 0, 1],
    ];
    for [flags, index, start, count] in bad {
        raw.ask_badly(8, &[&words(&[20, flags, index, start, count]), &[1; 32]], &[]);
    }
    for index in [5, u32::MAX] {
        raw.ask_badly(7, &[&words(&[16, 0, index, 0])], &[]);
    }
    assert_eq!(server.counters().refused(Refusal::Interrupt), 19);
    // A counter that is full does not hold the server up.
    let event = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    rustix::io::write(&event, &(u64::MAX - 1).to_ne_bytes()).unwrap();
    raw.ask_well(8, &[&words(&[20, 0x24, 2, 0, 1])], &[event.as_fd()]);
    raw.ask_well(8, &[&words(&[20, 0x21, 2, 0, 1])], &[]);
    drop(raw);
    works(&server);
}

/// A client that asks and asks and never reads: it waits, and the server goes on for its owner.
fn deaf() {
    let (server, stream) = Scratch::served();
    let mut raw = Raw::agreed(stream);
    raw.stream.set_nonblocking(true).unwrap();
    let ask = [header(1, 9, 32, 0), access(0, 7, 4096)].concat();
    let mut asked = 0u64;
    while rustix::io::write(&raw.stream, &ask).is_ok_and(|sent| sent == ask.len()) {
        asked += 1;
        assert!(asked < 1_000_000, "the socket has no end");
    }
    let answered = || server.counters().messages();
    eventually("a stop", || {
        let before = answered();
        std::thread::sleep(Duration::from_millis(50));
        before > 1 && before == answered()
    });
    assert!(answered() < asked);
    assert!(server.ask(|_| ()).is_some());
    // It hears again.
    raw.stream.set_nonblocking(false).unwrap();
    assert_eq!(raw.receive().body.len(), 4096 + 16);
    drop(raw);
    works(&server);
}

/// A client that cuts its memory off under the device's thread loses its connection; others go on. The pages that go
/// have been written and read by the device.
fn truncation(kind: Kind) {
    let reserved = (kind == Kind::Huge).then(|| HugePages::reserve(2 * FILES));
    if let Some(Err(reason)) = &reserved {
        println!("SKIP: {reason}");
        return;
    }
    let page = kind.page_bytes();
    let bytes = (2 * page).max(0x10_0000);
    let (server, stream) = Scratch::served();
    let (other, other_stream) = Scratch::served();
    let mut bystander = Raw::agreed(other_stream);
    let sound = memfd(0x1000);
    assert_eq!(bystander.map(0x8000, 0x1000, &sound).flags, 1);
    bystander.write_register(0, register::COUNT_AT, 0x8000);
    for times in 1..FILES {
        let mut raw = Raw::agreed(connected_again(&server, times, &stream));
        let file = kind.open(bytes).unwrap();
        assert_eq!(raw.map(0x8000, bytes, &file).flags, 1);
        raw.write_register(0, register::COUNT_AT, 0x1_8000);
        let before = count(&file, 0x1_0000);
        eventually("the device's counting", || count(&file, 0x1_0000) != before);
        rustix::fs::ftruncate(&file, 0).unwrap();
        assert!(raw.is_closed());
        eventually("the end of the client", || !server.state().is_connected);
        assert_eq!(server.counters().refused(Refusal::CutOff), times);
    }
    works(&server);
    // The server's own access: a register that makes it copy, which it can before.
    let mut raw = Raw::agreed(connected(&server));
    let file = kind.open(bytes).unwrap();
    assert_eq!(raw.map(0x8000, bytes, &file).flags, 1);
    raw.write_register(0, register::ADDRESS, u32::try_from(0x8000 + page).unwrap());
    raw.write_register(0, register::INVERT, 64);
    assert_eq!(count(&file, page + 4096), [0xff; 4]);
    rustix::fs::ftruncate(&file, page).unwrap();
    raw.send(10, 0, &[&access(register::INVERT, 0, 4), &words(&[64])], &[]);
    assert!(raw.is_closed());
    assert_eq!(server.counters().refused(Refusal::CutOff), FILES);
    works(&server);
    assert_eq!(other.counters().refused(Refusal::CutOff), 0);
    assert!(other.state().is_connected);
    let before = count(&sound, 0);
    eventually("the other function's counting", || count(&sound, 0) != before);
    drop(reserved);
}

/// Files that [`truncation`] cuts off, one after the other.
const FILES: u64 = 4;

/// What is in a file.
fn count(file: &OwnedFd, at: u64) -> [u8; 4] {
    let mut bytes = [0; 4];
    assert_eq!(rustix::io::pread(file, &mut bytes, at), Ok(4));
    bytes
}

/// The first time the stream that the server has, then new ones.
fn connected_again<F>(
    server: &ServerHandle<F>,
    times: u64,
    first: &std::os::unix::net::UnixStream,
) -> std::os::unix::net::UnixStream {
    if times == 1 {
        first.try_clone().unwrap()
    } else {
        connected(server)
    }
}

/// The fuzz function over the corpus, cut anywhere and with bytes changed.
fn corpus() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/vfio_user_messages");
    let mut entries = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = std::fs::read(entry.unwrap().path()).unwrap();
        fuzz::messages(&entry);
        let step = (entry.len() / 40).max(1);
        for at in (0..entry.len()).step_by(step) {
            fuzz::messages(&entry[..at]);
            for value in [0, 0x7f, 0xff] {
                let mut changed = entry.clone();
                changed[at] = value;
                fuzz::messages(&changed);
            }
        }
        entries += 1;
    }
    assert!(entries >= 4, "{entries} entries");
}
