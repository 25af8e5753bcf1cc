//! Unix sockets with connections: [`UnixListener`] and [`UnixStream`].
//!
//! # A listener without room
//!
//! TCP's connections wait for room while they are connecting; a Unix socket that is non-blocking is refused at once (EAGAIN), and nothing tells when
//! there is room. Then a helper thread connects, blocking.

use super::shape::{share, stream, time};
use super::socket::Socket;
use crate::blocking::unblock;
use crate::cpu::source::Direction;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;

/// A connection, as [`std::os::unix::net::UnixStream`].
///
/// # Examples
/// ```
/// use fairground_runtime::net::UnixStream;
/// use std::io::{Read, Write};
///
/// let (mut a, mut b) = UnixStream::pair()?;
/// a.write_all(b"hello")?;
/// let mut hello = [0; 5];
/// b.read_exact(&mut hello)?;
/// assert_eq!(&hello, b"hello");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UnixStream(Socket<net::UnixStream>);

impl UnixStream {
    /// Connects to the listener with this path.
    ///
    /// # Errors
    /// There is none, or as the system says.
    pub fn connect<P: AsRef<Path>>(path: P) -> io::Result<UnixStream> {
        UnixStream::connect_addr(&SocketAddr::from_pathname(path)?)
    }

    /// Connects to the listener at this address.
    ///
    /// # Errors
    /// There is none, or as the system says.
    pub fn connect_addr(addr: &SocketAddr) -> io::Result<UnixStream> {
        match mio::net::UnixStream::connect_addr(addr) {
            Ok(stream) => Ok(UnixStream(Socket::new(net::UnixStream::from(stream)))),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let addr = addr.clone();
                UnixStream::from_std(unblock(move || net::UnixStream::connect_addr(&addr))?)
            }
            Err(error) => Err(error),
        }
    }

    /// Two that are connected to each other.
    ///
    /// # Errors
    /// As the system says.
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let (a, b) = net::UnixStream::pair()?;
        Ok((UnixStream::from_std(a)?, UnixStream::from_std(b)?))
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
    /// As the system says.
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

    /// Ends reading, writing or both, for all clones; who waits for it is woken.
    ///
    /// # Errors
    /// As the system says.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.io().shutdown(how)
    }
}

share!(UnixStream, net::UnixStream);
time!(UnixStream, net::UnixStream);
// A short read need not mean that there is no more: reads end at descriptors that were sent along.
stream!(UnixStream, attempt_some);

/// A socket that accepts connections, as [`std::os::unix::net::UnixListener`].
pub struct UnixListener(Socket<mio::net::UnixListener>);

impl UnixListener {
    /// Listens at this path, where there must be nothing yet.
    ///
    /// # Errors
    /// `AddrInUse` if there is something; else as the system says.
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<UnixListener> {
        UnixListener::from_std(net::UnixListener::bind(path)?)
    }

    /// Listens at this address.
    ///
    /// # Errors
    /// As for [`bind`](UnixListener::bind).
    pub fn bind_addr(addr: &SocketAddr) -> io::Result<UnixListener> {
        UnixListener::from_std(net::UnixListener::bind_addr(addr)?)
    }

    /// Of std's, which becomes non-blocking.
    ///
    /// # Errors
    /// As the system says.
    pub fn from_std(listener: net::UnixListener) -> io::Result<UnixListener> {
        listener.set_nonblocking(true)?;
        Ok(UnixListener(Socket::new(mio::net::UnixListener::from_std(listener))))
    }

    /// Waits for a connection; with it comes the other end's address.
    ///
    /// # Errors
    /// As the system says, such as that there are no descriptors left: then try again later.
    pub fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        // mio's sets the connection non-blocking in the same system call.
        let (stream, addr) = self.0.attempt(Direction::Read, mio::net::UnixListener::accept)?;
        Ok((UnixStream(Socket::new(net::UnixStream::from(stream))), addr))
    }

    /// The connections, one after the other, for ever.
    pub fn incoming(&self) -> UnixIncoming<'_> {
        UnixIncoming(self)
    }

    /// Where it listens.
    ///
    /// # Errors
    /// As the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.io().local_addr()
    }

    /// The error that waits in the socket (SO_ERROR), which is taken out of it.
    ///
    /// # Errors
    /// As the system says.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.0.io().take_error()
    }
}

share!(UnixListener, net::UnixListener);

/// See [`UnixListener::incoming`].
#[derive(Debug)]
pub struct UnixIncoming<'a>(&'a UnixListener);

impl Iterator for UnixIncoming<'_> {
    type Item = io::Result<UnixStream>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.accept().map(|(stream, _)| stream))
    }
}
