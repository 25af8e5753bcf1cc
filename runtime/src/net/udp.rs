//! UDP.

use super::addr::{ToSocketAddrs, each_addr};
use super::shape::{share, time};
use super::socket::Socket;
use crate::cpu::source::Direction;
use std::io::{self, ErrorKind};
use std::net::{self, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A socket for datagrams, as [`std::net::UdpSocket`].
///
/// # Examples
/// ```
/// use fairground_runtime::net::UdpSocket;
///
/// let (a, b) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
/// a.send_to(b"hello", b.local_addr()?)?;
/// let mut buffer = [0; 10];
/// let (n, from) = b.recv_from(&mut buffer)?;
/// assert_eq!((&buffer[..n], from), (&b"hello"[..], a.local_addr()?));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UdpSocket(Socket<net::UdpSocket>);

share!(UdpSocket, net::UdpSocket);
time!(UdpSocket, net::UdpSocket);

/// Options, which are the system's alone.
macro_rules! options {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        impl UdpSocket {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// As the system says.
            pub fn $name(&self, $($argument: $type),*) -> io::Result<$result> {
                self.0.io().$name($($argument),*)
            }
        )*}
    };
}

options! {
    /// Where it is bound.
    local_addr() -> SocketAddr;
    /// Whom it is connected to.
    peer_addr() -> SocketAddr;
    /// Whether it may send to broadcast addresses (SO_BROADCAST).
    set_broadcast(broadcast: bool) -> ();
    /// See [`set_broadcast`](UdpSocket::set_broadcast).
    broadcast() -> bool;
    /// Whether multicasts come back to this host (IP_MULTICAST_LOOP).
    set_multicast_loop_v4(on: bool) -> ();
    /// See [`set_multicast_loop_v4`](UdpSocket::set_multicast_loop_v4).
    multicast_loop_v4() -> bool;
    /// How far multicasts go (IP_MULTICAST_TTL).
    set_multicast_ttl_v4(ttl: u32) -> ();
    /// See [`set_multicast_ttl_v4`](UdpSocket::set_multicast_ttl_v4).
    multicast_ttl_v4() -> u32;
    /// Whether multicasts come back to this host (IPV6_MULTICAST_LOOP).
    set_multicast_loop_v6(on: bool) -> ();
    /// See [`set_multicast_loop_v6`](UdpSocket::set_multicast_loop_v6).
    multicast_loop_v6() -> bool;
    /// The time to live of its packets (IP_TTL).
    set_ttl(ttl: u32) -> ();
    /// See [`set_ttl`](UdpSocket::set_ttl).
    ttl() -> u32;
    /// Joins a group of multicast (IP_ADD_MEMBERSHIP).
    join_multicast_v4(group: &Ipv4Addr, interface: &Ipv4Addr) -> ();
    /// Joins a group of multicast (IPV6_ADD_MEMBERSHIP).
    join_multicast_v6(group: &Ipv6Addr, interface: u32) -> ();
    /// Leaves a group of multicast (IP_DROP_MEMBERSHIP).
    leave_multicast_v4(group: &Ipv4Addr, interface: &Ipv4Addr) -> ();
    /// Leaves a group of multicast (IPV6_DROP_MEMBERSHIP).
    leave_multicast_v6(group: &Ipv6Addr, interface: u32) -> ();
    /// The error that waits in the socket (SO_ERROR), which is taken out of it.
    take_error() -> Option<io::Error>;
}

impl UdpSocket {
    /// Binds to the first of the addresses where it can.
    ///
    /// # Errors
    /// It can at none: the last one's error.
    pub fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<UdpSocket> {
        each_addr(addr, |addr| UdpSocket::from_std(net::UdpSocket::bind(addr)?))
    }

    /// From now on only what comes from this address is received, and [`send`](UdpSocket::send) sends there. The first of the addresses that can be
    /// used.
    ///
    /// # Errors
    /// None can: the last one's error.
    pub fn connect<A: ToSocketAddrs>(&self, addr: A) -> io::Result<()> {
        each_addr(addr, |addr| self.0.io().connect(addr))
    }

    /// Waits for a datagram, of which what does not fit is lost; its length, and who sent it.
    ///
    /// # Errors
    /// `WouldBlock` when the time is over; else as the system says.
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.0.attempt(Direction::Read, |socket| socket.recv_from(buf))
    }

    /// As [`recv_from`](UdpSocket::recv_from), and the next one finds the same datagram.
    ///
    /// # Errors
    /// As for `recv_from`.
    pub fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.0.attempt(Direction::Read, |socket| socket.peek_from(buf))
    }

    /// Sends a datagram to the first of the addresses.
    ///
    /// # Errors
    /// `WouldBlock` when the time is over; else as the system says.
    pub fn send_to<A: ToSocketAddrs>(&self, buf: &[u8], addr: A) -> io::Result<usize> {
        let Some(addr) = addr.to_socket_addrs()?.next() else {
            return Err(io::Error::new(ErrorKind::InvalidInput, "no address to send to: the list is empty"));
        };
        self.0.attempt(Direction::Write, |socket| socket.send_to(buf, addr))
    }

    /// Waits for a datagram from whom it is connected to, of which what does not fit is lost; its length.
    ///
    /// # Errors
    /// `WouldBlock` when the time is over; `ConnectionRefused` if nobody is there for what was sent before; else as the system says.
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.attempt(Direction::Read, |socket| socket.recv(buf))
    }

    /// As [`recv`](UdpSocket::recv), and the next one finds the same datagram.
    ///
    /// # Errors
    /// As for `recv`.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.attempt(Direction::Read, |socket| socket.peek(buf))
    }

    /// Sends a datagram to whom it is connected to.
    ///
    /// # Errors
    /// `WouldBlock` when the time is over; `ConnectionRefused` if nobody is there for what was sent before; else as the system says.
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.0.attempt(Direction::Write, |socket| socket.send(buf))
    }
}
