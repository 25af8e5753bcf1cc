//! Sockets that mirror `std::net` and `std::os::unix::net`, for tasks and plain threads alike: who waits for one parks, and the core runs
//! others.
//!
//! # How it works
//!
//! A socket is std's or `mio`'s, in non-blocking mode. Each operation is tried; if it would block, the socket is registered with the reactor of the
//! cpu where this happened (`cpu/reactor.rs`), for good, and the caller waits for its direction and tries again. Registering as late as that puts
//! a connection that is accepted by one task and served by another where it is served, and costs those nothing that never wait. Sockets of plain
//! threads go to a cpu of the [global](crate::Runtime::global) runtime.
//!
//! An operation that does not wait is no suspension point, but for a task whose time is over: it gives way before it tries. Nothing unwinds between
//! an attempt that did something and the return, so a cancelled task loses no data.
//!
//! # What differs from std
//!
//! * Names are resolved by [`ToSocketAddrs`] of this module, on a helper thread.
//! * `try_clone` gives a handle to the same descriptor instead of a further one.
//! * After the end of its runtime a socket that must wait returns an error. (Only plain threads can come to see that.)
//! * Timeouts are this library's own: they do not show in the socket's options.

mod addr;
mod shape;
mod socket;
mod tcp;
mod udp;
mod unix;
mod unix_datagram;

pub use addr::ToSocketAddrs;
pub use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6};
pub use tcp::{Incoming, TcpListener, TcpStream};
pub use udp::UdpSocket;
pub use unix::{UnixIncoming, UnixListener, UnixStream};
pub use unix_datagram::UnixDatagram;
