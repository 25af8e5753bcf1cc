//! TCP: [`TcpListener`] and [`TcpStream`].

use super::addr::{ToSocketAddrs, each_addr};
use super::shape::{share, stream, time};
use super::socket::{Socket, no_time_at_all};
use crate::cpu::source::Direction;
use crate::park::deadline_after;
use std::io::{self, ErrorKind};
use std::net::{self, Shutdown, SocketAddr};
use std::time::{Duration, Instant};

/// A connection, as [`std::net::TcpStream`].
///
/// # Examples
/// ```
/// use fairground_runtime::net::{TcpListener, TcpStream};
/// use fairground_runtime::spawn;
/// use std::io::{Read, Write};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let address = listener.local_addr()?;
/// let server = spawn(move || {
///     let (mut stream, _) = listener.accept().unwrap();
///     stream.write_all(b"hello").unwrap();
/// });
/// let mut hello = String::new();
/// TcpStream::connect(address)?.read_to_string(&mut hello)?;
/// assert_eq!(hello, "hello");
/// server.join().unwrap();
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TcpStream(Socket<net::TcpStream>);

impl TcpStream {
    /// Connects to the first of the addresses that answers.
    ///
    /// # Errors
    /// None does: the last one's error.
    pub fn connect<A: ToSocketAddrs>(addr: A) -> io::Result<TcpStream> {
        each_addr(addr, |addr| TcpStream::connect_until(addr, None))
    }

    /// Connects, for as long as the timeout says.
    ///
    /// # Errors
    /// `TimedOut` when the time is over; `InvalidInput` if there is none at all; else why there is no connection.
    pub fn connect_timeout(addr: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        if timeout.is_zero() {
            return Err(no_time_at_all());
        }
        TcpStream::connect_until(*addr, deadline_after(timeout))
    }

    fn connect_until(addr: SocketAddr, deadline: Option<Instant>) -> io::Result<TcpStream> {
        let stream = mio::net::TcpStream::connect(addr)?;
        let stream = Socket::new(net::TcpStream::from(stream));
        let connected = stream.attempt_until(
            Direction::Write,
            deadline,
            |stream| match (stream.take_error()?, stream.peer_addr()) {
                (Some(error), _) => Err(error),
                (None, Err(error)) if error.kind() == ErrorKind::NotConnected => Err(ErrorKind::WouldBlock.into()),
                (None, result) => result,
            },
            |_| false,
        );
        match connected {
            Ok(_) => Ok(TcpStream(stream)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                Err(io::Error::new(ErrorKind::TimedOut, "connection timed out"))
            }
            Err(error) => Err(error),
        }
    }

    /// The other end's address.
    ///
    /// # Errors
    /// It is not connected any more.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.io().peer_addr()
    }

    /// This end's address.
    ///
    /// # Errors
    /// As the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.io().local_addr()
    }

    /// Ends reading, writing or both, for all clones; who waits for it is woken.
    ///
    /// # Errors
    /// It is not connected any more.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.io().shutdown(how)
    }

    /// Reads without taking: the next read finds the same bytes.
    ///
    /// # Errors
    /// As for reading.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.attempt(Direction::Read, |stream| stream.peek(buf))
    }

    /// Whether small writes are sent at once (TCP_NODELAY).
    ///
    /// # Errors
    /// As the system says.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.0.io().set_nodelay(nodelay)
    }

    /// See [`set_nodelay`](TcpStream::set_nodelay).
    ///
    /// # Errors
    /// As the system says.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.0.io().nodelay()
    }

    /// The time to live of its packets (IP_TTL).
    ///
    /// # Errors
    /// As the system says.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.0.io().set_ttl(ttl)
    }

    /// See [`set_ttl`](TcpStream::set_ttl).
    ///
    /// # Errors
    /// As the system says.
    pub fn ttl(&self) -> io::Result<u32> {
        self.0.io().ttl()
    }

    /// The error that waits in the socket (SO_ERROR), which is taken out of it.
    ///
    /// # Errors
    /// As the system says.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.0.io().take_error()
    }
}

share!(TcpStream, net::TcpStream);
time!(TcpStream, net::TcpStream);
stream!(TcpStream, attempt_bytes);

/// A socket that accepts connections, as [`std::net::TcpListener`].
///
/// # Examples
/// ```no_run
/// use fairground_runtime::{net::TcpListener, spawn};
///
/// let listener = TcpListener::bind("127.0.0.1:8080")?;
/// for stream in listener.incoming() {
///     let stream = stream?;
///     spawn(move || std::io::copy(&mut &stream, &mut &stream));
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TcpListener(Socket<mio::net::TcpListener>);

impl TcpListener {
    /// Listens at the first of the addresses where it can.
    ///
    /// # Errors
    /// It can at none: the last one's error.
    pub fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<TcpListener> {
        each_addr(addr, |addr| TcpListener::from_std(net::TcpListener::bind(addr)?))
    }

    /// Of std's, which becomes non-blocking.
    ///
    /// # Errors
    /// As the system says.
    pub fn from_std(listener: net::TcpListener) -> io::Result<TcpListener> {
        listener.set_nonblocking(true)?;
        Ok(TcpListener(Socket::new(mio::net::TcpListener::from_std(listener))))
    }

    /// Waits for a connection; with it comes the other end's address.
    ///
    /// # Errors
    /// As the system says, such as that there are no descriptors left: then try again later.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        // mio's sets the connection non-blocking in the same system call.
        let (stream, addr) = self.0.attempt(Direction::Read, mio::net::TcpListener::accept)?;
        Ok((TcpStream(Socket::new(net::TcpStream::from(stream))), addr))
    }

    /// The connections, one after the other, for ever.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming(self)
    }

    /// Where it listens.
    ///
    /// # Errors
    /// As the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.io().local_addr()
    }

    /// The time to live of its packets (IP_TTL).
    ///
    /// # Errors
    /// As the system says.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.0.io().set_ttl(ttl)
    }

    /// See [`set_ttl`](TcpListener::set_ttl).
    ///
    /// # Errors
    /// As the system says.
    pub fn ttl(&self) -> io::Result<u32> {
        self.0.io().ttl()
    }

    /// The error that waits in the socket (SO_ERROR), which is taken out of it.
    ///
    /// # Errors
    /// As the system says.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.0.io().take_error()
    }
}

share!(TcpListener, net::TcpListener);

/// See [`TcpListener::incoming`].
#[derive(Debug)]
pub struct Incoming<'a>(&'a TcpListener);

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.accept().map(|(stream, _)| stream))
    }
}
