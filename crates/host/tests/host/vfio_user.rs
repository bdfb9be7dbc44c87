//! A function served over vfio-user, by its own client and by messages as QEMU writes them.

use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use libtest_mimic::Trial;
use rustix::event::{EventfdFlags, eventfd};
use trinic_host::vfio_user::{Client, ClientOptions, Refusal, Server};
use trinic_pci::bus::BusError;
use trinic_pci::{Bus, Memory, SharedMemory};

use crate::support::Host;
use crate::vfio_user_parts::{
    Raw, Scratch, VECTORS, access, connected, dma_unmap, eventually, memfd, register, words,
};

pub(crate) fn trials(host: &Host) -> Vec<Trial> {
    vec![
        host.plain_trial("vfio_user_registers_and_doorbells", registers_and_doorbells),
        host.plain_trial("vfio_user_dma_and_interrupts", dma_and_interrupts),
        host.plain_trial("vfio_user_config_space_and_resets", config_space_and_resets),
        host.plain_trial("vfio_user_client_leaves_and_another_comes", reconnects),
        host.plain_trial("vfio_user_path_is_taken_over_and_removed", paths),
        host.plain_trial("vfio_user_owner_visits_and_stops", owner_visits),
        host.plain_trial("vfio_user_messages_as_qemu_writes_them", as_qemu),
        host.plain_trial("vfio_user_vectors_one_by_one", vectors),
        host.plain_trial("vfio_user_several_writes_in_a_message", many_writes),
        host.plain_trial("vfio_user_unmapping_waits_for_the_datapath", unmapping_waits),
    ]
}

fn options() -> ClientOptions {
    ClientOptions {
        dma_bytes: 1 << 20,
        ..ClientOptions::default()
    }
}

fn registers_and_doorbells() {
    let (server, stream) = Scratch::served();
    let client = Client::on_stream(stream, &options()).unwrap();
    assert_eq!(client.vector_count(), VECTORS);
    assert_eq!(
        [0, 1, 2, 3].map(|bar| client.bar_size_bytes(bar)),
        [0x4000, 0x2000, 0x1_0000, 0]
    );
    client.register_write(0, register::SCRATCH, 0x1234_5678).unwrap();
    assert_eq!(client.register_read(0, register::SCRATCH), Ok(0x1234_5678));
    assert_eq!(client.register_read(0, 0x2000), Ok(u32::MAX));
    // Mapped words go without a message, in both directions.
    let messages = server.counters().messages();
    client.register_write(0, 0x1ffc, 7).unwrap();
    client.push(2, 0x40, &[0xa5; 64]).unwrap();
    let seen = server.ask(|function| {
        let mut pushed = [0; 64];
        function.shared[1].read(0x40, &mut pushed);
        function.shared[0].store_u32(0x1000, 9);
        (function.shared[0].take_u32(0x1ffc), pushed)
    });
    assert_eq!(seen, Some((7, [0xa5; 64])));
    assert_eq!(client.register_read(0, 0x1000), Ok(9));
    assert_eq!(client.register_read(0, 0x1ffc), Ok(0));
    assert_eq!(server.counters().messages(), messages);
    // What cannot be pushed, and a register that is not there.
    for (bar, offset, length) in [
        (0, 0x0, 8),
        (0, 0x1ff8, 16),
        (2, 0xfff8, 16),
        (2, 4, 8),
        (2, 0, 12),
        (3, 0, 8),
    ] {
        let pushed = client.push(bar, offset, &vec![0; length]);
        assert!(
            matches!(pushed, Err(BusError::Protocol(_))),
            "{bar} {offset}: {pushed:?}"
        );
    }
    assert!(matches!(client.register_read(3, 0), Err(BusError::Protocol(_))));
    assert!(matches!(
        client.register_read(0, 0x3ffe),
        Err(BusError::Protocol(_))
    ));
    assert_eq!(server.counters().refused(Refusal::Region), 2);
}

fn dma_and_interrupts() {
    let (server, stream) = Scratch::served();
    let mut client = Client::on_stream(stream, &options()).unwrap();
    let first = client.allocate(100, 64).unwrap();
    let address = client.allocate(8192, 4096).unwrap();
    assert!(first >= options().dma_address && address >= first + 100 && address.is_multiple_of(4096));
    let data: Vec<u8> = (0..=255).collect();
    client.memory().write(address, &data).unwrap();
    client
        .register_write(0, register::ADDRESS, address.try_into().unwrap())
        .unwrap();
    client.register_write(0, register::INVERT, 256).unwrap();
    assert_eq!(client.wait(1, Duration::from_secs(5)), Ok(true));
    assert_eq!(client.wait(1, Duration::ZERO), Ok(false));
    let mut back = vec![0; 256];
    client.memory().read(address + 4096, &mut back).unwrap();
    assert!(back.iter().zip(&data).all(|(back, data)| *back == !data));
    // A range that is not mapped raises nothing.
    client.register_write(0, register::ADDRESS, 0).unwrap();
    client.register_write(0, register::INVERT, 256).unwrap();
    assert_eq!(client.wait(1, Duration::from_millis(5)), Ok(false));
    // The function's timer.
    client.register_write(0, register::TIMER, 2).unwrap();
    assert_eq!(client.wait(2, Duration::from_secs(5)), Ok(true));
    assert!(matches!(
        client.wait(VECTORS, Duration::ZERO),
        Err(BusError::Protocol(_))
    ));
    assert_eq!(client.allocate(2 << 20, 1), Err(BusError::OutOfMemory(2 << 20)));
    assert!(client.allocate(4096, 4096).is_ok());
    // Queues of a driver run in threads of their own.
    let client = std::sync::Arc::new(client);
    let queue = std::sync::Arc::clone(&client);
    std::thread::spawn(move || queue.register_write(0, 0x1010, 4).unwrap())
        .join()
        .unwrap();
    assert_eq!(client.register_read(0, 0x1010), Ok(4));
    // A driver that waits when its function goes.
    server.stop();
    assert!(matches!(
        client.wait(1, Duration::from_secs(5)),
        Err(BusError::Gone(_))
    ));
    assert!(matches!(client.register_read(0, 0), Err(BusError::Gone(_))));
}

fn config_space_and_resets() {
    let (_server, stream) = Scratch::served();
    let client = Client::on_stream(stream, &options()).unwrap();
    let mut config = vec![0; 4096];
    client.config_read(0, &mut config).unwrap();
    assert_eq!(config[..4], [0x0f, 0x1d, 0x20, 0xec]);
    client.config_write(0x18, &[0xff; 8]).unwrap();
    client.config_read(0x18, &mut config[..8]).unwrap();
    assert_eq!(config[..8], [0x0c, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    assert!(client.config_read(4090, &mut config[..8]).is_err());
    assert!(client.config_write(4095, &[0; 2]).is_err());
    for (resets, reset) in [(1, false), (2, true)] {
        client.register_write(0, register::SCRATCH, 5).unwrap();
        if reset {
            client.reset().unwrap();
        } else {
            client.config_write(0x48, &[0, 0x80]).unwrap();
        }
        assert_eq!(client.register_read(0, register::RESETS), Ok(resets));
        assert_eq!(client.register_read(0, register::SCRATCH), Ok(0));
    }
    // A mapped part that is read by message is the same memory.
    client.register_write(0, 0x1004, 0xabcd).unwrap();
    drop(client);
}

fn reconnects() {
    let (server, stream) = Scratch::served();
    let client = Client::on_stream(stream, &options()).unwrap();
    client.register_write(0, register::SCRATCH, 5).unwrap();
    client.register_write(0, 0x1000, 6).unwrap();
    // A second one is turned away, and the first is not disturbed.
    let turned_away = Client::on_stream(connected(&server), &options());
    assert!(matches!(turned_away, Err(BusError::Gone(_))), "{turned_away:?}");
    assert_eq!(server.counters().refused(Refusal::Busy), 1);
    assert_eq!(client.register_read(0, register::SCRATCH), Ok(5));
    drop(client);
    eventually("the end of the client", || !server.state().is_connected);
    let maps = server.ask(|function| function.memory_changes);
    assert_eq!(maps, Some(1));
    for clients in 2..5 {
        let client = Client::on_stream(connected(&server), &options()).unwrap();
        assert_eq!(client.register_read(0, register::SCRATCH), Ok(0));
        assert_eq!(client.register_read(0, 0x1000), Ok(0));
        client.register_write(0, 0x1000, 1).unwrap();
        assert_eq!(server.counters().clients(), clients);
        drop(client);
        eventually("the end of the client", || !server.state().is_connected);
    }
    server.disconnect();
    let state = server.state();
    assert!(state.is_running && !state.is_connected);
}

fn paths() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("card.sock");
    // As a killed server leaves it.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let server = Server::bind(&path, Scratch::parts()).unwrap().spawn().unwrap();
    assert!(Server::bind(&path, Scratch::parts()).is_err(), "somebody listens");
    // It was asked by connecting.
    eventually("the end of the question", || {
        server.counters().clients() == 1 && !server.state().is_connected
    });
    let client = Client::connect(&path, &options()).unwrap();
    client.register_write(0, register::SCRATCH, 1).unwrap();
    assert!(matches!(
        Client::connect(&path, &options()),
        Err(BusError::Gone(_))
    ));
    drop(client);
    eventually("the end of the client", || !server.state().is_connected);
    let client = Client::connect(&path, &options()).unwrap();
    assert_eq!(client.register_read(0, register::SCRATCH), Ok(0));
    server.stop();
    assert!(!path.exists());
    // What is not a socket is not removed.
    std::fs::write(&path, "mine").unwrap();
    assert!(Server::bind(&path, Scratch::parts()).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    std::fs::remove_file(&path).unwrap();

    // Its owner's alone, unless it is opened; then the socket is, and not what has come in its place.
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    let server = Server::bind(&path, Scratch::parts()).unwrap();
    assert_eq!(mode(), 0o600);
    server.open_to_all().unwrap();
    assert_eq!(mode(), 0o666);
    let aside = directory.path().join("aside");
    std::fs::rename(&path, &aside).unwrap();
    std::fs::write(&path, "theirs").unwrap();
    let before = mode();
    assert!(server.open_to_all().is_err());
    std::fs::rename(&path, directory.path().join("theirs")).unwrap();
    std::os::unix::fs::symlink("theirs", &path).unwrap();
    assert!(server.open_to_all().is_err());
    assert_eq!(mode(), before);
    server.spawn().unwrap().stop();
    assert!(path.exists() && aside.exists(), "it removes nothing but its own");

    // One whose queue is full is there too; asking does not wait for it.
    let busy = directory.path().join("busy.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&busy).unwrap();
    let address = rustix::net::SocketAddrUnix::new(&busy).unwrap();
    let mut waiting = Vec::new();
    loop {
        let flags = rustix::net::SocketFlags::NONBLOCK | rustix::net::SocketFlags::CLOEXEC;
        let (family, kind) = (rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM);
        let socket = rustix::net::socket_with(family, kind, flags, None).unwrap();
        if rustix::net::connect(&socket, &address).is_err() || waiting.len() == 5000 {
            break;
        }
        waiting.push(socket);
    }
    assert!(waiting.len() < 5000, "the queue is full");
    assert!(Server::bind(&busy, Scratch::parts()).is_err());
    assert!(busy.exists());
}

fn owner_visits() {
    let (server, stream) = Scratch::served();
    let client = Client::on_stream(stream, &options()).unwrap();
    // One that keeps the function busy holds up only who waits for it.
    let (let_go, held) = std::sync::mpsc::channel::<()>();
    server.visit(move |_| assert!(held.recv().is_err()));
    let answer = server.ask_later(|function| function.memory_changes);
    let waited = answer.recv_timeout(Duration::from_millis(20));
    assert_eq!(waited, Err(std::sync::mpsc::RecvTimeoutError::Timeout));
    drop(let_go);
    assert!(answer.recv_timeout(Duration::from_secs(10)).is_ok());
    server.visit(|function| function.shared[0].store_u32(0x1008, 77));
    assert_eq!(
        server.ask(|function| function.shared[0].load_u32(0x1008)),
        Some(77)
    );
    assert_eq!(client.register_read(0, 0x1008), Ok(77));
    server.disconnect();
    eventually("the end of the client", || !server.state().is_connected);
    assert!(client.register_read(0, register::SCRATCH).is_err());
    // A function that panics ends its server and nobody else's; its client and its owner are told.
    let client = Client::on_stream(connected(&server), &options()).unwrap();
    server.visit(|_| std::panic::resume_unwind(Box::new("on purpose")));
    eventually("the end of the server", || !server.state().is_running);
    assert!(!server.state().is_connected);
    assert!(matches!(
        client.register_read(0, register::SCRATCH),
        Err(BusError::Gone(_))
    ));
    assert_eq!(server.ask(|_| ()), None);
}

/// The sequence that QEMU 11.1 was seen to send, byte by byte.
fn as_qemu() {
    let (server, stream) = Scratch::served();
    let mut qemu = Raw::agreed(stream);
    let info = qemu.ask_well(4, &[&words(&[16, 0, 0, 0])], &[]);
    assert_eq!(info.body, words(&[16, 3, 9, 5]));
    // Room for the fixed part only, then for all.
    let small = qemu.ask_well(5, &[&words(&[32, 0, 0, 0, 0, 0, 0, 0])], &[]);
    assert_eq!(small.body, words(&[64, 15, 0, 32, 0x4000, 0, 0, 0]));
    assert!(small.files.is_empty());
    let whole = qemu.ask_well(5, &[&words(&[64, 0, 0, 0, 0, 0, 0, 0])], &[]);
    let sparse = [0x0001_0001, 0, 1, 0, 0x1000, 0, 0x1000, 0];
    let expected = [&words(&[64, 15, 0, 32, 0x4000, 0, 0, 0])[..], &words(&sparse)].concat();
    assert_eq!((whole.body, whole.files.len()), (expected, 1));
    for (index, expected) in [
        (1, [32, 3, 1, 0, 0x2000, 0, 0, 0]),
        (3, [32, 0, 3, 0, 0, 0, 0, 0]),
        (7, [32, 3, 7, 0, 0x1000, 0, 0, 0]),
        (8, [32, 0, 8, 0, 0, 0, 0, 0]),
    ] {
        let region = qemu.ask_well(5, &[&words(&[64, 0, index, 0, 0, 0, 0, 0])], &[]);
        assert_eq!((region.body, region.files.len()), (words(&expected), 0));
    }
    let irqs = qemu.ask_well(7, &[&words(&[16, 0, 2, 0])], &[]);
    assert_eq!(irqs.body, words(&[16, 1, 2, VECTORS.into()]));
    let error_irqs = qemu.ask_well(7, &[&words(&[16, 0, 3, 0])], &[]);
    assert_eq!(error_irqs.body, words(&[16, 0, 3, 0]));
    qemu.ask_well(13, &[], &[]);
    // Memory: RAM with a file, a ROM without, taken away in one message each and all at once.
    let file = memfd(0x20_0000);
    assert_eq!(qemu.map(0x10_0000, 0x10_0000, &file).flags, 1);
    let rom = crate::vfio_user_parts::dma_map(0xfffc_0000, 0x4_0000, 0, 1);
    qemu.ask_well(2, &[&rom], &[]);
    let gone = qemu.ask_well(3, &[&dma_unmap(0x10_0000, 0x10_0000, 0)], &[]);
    assert_eq!(gone.body, dma_unmap(0x10_0000, 0x10_0000, 0));
    qemu.ask_well(3, &[&dma_unmap(0, 0, 2)], &[]);
    assert_eq!(qemu.map(0x10_0000, 0x10_0000, &file).flags, 1);
    // Config space whole, and a posted write before a read that sees it.
    assert_eq!(
        qemu.ask_well(9, &[&access(0, 7, 4096)], &[]).body.len(),
        16 + 4096
    );
    qemu.send(10, 0x10, &[&access(0, 0, 4), &words(&[0x77])], &[]);
    assert_eq!(qemu.read_register(0, 0), 0x77);
    // Odd accesses are cut into legal ones; those of a mapped part reach its memory.
    qemu.ask_well(10, &[&access(0x1001, 0, 7), &[1, 2, 3, 4, 5, 6, 7]], &[]);
    let read = qemu.ask_well(9, &[&access(0x1000, 0, 16)], &[]);
    assert_eq!(read.body[16..], [0, 1, 2, 3, 4, 5, 6, 7, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        server.ask(|function| function.shared[0].load_u32(0x1004)),
        Some(0x0706_0504)
    );
}

fn vectors() {
    let (server, stream) = Scratch::served();
    let mut raw = Raw::agreed(stream);
    let events: Vec<_> = (0..16)
        .map(|_| eventfd(0, EventfdFlags::CLOEXEC).unwrap())
        .collect();
    let taken = |at: usize| {
        let mut bytes = [0; 8];
        rustix::io::read(&events[at], &mut bytes).map_or(0, |_| u64::from_ne_bytes(bytes))
    };
    let set = |flags, start, count| words(&[20, flags, 2, start, count]);
    // All of a message at once, then "no event" for some, then one again.
    let files: Vec<_> = events.iter().map(AsFd::as_fd).collect();
    raw.ask_well(8, &[&set(0x24, 2, 16)], &files);
    raw.ask_well(8, &[&set(0x24, 0, 2)], &[]);
    raw.ask_well(8, &[&set(0x24, 18, 2)], &[]);
    // Triggered by the client: without data, and by truth values.
    raw.ask_well(8, &[&set(0x21, 2, 2)], &[]);
    raw.ask_well(8, &[&set(0x22, 2, 3), &[0, 1, 1]], &[]);
    assert_eq!([taken(0), taken(1), taken(2), taken(3)], [1, 2, 1, 0]);
    // Masked and unmasked.
    raw.ask_well(8, &[&set(0x09, 2, 2)], &[]);
    raw.ask_well(8, &[&set(0x21, 2, 2)], &[]);
    assert_eq!([taken(0), taken(1)], [0, 0]);
    raw.ask_well(8, &[&set(0x12, 2, 2), &[0, 1]], &[]);
    assert_eq!([taken(0), taken(1)], [0, 1]);
    raw.ask_well(8, &[&set(0x11, 2, 1)], &[]);
    assert_eq!(taken(0), 1);
    // Taken away one, then all; other kinds of interrupt have none to disable.
    raw.ask_well(8, &[&set(0x24, 3, 1)], &[]);
    raw.ask_well(8, &[&set(0x21, 2, 3)], &[]);
    assert_eq!([taken(0), taken(1), taken(2)], [1, 0, 1]);
    raw.ask_well(8, &[&set(0x21, 0, 0)], &[]);
    raw.ask_well(8, &[&set(0x21, 2, 3)], &[]);
    assert_eq!([taken(0), taken(1), taken(2)], [0, 0, 0]);
    for index in [0, 1, 3, 4] {
        raw.ask_well(8, &[&words(&[20, 0x21, index, 0, 0])], &[]);
    }
    assert_eq!(server.counters().refused(Refusal::Interrupt), 0);
}

fn many_writes() {
    let (server, stream) = Scratch::served();
    let mut raw = Raw::agreed(stream);
    let write = |offset, value| [access(offset, 0, 4), words(&[value, 0])].concat();
    let several = [&2u64.to_ne_bytes()[..], &write(0, 0x55), &write(0x1000, 0x66)].concat();
    let reply = raw.ask_well(15, &[&several], &[]);
    assert_eq!(reply.body, 2u64.to_ne_bytes());
    assert_eq!(raw.read_register(0, 0), 0x55);
    assert_eq!(
        server.ask(|function| function.shared[0].load_u32(0x1000)),
        Some(0x66)
    );
}

/// A thread of the device writes all the time; when the unmapping is answered, it does so no more.
fn unmapping_waits() {
    let (server, stream) = Scratch::served();
    let mut raw = Raw::agreed(stream);
    let file = memfd(0x1000);
    let count = || {
        let mut bytes = [0; 12];
        rustix::io::pread(&file, &mut bytes, 0).unwrap();
        bytes
    };
    for _ in 0..20 {
        assert_eq!(raw.map(0x8000, 0x1000, &file).flags, 1);
        raw.write_register(0, register::COUNT_AT, 0x8000);
        let before = count();
        eventually("counting", || count() != before);
        raw.ask_well(3, &[&dma_unmap(0x8000, 0x1000, 0)], &[]);
        let after = count();
        std::thread::sleep(Duration::from_millis(1));
        assert_eq!(count(), after);
        raw.ask_well(13, &[], &[]);
    }
    assert_eq!(server.ask(|function| function.memory_changes), Some(20));
    // A client that hangs up while the thread runs.
    assert_eq!(raw.map(0x8000, 0x1000, &file).flags, 1);
    raw.write_register(0, register::COUNT_AT, 0x8000);
    drop::<UnixStream>(raw.stream);
    eventually("the end of the client", || !server.state().is_connected);
    let after = count();
    std::thread::sleep(Duration::from_millis(1));
    assert_eq!(count(), after);
}
