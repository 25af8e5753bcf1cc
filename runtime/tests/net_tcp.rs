//! TCP between tasks, and between tasks and plain threads.

use fairground_runtime::net::{Shutdown, TcpListener, TcpStream};
use fairground_runtime::time::{Duration, Instant, sleep};
use fairground_runtime::{Runtime, scope, spawn, yield_now};
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).pin(false).build().expect("a runtime")
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a free port")
}

/// Two ends of a connection.
fn pair() -> (TcpStream, TcpStream) {
    let listener = listener();
    let client = TcpStream::connect(listener.local_addr().expect("its address")).expect("connected");
    (client, listener.accept().expect("accepted").0)
}

/// Sends back all that comes until the other end says that no more will.
fn echo(mut stream: TcpStream) {
    let mut buffer = vec![0; 10_007];
    loop {
        match stream.read(&mut buffer).expect("read") {
            0 => return,
            n => stream.write_all(&buffer[..n]).expect("written"),
        }
    }
}

/// Bytes without a period that a shifted or repeated block could hide behind.
fn pattern(seed: u32, bytes: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9E37_79B9) | 1;
    let next = || {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        x as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

#[test]
fn a_mebibyte_each_way_on_many_connections_comes_back_as_it_was() {
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let listener = listener();
            let address = listener.local_addr().expect("its address");
            let server = spawn(move || {
                for stream in listener.incoming().take(20) {
                    let stream = stream.expect("accepted");
                    spawn(move || echo(stream));
                }
            });
            scope(|scope| {
                for seed in 0..20 {
                    scope.spawn(move || {
                        let stream = TcpStream::connect(address).expect("connected");
                        let data = pattern(seed, 1 << 20);
                        let writer = stream.try_clone().expect("another handle");
                        let sent = data.clone();
                        // One task writes while another reads on the same stream.
                        let writer = spawn(move || {
                            (&writer).write_all(&sent).expect("written");
                            writer.shutdown(Shutdown::Write).expect("no more comes");
                        });
                        let mut back = Vec::new();
                        (&stream).read_to_end(&mut back).expect("read");
                        writer.join().expect("no panic");
                        assert!(back == data, "connection {seed}: {} bytes came back, changed", back.len());
                    });
                }
            });
            server.join().expect("no panic");
        });
    }
}

#[test]
fn a_plain_thread_is_the_client_of_a_task() {
    let runtime = runtime(1);
    let listener = runtime.run(listener);
    let address = listener.local_addr().expect("its address");
    let server = runtime.spawn(move || echo(listener.accept().expect("accepted").0));
    let mut client = TcpStream::connect(address).expect("connected");
    for round in 0..100_u8 {
        client.write_all(&[round; 100]).expect("written");
        let mut back = [0; 100];
        client.read_exact(&mut back).expect("read");
        assert_eq!(back, [round; 100]);
    }
    drop(client);
    server.join().expect("no panic");
}

#[test]
fn std_is_the_client_and_streams_become_stds_and_come_back() {
    runtime(1).run(|| {
        let listener = listener();
        let address = listener.local_addr().expect("its address");
        let client = std::thread::spawn(move || {
            let mut stream = std::net::TcpStream::connect(address).expect("connected");
            stream.write_all(b"from std").expect("written");
            let mut back = String::new();
            stream.read_to_string(&mut back).expect("read");
            back
        });
        let (mut stream, _) = listener.accept().expect("accepted");
        let mut got = [0; 8];
        stream.read_exact(&mut got).expect("read");
        assert_eq!(&got, b"from std");
        let clone = stream.try_clone().expect("another handle");
        let error = stream.into_std().expect_err("there is a clone");
        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
        let std = clone.into_std().expect("the only one");
        let mut stream = TcpStream::from_std(std).expect("and back");
        stream.write_all(b"bye").expect("written");
        drop(stream);
        assert_eq!(client.join().expect("no panic"), "bye");
    });
}

#[test]
fn data_before_the_end_comes_first_and_then_the_end_again_and_again() {
    runtime(1).run(|| {
        let (mut client, mut server) = pair();
        let reader = spawn(move || {
            let mut buffer = [0; 100];
            let mut got = Vec::new();
            loop {
                match server.read(&mut buffer).expect("read") {
                    0 => break,
                    n => got.extend_from_slice(&buffer[..n]),
                }
            }
            for _ in 0..3 {
                assert_eq!(server.read(&mut buffer).expect("the end again"), 0);
            }
            // The other direction is open still.
            server.write_all(b"heard").expect("written");
            got
        });
        yield_now();
        client.write_all(&[7; 250]).expect("written");
        yield_now();
        client.shutdown(Shutdown::Write).expect("half closed");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("read");
        assert_eq!(answer, "heard");
        assert_eq!(reader.join().expect("no panic"), [7; 250]);
    });
}

#[test]
fn reading_has_a_timeout() {
    let ends = |(client, mut server): (TcpStream, TcpStream)| {
        let timeout = Duration::from_millis(20);
        server.set_read_timeout(Some(timeout)).expect("set");
        assert_eq!(server.read_timeout().expect("known"), Some(timeout));
        let before = Instant::now();
        let error = server.read(&mut [0; 10]).expect_err("nothing was sent");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!(before.elapsed() >= timeout);
        // It goes on working.
        (&client).write_all(b"now").expect("written");
        let mut got = [0; 3];
        server.read_exact(&mut got).expect("read");
        assert_eq!(&got, b"now");
        let error = server.set_read_timeout(Some(Duration::ZERO)).expect_err("no time");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    };
    runtime(1).run(|| ends(pair()));
    ends(pair());
}

#[test]
fn writing_has_a_timeout() {
    runtime(1).run(|| {
        let (mut client, server) = pair();
        client.set_write_timeout(Some(Duration::from_millis(20))).expect("set");
        let chunk = vec![1; 1 << 20];
        let mut sent = 0;
        let error = loop {
            match client.write(&chunk) {
                Ok(n) => sent += n,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        let reader = spawn(move || std::io::copy(&mut &server, &mut std::io::sink()).expect("read") as usize);
        client.set_write_timeout(None).expect("set");
        client.write_all(&chunk).expect("there is room again");
        drop(client);
        assert_eq!(reader.join().expect("no panic"), sent + chunk.len());
    });
}

#[test]
fn nobody_there_is_refused() {
    runtime(1).run(|| {
        let gone = listener().local_addr().expect("its address");
        assert_eq!(TcpStream::connect(gone).expect_err("nobody").kind(), ErrorKind::ConnectionRefused);
        let error = TcpStream::connect_timeout(&gone, Duration::from_secs(60)).expect_err("nobody");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let error = TcpStream::connect_timeout(&gone, Duration::ZERO).expect_err("no time");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let none: &[std::net::SocketAddr] = &[];
        assert_eq!(TcpStream::connect(none).expect_err("nowhere").kind(), ErrorKind::InvalidInput);
        // The first that answers.
        let here = listener();
        let addresses = [gone, here.local_addr().expect("its address")];
        let stream = TcpStream::connect(&addresses[..]).expect("the second");
        assert_eq!(stream.peer_addr().expect("connected"), addresses[1]);
    });
}

#[test]
fn connecting_has_a_timeout() {
    runtime(1).run(|| {
        // Room for one connection that nobody accepts; further ones are not answered.
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        // SAFETY: a socket of ours.
        assert_eq!(unsafe { libc::listen(std::os::fd::AsRawFd::as_raw_fd(&socket), 0) }, 0);
        let address = socket.local_addr().expect("its address");
        let mut held = Vec::new();
        let timeout = Duration::from_millis(50);
        for _ in 0..8 {
            let before = Instant::now();
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(stream) => held.push(stream),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::TimedOut);
                    assert!(before.elapsed() >= timeout);
                    return;
                }
            }
        }
        panic!("{} connections, and room for one", held.len());
    });
}

#[test]
fn localhost_is_known() {
    runtime(1).run(|| {
        let listener = TcpListener::bind(("localhost", 0)).expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let server = spawn(move || echo(listener.accept().expect("accepted").0));
        let mut stream = TcpStream::connect(format!("localhost:{port}")).expect("connected");
        stream.write_all(b"x").expect("written");
        stream.read_exact(&mut [0]).expect("read");
        drop(stream);
        server.join().expect("no panic");
        assert!(TcpStream::connect("no port here").is_err());
    });
}

#[test]
fn peeking_takes_nothing_and_vectors_fill_in_order() {
    runtime(1).run(|| {
        let (mut client, mut server) = pair();
        let reader = spawn(move || {
            let mut peeked = [0; 4];
            assert_eq!(server.peek(&mut peeked).expect("peeked"), 4);
            let (mut first, mut second) = ([0; 4], [0; 4]);
            let n =
                server.read_vectored(&mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)]).expect("read");
            (peeked, first, second, n)
        });
        yield_now();
        let n = client.write_vectored(&[IoSlice::new(b"abc"), IoSlice::new(b"defgh")]).expect("written");
        assert_eq!(n, 8);
        assert_eq!(reader.join().expect("no panic"), (*b"abcd", *b"abcd", *b"efgh", 8));
    });
}

/// A read ends at the mark of urgent data, and there is no further event for what comes behind it.
#[test]
fn what_comes_behind_urgent_data_is_read() {
    runtime(1).run(|| {
        let (client, mut server) = pair();
        let other = server.try_clone().expect("another handle");
        // Waits once, so that the reactor knows it.
        spawn(move || other.peek(&mut [0]).expect("there is something")).task();
        yield_now();
        (&client).write_all(b"before").expect("written");
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&client);
        // SAFETY: a socket of ours, and a byte.
        assert_eq!(unsafe { libc::send(descriptor, b"!".as_ptr().cast(), 1, libc::MSG_OOB) }, 1);
        (&client).write_all(b"behind").expect("written");
        // The reactor has seen it all by the time this task runs again.
        sleep(Duration::from_millis(5));
        let (mut buffer, mut got) = ([0; 100], Vec::new());
        while got.len() < 12 {
            match server.read(&mut buffer).expect("read") {
                0 => panic!("the end after {got:?}"),
                n => got.extend_from_slice(&buffer[..n]),
            }
        }
        assert_eq!(got, b"beforebehind");
    });
}

#[test]
fn options_are_those_of_the_socket() {
    let (client, server) = pair();
    client.set_nodelay(true).expect("set");
    assert!(client.nodelay().expect("known"));
    client.set_ttl(33).expect("set");
    assert_eq!(client.ttl().expect("known"), 33);
    assert_eq!(client.peer_addr().expect("connected"), server.local_addr().expect("its address"));
    assert!(client.take_error().expect("known").is_none());
    client.set_nonblocking(true).expect("set");
    assert_eq!((&client).read(&mut [0]).expect_err("nothing there").kind(), ErrorKind::WouldBlock);
    client.set_nonblocking(false).expect("set");
    drop(server);
    assert_eq!((&client).read(&mut [0]).expect("the end"), 0);
}

#[test]
fn a_cancelled_task_leaves_each_wait() {
    runtime(1).run(|| {
        let listening = listener();
        let accepting = spawn(move || listening.accept().map(drop));
        let (client, server) = pair();
        let clone = server.try_clone().expect("another handle");
        let reading = spawn(move || (&clone).read(&mut [0; 10]));
        let (writer, unread) = pair();
        let writing = spawn(move || (&writer).write_all(&vec![0; 64 << 20]));
        let sleeping = spawn(|| sleep(Duration::from_secs(3600)));
        sleep(Duration::from_millis(20));
        accepting.cancel();
        reading.cancel();
        writing.cancel();
        sleeping.cancel();
        assert!(accepting.join().expect_err("cancelled").is_cancelled());
        assert!(reading.join().expect_err("cancelled").is_cancelled());
        assert!(writing.join().expect_err("cancelled").is_cancelled());
        assert!(sleeping.join().expect_err("cancelled").is_cancelled());
        // The stream is as usable as before.
        let drain = spawn(move || std::io::copy(&mut &client, &mut std::io::sink()).expect("read"));
        (&server).write_all(b"still here").expect("written");
        server.shutdown(Shutdown::Write).expect("the end");
        assert_eq!(drain.join().expect("no panic"), 10);
        drop(unread);
    });
}

#[test]
fn shutdown_wakes_who_reads() {
    runtime(2).run(|| {
        let (client, server) = pair();
        let reader = server.try_clone().expect("another handle");
        let reading = spawn(move || (&reader).read(&mut [0; 10]).expect("the end"));
        sleep(Duration::from_millis(5));
        server.shutdown(Shutdown::Read).expect("shut down");
        assert_eq!(reading.join().expect("no panic"), 0);
        drop(client);
    });
}

#[test]
fn a_thousand_connections_at_once() {
    runtime(2).run(|| {
        let listener = listener();
        let address = listener.local_addr().expect("its address");
        let server = spawn(move || {
            let tasks: Vec<_> = (0..1000)
                .map(|_| {
                    let (stream, _) = listener.accept().expect("accepted");
                    spawn(move || echo(stream))
                })
                .collect();
            tasks.into_iter().for_each(|task| task.join().expect("no panic"));
        });
        let clients: Vec<_> = (0..1000_u32)
            .map(|n| {
                spawn(move || {
                    let mut stream = TcpStream::connect(address).expect("connected");
                    for round in 0..3 {
                        let data = pattern(n + round, 200);
                        stream.write_all(&data).expect("written");
                        let mut back = [0; 200];
                        stream.read_exact(&mut back).expect("read");
                        assert_eq!(back[..], data);
                    }
                    stream
                })
            })
            .collect();
        // All are open until the last is done.
        let streams: Vec<_> = clients.into_iter().map(|client| client.join().expect("no panic")).collect();
        assert_eq!(streams.len(), 1000);
        drop(streams);
        server.join().expect("no panic");
    });
}

#[test]
fn a_socket_that_outlives_its_runtime_says_so() {
    let runtime = runtime(1);
    let (client, server) = runtime.run(|| {
        let (client, server) = pair();
        // Waits once, so that it is watched by this runtime.
        server.set_read_timeout(Some(Duration::from_millis(1))).expect("set");
        (&server).read(&mut [0]).expect_err("nothing there");
        server.set_read_timeout(None).expect("set");
        (client, server)
    });
    let waiting = std::thread::spawn(move || (&server).read(&mut [0]).expect_err("nobody watches"));
    std::thread::sleep(Duration::from_millis(20));
    drop(runtime);
    let error = waiting.join().expect("no panic");
    assert!(error.to_string().contains("runtime"), "{error}");
    drop(client);
}
