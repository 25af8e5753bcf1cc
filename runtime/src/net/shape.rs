//! What several sockets have in common with std's, written once: clones, non-blocking mode, timeouts, descriptors, `Read` and `Write`.

/// Clones, non-blocking mode, std and descriptors.
macro_rules! share {
    ($type:ident, $std:ty) => {
        impl $type {
            /// Another handle to the same socket, also in its timeouts.
            ///
            /// # Errors
            /// None today; the result is there for the likeness with std.
            pub fn try_clone(&self) -> std::io::Result<$type> {
                Ok($type(self.0.share()))
            }

            /// Whether operations that would wait return the error `WouldBlock` instead; for all clones.
            ///
            /// # Errors
            /// None today; the result is there for the likeness with std.
            pub fn set_nonblocking(&self, nonblocking: bool) -> std::io::Result<()> {
                self.0.set_nonblocking(nonblocking);
                Ok(())
            }

            /// As std's, in blocking mode unless [`set_nonblocking`](Self::set_nonblocking) said otherwise. The timeouts of this one are forgotten.
            ///
            /// # Errors
            /// `ResourceBusy` if clones exist.
            pub fn into_std(self) -> std::io::Result<$std> {
                let (socket, nonblocking) = self.0.into_io()?;
                let socket = <$std>::from(socket);
                socket.set_nonblocking(nonblocking)?;
                Ok(socket)
            }
        }

        impl std::os::fd::AsFd for $type {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.0.io().as_fd()
            }
        }

        impl std::os::fd::AsRawFd for $type {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                self.0.io().as_raw_fd()
            }
        }

        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.io().fmt(f)
            }
        }
    };
}

/// Timeouts, and the making from std's.
macro_rules! time {
    ($type:ident, $std:ty) => {
        impl $type {
            /// Of std's, which becomes non-blocking; its timeouts count no longer.
            ///
            /// # Errors
            /// As the system says.
            pub fn from_std(socket: $std) -> std::io::Result<$type> {
                socket.set_nonblocking(true)?;
                Ok($type($crate::net::socket::Socket::new(socket)))
            }

            /// How long reading may wait; then it returns `WouldBlock`. None: for ever.
            ///
            /// # Errors
            /// `InvalidInput` for a timeout of 0.
            pub fn set_read_timeout(&self, timeout: Option<std::time::Duration>) -> std::io::Result<()> {
                self.0.set_timeout($crate::cpu::source::Direction::Read, timeout)
            }

            /// How long writing may wait; then it returns `WouldBlock`. None: for ever.
            ///
            /// # Errors
            /// `InvalidInput` for a timeout of 0.
            pub fn set_write_timeout(&self, timeout: Option<std::time::Duration>) -> std::io::Result<()> {
                self.0.set_timeout($crate::cpu::source::Direction::Write, timeout)
            }

            /// See [`set_read_timeout`](Self::set_read_timeout).
            ///
            /// # Errors
            /// None today; the result is there for the likeness with std.
            pub fn read_timeout(&self) -> std::io::Result<Option<std::time::Duration>> {
                Ok(self.0.timeout($crate::cpu::source::Direction::Read))
            }

            /// See [`set_write_timeout`](Self::set_write_timeout).
            ///
            /// # Errors
            /// None today; the result is there for the likeness with std.
            pub fn write_timeout(&self) -> std::io::Result<Option<std::time::Duration>> {
                Ok(self.0.timeout($crate::cpu::source::Direction::Write))
            }
        }
    };
}

/// `Read` and `Write`, for the type and references to it. `$attempt` is the method of `Socket` that knows what a short read means.
macro_rules! stream {
    ($type:ident, $attempt:ident) => {
        impl std::io::Read for &$type {
            fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
                let room = buf.len();
                self.0.$attempt(Direction::Read, room, |mut stream| stream.read(buf))
            }

            fn read_vectored(&mut self, bufs: &mut [std::io::IoSliceMut<'_>]) -> std::io::Result<usize> {
                let room = bufs.iter().map(|buf| buf.len()).sum();
                self.0.$attempt(Direction::Read, room, |mut stream| stream.read_vectored(bufs))
            }
        }

        impl std::io::Write for &$type {
            fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
                self.0.$attempt(Direction::Write, buf.len(), |mut stream| stream.write(buf))
            }

            fn write_vectored(&mut self, bufs: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                let room = bufs.iter().map(|buf| buf.len()).sum();
                self.0.$attempt(Direction::Write, room, |mut stream| stream.write_vectored(bufs))
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }

        impl std::io::Read for $type {
            fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
                (&*self).read(buf)
            }

            fn read_vectored(&mut self, bufs: &mut [std::io::IoSliceMut<'_>]) -> std::io::Result<usize> {
                (&*self).read_vectored(bufs)
            }
        }

        impl std::io::Write for $type {
            fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
                (&*self).write(buf)
            }

            fn write_vectored(&mut self, bufs: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                (&*self).write_vectored(bufs)
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
    };
}

pub(super) use {share, stream, time};
