//! Unix sockets without connections.
//!
//! # A receiver without room
//!
//! A receiver holds a few datagrams (`net.unix.max_dgram_qlen`, 10 by default, or 512). When it is full, epoll tells a sender that is connected to it when there is
//! room again; one that is not is told nothing. So [`UnixDatagram::send_to`] tries again after naps.

use super::shape::{share, time};
use super::socket::Socket;
use crate::cpu::source::Direction;
use crate::time::sleep;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a sender naps before it asks again whether a receiver has room: as long as a slice of the scheduler's, and then twice as long each time up to
/// what a person would not notice.
const NAP: Duration = Duration::from_micros(500);
const NAP_MAX: Duration = Duration::from_millis(16);

/// A socket for datagrams, as [`std::os::unix::net::UnixDatagram`].
///
/// # Examples
/// ```
/// use fairground_runtime::net::UnixDatagram;
///
/// let (a, b) = UnixDatagram::pair()?;
/// a.send(b"hello")?;
/// let mut buffer = [0; 10];
/// assert_eq!(b.recv(&mut buffer)?, 5);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UnixDatagram(Socket<net::UnixDatagram>);

share!(UnixDatagram, net::UnixDatagram);
time!(UnixDatagram, net::UnixDatagram);

impl UnixDatagram {
    /// Binds to this path, where there must be nothing yet.
    ///
    /// # Errors
    /// `AddrInUse` if there is something; else as the system says.
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<UnixDatagram> {
        UnixDatagram::from_std(net::UnixDatagram::bind(path)?)
    }

    /// Binds to this address.
    ///
    /// # Errors
    /// As for [`bind`](UnixDatagram::bind).
    pub fn bind_addr(addr: &SocketAddr) -> io::Result<UnixDatagram> {
        UnixDatagram::from_std(net::UnixDatagram::bind_addr(addr)?)
    }

    /// One without an address.
    ///
    /// # Errors
    /// As the system says.
    pub fn unbound() -> io::Result<UnixDatagram> {
        UnixDatagram::from_std(net::UnixDatagram::unbound()?)
    }

    /// Two that are connected to each other.
    ///
    /// # Errors
    /// As the system says.
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        let (a, b) = net::UnixDatagram::pair()?;
        Ok((UnixDatagram::from_std(a)?, UnixDatagram::from_std(b)?))
    }

    /// From now on [`send`](UnixDatagram::send) sends to this path, and only what comes from there is received.
    ///
    /// # Errors
    /// Nobody is there, or as the system says.
    pub fn connect<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        self.0.io().connect(path)
    }

    /// As [`connect`](UnixDatagram::connect), by address.
    ///
    /// # Errors
    /// As for `connect`.
    pub fn connect_addr(&self, addr: &SocketAddr) -> io::Result<()> {
        self.0.io().connect_addr(addr)
    }

    /// Waits for a datagram, of which what does not fit is lost; its length, and who sent it.
    ///
    /// # Errors
    /// `WouldBlock` when the time is over; else as the system says.
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.0.attempt(Direction::Read, |socket| socket.recv_from(buf))
    }

    /// Waits for a datagram, of which what does not fit is lost; its length.
    ///
    /// # Errors
    /// As for [`recv_from`](UnixDatagram::recv_from).
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.attempt(Direction::Read, |socket| socket.recv(buf))
    }

    /// Sends a datagram to this path.
    ///
    /// # Errors
    /// `WouldBlock` when the time is over; nobody is there; else as the system says.
    pub fn send_to<P: AsRef<Path>>(&self, buf: &[u8], path: P) -> io::Result<usize> {
        let path = path.as_ref();
        self.send_napping(|socket| socket.send_to(buf, path))
    }

    /// Sends a datagram to this address.
    ///
    /// # Errors
    /// As for [`send_to`](UnixDatagram::send_to).
    pub fn send_to_addr(&self, buf: &[u8], addr: &SocketAddr) -> io::Result<usize> {
        self.send_napping(|socket| socket.send_to_addr(buf, addr))
    }

    /// Sends a datagram to whom it is connected to.
    ///
    /// # Errors
    /// As for [`send_to`](UnixDatagram::send_to).
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.0.attempt(Direction::Write, |socket| socket.send(buf))
    }

    fn send_napping(&self, mut f: impl FnMut(&net::UnixDatagram) -> io::Result<usize>) -> io::Result<usize> {
        let deadline = self.0.deadline(Direction::Write);
        let mut nap = NAP;
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            match self.0.attempt_once(&mut f) {
                Err(error) if error.kind() == ErrorKind::WouldBlock && left != Some(Duration::ZERO) => (),
                result => return result,
            }
            if self.0.is_nonblocking() {
                return Err(ErrorKind::WouldBlock.into());
            }
            sleep(left.map_or(nap, |left| left.min(nap)));
            nap = (nap * 2).min(NAP_MAX);
        }
    }

    /// This end's address.
    ///
    /// # Errors
    /// As the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.io().local_addr()
    }

    /// The other end's address.
    ///
    /// # Errors
    /// It is not connected.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.io().peer_addr()
    }

    /// The error that waits in the socket (SO_ERROR), which is taken out of it.
    ///
    /// # Errors
    /// As the system says.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.0.io().take_error()
    }

    /// Ends receiving, sending or both, for all clones; who waits for it is woken.
    ///
    /// # Errors
    /// As the system says.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.io().shutdown(how)
    }
}
