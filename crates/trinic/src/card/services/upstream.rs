//! Questions to the host's resolver, each from a socket of its own.
//!
//! An answer over UDP is believed for what it has: the address and port that it comes from and goes to, the
//! id, the question. A port of its own for every question, drawn at random by the kernel, makes the port one
//! more thing to guess (RFC 5452 §9.2). Which of the answers is one is the responder's to say; the socket
//! stays until it has said so or does not wait any more, so a wrong answer costs nobody the right one.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;

use std::collections::BTreeMap;
use std::mem::MaybeUninit;

use rustix::event::{Timespec, epoll};

/// The host's resolver, and what it was asked.
#[derive(Debug)]
pub(super) struct Upstream {
    server: SocketAddr,
    /// Readable when one of the sockets is.
    ready: OwnedFd,
    /// By the token of the query.
    asked: BTreeMap<u64, UdpSocket>,
}

/// Where the host says which resolver it uses.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The port of resolvers. Source: [RFC 1035 §4.2.1].
const PORT: u16 = 53;
/// Sockets at most; a question beyond them is not sent, and runs into its timeout as a lost one does.
const SOCKETS: usize = 1024;
/// Sockets read in one round.
const SOCKETS_PER_ROUND: usize = 32;
/// Answers read from one socket in one round; there should be one.
const ANSWERS_PER_SOCKET: usize = 4;
/// The longest answer over UDP.
const ANSWER_BYTES: usize = 4096;

impl Upstream {
    /// The first resolver that the host names; `None` when it names none.
    ///
    /// # Errors
    ///
    /// When the kernel gives no descriptor.
    pub(super) fn of_host() -> io::Result<Option<Self>> {
        let text = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
        match first_nameserver(&text) {
            Some(server) => Self::new(SocketAddr::new(server, PORT)).map(Some),
            None => {
                tracing::warn!("{RESOLV_CONF} names no resolver: names outside the VPCs are not found");
                Ok(None)
            }
        }
    }

    /// A resolver.
    ///
    /// # Errors
    ///
    /// When the kernel gives no descriptor.
    pub(super) fn new(server: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            server,
            ready: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            asked: BTreeMap::new(),
        })
    }

    /// Becomes readable when an answer is there.
    pub(super) fn ready(&self) -> &OwnedFd {
        &self.ready
    }

    /// Sends a question. One that cannot be sent is like one that was lost: it runs into its timeout.
    pub(super) fn ask(&mut self, token: u64, query: &[u8]) {
        if self.asked.len() >= SOCKETS {
            return;
        }
        match self.send(token, query) {
            Ok(socket) => {
                self.asked.insert(token, socket);
            }
            Err(error) => tracing::debug!(%error, "The host's resolver cannot be asked"),
        }
    }

    fn send(&self, token: u64, query: &[u8]) -> io::Result<UdpSocket> {
        let any: IpAddr = match self.server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        socket.connect(self.server)?;
        socket.set_nonblocking(true)?;
        let data = epoll::EventData::new_u64(token);
        epoll::add(&self.ready, &socket, data, epoll::EventFlags::IN)?;
        socket.send(query)?;
        Ok(socket)
    }

    /// Gives each answer that is there, with its token, to `take`.
    pub(super) fn receive(&self, mut take: impl FnMut(u64, &[u8])) {
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); SOCKETS_PER_ROUND];
        let Ok((ready, _)) = epoll::wait(&self.ready, &mut events, Some(&Timespec::default())) else {
            return;
        };
        let mut answer = [0; ANSWER_BYTES];
        for event in &*ready {
            let token = event.data.u64();
            let Some(socket) = self.asked.get(&token) else {
                continue;
            };
            for _ in 0..ANSWERS_PER_SOCKET {
                // An error is an ICMP message about the question, which then runs into its timeout.
                let Ok(length) = socket.recv(&mut answer) else {
                    break;
                };
                take(token, answer.get(..length).unwrap_or_default());
            }
        }
    }

    /// Closes the sockets of questions whose answer nobody waits for.
    pub(super) fn keep(&mut self, is_waiting: impl Fn(u64) -> bool) {
        self.asked.retain(|token, _| is_waiting(*token));
    }
}

fn first_nameserver(resolv_conf: &str) -> Option<IpAddr> {
    resolv_conf
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .find_map(|rest| rest.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_resolver_that_is_an_address() {
        let text =
            "# nameserver 192.0.2.1\nsearch x\nnameserver nonsense\n nameserver 192.0.2.2 \nnameserver ::1\n";
        assert_eq!(first_nameserver(text), Some(Ipv4Addr::new(192, 0, 2, 2).into()));
        assert_eq!(first_nameserver("search x"), None);
    }

    #[test]
    fn each_question_has_a_port_of_its_own_until_it_is_not_waited_for() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut upstream = Upstream::new(server.local_addr().unwrap()).unwrap();
        let mut askers = Vec::new();
        for token in 1..=8 {
            upstream.ask(token, b"question");
            let (_, from) = server.recv_from(&mut [0; 16]).unwrap();
            askers.push(from);
        }
        let ports: std::collections::BTreeSet<u16> = askers.iter().map(SocketAddr::port).collect();
        assert_eq!(ports.len(), 8);
        // The kernel draws them: they do not count up.
        let order: Vec<u16> = askers.iter().map(SocketAddr::port).collect();
        assert!(
            order.windows(2).any(|pair| pair[1] != pair[0].wrapping_add(1)),
            "{order:?}"
        );

        // Somebody else's datagram is not even seen; the server's is, as often as it comes.
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        other.send_to(b"forged", askers[2]).unwrap();
        server.send_to(b"one", askers[2]).unwrap();
        server.send_to(b"two", askers[2]).unwrap();
        let mut seen = Vec::new();
        upstream.receive(|token, answer| seen.push((token, answer.to_vec())));
        assert_eq!(seen, [(3, b"one".to_vec()), (3, b"two".to_vec())]);

        upstream.keep(|token| token != 3);
        assert_eq!(upstream.asked.len(), 7);
        // Its port is closed by now.
        server.send_to(b"late", askers[2]).unwrap();
        upstream.receive(|token, _| panic!("an answer to {token}"));
    }
}
