//! Datagrams, and Unix sockets with names.

use fairground_runtime::net::{Shutdown, UdpSocket, UnixDatagram, UnixListener, UnixStream};
use fairground_runtime::time::{Duration, Instant, sleep};
use fairground_runtime::{Runtime, scope, spawn, yield_now};
use std::io::{ErrorKind, Read, Write};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).pin(false).build().expect("a runtime")
}

fn udp() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").expect("a free port")
}

#[test]
fn datagrams_go_to_and_fro_and_are_cut_to_the_buffer() {
    runtime(2).run(|| {
        let (a, b) = (udp(), udp());
        let to_b = b.local_addr().expect("its address");
        let answering = spawn(move || {
            let mut buffer = [0; 100];
            for _ in 0..50 {
                let (n, from) = b.recv_from(&mut buffer).expect("received");
                b.send_to(&buffer[..n], from).expect("sent");
            }
            b
        });
        for n in 1..=50_u8 {
            a.send_to(&vec![n; n as usize], to_b).expect("sent");
            let mut buffer = [0; 30];
            let got = a.recv(&mut buffer).expect("received");
            assert_eq!(got, (n as usize).min(30));
            assert!(buffer[..got].iter().all(|&byte| byte == n));
        }
        let b = answering.join().expect("no panic");
        b.connect(a.local_addr().expect("its address")).expect("connected");
        b.send(b"peeked").expect("sent");
        let mut buffer = [0; 10];
        assert_eq!(a.peek_from(&mut buffer).expect("peeked").0, 6);
        assert_eq!(a.recv(&mut buffer).expect("received"), 6);
        let nowhere: &[std::net::SocketAddr] = &[];
        assert_eq!(a.send_to(b"x", nowhere).expect_err("nowhere").kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn a_datagram_that_nobody_got_is_refused_and_the_socket_goes_on() {
    runtime(1).run(|| {
        let socket = udp();
        let gone = udp().local_addr().expect("its address");
        socket.connect(gone).expect("no packet is sent yet");
        socket.send(b"anybody?").expect("sent");
        let error = socket.recv(&mut [0; 10]).expect_err("nobody");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        // The error looked like an end to the reactor; it was none, so this waits, and others run.
        let receiving = socket.try_clone().expect("another handle");
        let receiving = spawn(move || receiving.recv(&mut [0; 10]).expect("received"));
        (0..100).for_each(|_| yield_now());
        let friend = udp();
        socket.connect(friend.local_addr().expect("its address")).expect("connected");
        friend.send_to(b"hello", socket.local_addr().expect("its address")).expect("sent");
        assert_eq!(receiving.join().expect("no panic"), 5);
    });
}

#[test]
fn receiving_has_a_timeout() {
    let receive = || {
        let socket = udp();
        let timeout = Duration::from_millis(10);
        socket.set_read_timeout(Some(timeout)).expect("set");
        let before = Instant::now();
        assert_eq!(socket.recv_from(&mut [0; 10]).expect_err("nothing comes").kind(), ErrorKind::WouldBlock);
        assert!(before.elapsed() >= timeout);
    };
    runtime(1).run(receive);
    receive();
}

#[test]
fn unix_streams_carry_a_mebibyte_each_way_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("echo");
    runtime(2).run(|| {
        let listener = UnixListener::bind(&path).expect("nothing there yet");
        assert_eq!(UnixListener::bind(&path).expect_err("there is now").kind(), ErrorKind::AddrInUse);
        assert_eq!(listener.local_addr().expect("its address").as_pathname(), Some(path.as_path()));
        scope(|scope| {
            scope.spawn(|| {
                for mut stream in listener.incoming().take(5).map(|stream| stream.expect("accepted")) {
                    scope.spawn(move || {
                        let mut buffer = vec![0; 5003];
                        loop {
                            match stream.read(&mut buffer).expect("read") {
                                0 => return,
                                n => stream.write_all(&buffer[..n]).expect("written"),
                            }
                        }
                    });
                }
            });
            for seed in 0..5_u32 {
                let path = &path;
                scope.spawn(move || {
                    let stream = UnixStream::connect(path).expect("connected");
                    let data: Vec<u8> = (0..1_u32 << 20).map(|n| (n.wrapping_mul(n + seed) >> 7) as u8).collect();
                    let (writer, sent) = (stream.try_clone().expect("another handle"), data.clone());
                    let writer = spawn(move || {
                        (&writer).write_all(&sent).expect("written");
                        writer.shutdown(Shutdown::Write).expect("no more comes");
                    });
                    let mut back = Vec::new();
                    (&stream).read_to_end(&mut back).expect("read");
                    writer.join().expect("no panic");
                    assert!(back == data, "{} bytes came back, changed", back.len());
                });
            }
        });
        assert_eq!(UnixStream::connect(folder.path().join("none")).expect_err("none").kind(), ErrorKind::NotFound);
    });
}

#[test]
fn connecting_waits_for_room_at_a_unix_listener() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("full");
    let listener = std::os::unix::net::UnixListener::bind(&path).expect("bound");
    // SAFETY: a socket of ours.
    assert_eq!(unsafe { libc::listen(std::os::fd::AsRawFd::as_raw_fd(&listener), 0) }, 0);
    runtime(1).run(|| {
        let clients: Vec<_> = (0..5)
            .map(|_| {
                let path = path.clone();
                spawn(move || UnixStream::connect(path).expect("there will be room"))
            })
            .collect();
        sleep(Duration::from_millis(20));
        assert!(clients.iter().any(|client| !client.is_finished()), "there was room for all");
        let listener = UnixListener::from_std(listener).expect("non-blocking");
        let accepted: Vec<_> = (0..5).map(|_| listener.accept().expect("accepted")).collect();
        for client in clients {
            client.join().expect("no panic").write_all(b"x").expect("written");
        }
        for (mut stream, _) in accepted {
            stream.read_exact(&mut [0]).expect("read");
        }
    });
}

#[test]
fn unix_datagrams_wait_for_room_at_the_receiver() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("receiver");
    // More than a receiver holds (`net.unix.max_dgram_qlen`), by much.
    const DATAGRAMS: u32 = 2000;
    runtime(1).run(|| {
        let receiver = UnixDatagram::bind(&path).expect("bound");
        let receiving = |receiver: UnixDatagram| {
            spawn(move || {
                sleep(Duration::from_millis(10));
                let mut buffer = [0; 4];
                for n in 0..DATAGRAMS {
                    assert_eq!(receiver.recv(&mut buffer).expect("received"), 4);
                    assert_eq!(u32::from_ne_bytes(buffer), n);
                }
            })
        };
        let sender = UnixDatagram::unbound().expect("made");
        let received = receiving(receiver.try_clone().expect("another handle"));
        (0..DATAGRAMS).for_each(|n| assert_eq!(sender.send_to(&n.to_ne_bytes(), &path).expect("sent"), 4));
        received.join().expect("no panic");
        sender.connect(&path).expect("connected");
        let received = receiving(receiver.try_clone().expect("another handle"));
        (0..DATAGRAMS).for_each(|n| assert_eq!(sender.send(&n.to_ne_bytes()).expect("sent"), 4));
        received.join().expect("no panic");
        // Nobody receives: the time is over at last.
        sender.set_write_timeout(Some(Duration::from_millis(10))).expect("set");
        let full = |send: &dyn Fn() -> std::io::Result<usize>| loop {
            if let Err(error) = send() {
                return error.kind();
            }
        };
        assert_eq!(full(&|| sender.send(b"more")), ErrorKind::WouldBlock);
        let other = UnixDatagram::unbound().expect("made");
        other.set_write_timeout(Some(Duration::from_millis(10))).expect("set");
        assert_eq!(full(&|| other.send_to(b"more", &path)), ErrorKind::WouldBlock);
        other.set_nonblocking(true).expect("set");
        assert_eq!(full(&|| other.send_to(b"more", &path)), ErrorKind::WouldBlock);
    });
}
