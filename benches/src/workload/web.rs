//! Stands for a web server in Rust: each request brings a map of headers and a body of 1 to 64 KiB, a response is made of
//! strings that grow, and both are dropped at the end of the request. One request in eight starts a session, which goes into
//! a cache shared by all threads and lives until newer ones push it out: then the thread that happens to be there drops what
//! another has allocated. Our own; the mix follows what the authors of larson say of servers, with today's bodies and headers.
//!
//! Which sessions are made does not depend on who is scheduled, only when they expire. So a look-up, which each request does,
//! verifies the session that it finds and leaves the checksum alone; each session goes into it once, when it is dropped.

use super::Load;
use super::containers::{Map, digest};
use super::random::Random;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Mutex;

const REQUESTS: usize = 60_000;
const SESSIONS: usize = 4_000;
/// One request in so many starts a session.
const NEW_SESSION: usize = 8;
const HEADERS: [&str; 12] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "authorization",
    "cache-control",
    "content-type",
    "cookie",
    "host",
    "referer",
    "user-agent",
    "x-forwarded-for",
    "x-request-id",
];

struct Request {
    headers: Map<String, String>,
    body: Vec<u8>,
}

struct Session {
    user: String,
    token: u64,
    visited: Vec<String>,
}

/// The sessions, and the order in which they came.
#[derive(Default)]
struct Cache {
    sessions: Map<u64, Session>,
    order: VecDeque<u64>,
}

pub(super) fn run(load: &Load) -> u64 {
    let requests = load.scaled(REQUESTS);
    let cache = Mutex::new(Cache::default());
    let sum =
        load.in_threads(|mut random| (0..requests).fold(0_u64, |sum, _| sum.wrapping_add(serve(&mut random, &cache))));
    let cache = cache.into_inner().expect("no holder of the lock panics");
    cache.sessions.values().fold(sum, |sum, session| sum.wrapping_add(session.digest()))
}

/// One request from its arrival to its end; returns a digest of all it read and wrote.
fn serve(random: &mut Random, cache: &Mutex<Cache>) -> u64 {
    let request = Request::receive(random);
    let mut sum = 0_u64;
    if random.below(NEW_SESSION) == 0 {
        let session = Session::start(random);
        let expired = cache.lock().expect("no holder of the lock panics").insert(session);
        // Dropped here, after the lock.
        sum = expired.map_or(0, |session| session.digest());
    }
    cache.lock().expect("no holder of the lock panics").look_up(random.next());
    let (head, page) = request.respond(random);
    sum = head.iter().fold(sum, |sum, (name, value)| sum.wrapping_add(digest(name) ^ digest(value)));
    sum.wrapping_add(digest(&page)).wrapping_add(request.digest())
}

impl Request {
    fn receive(random: &mut Random) -> Self {
        let headers = HEADERS.iter().take(random.between(5, HEADERS.len())).map(|&name| {
            let mut value = String::new();
            for _ in 0..random.between(1, 9) {
                // Writing to a String does not fail.
                let _ = write!(value, "{:x};", random.next() >> random.below(48));
            }
            (name.to_owned(), value)
        });
        let headers = headers.collect();
        // The body arrives in pieces, as from a socket; its length is known from the start.
        let length = random.log_uniform(10, 16);
        let mut body = Vec::with_capacity(length);
        while body.len() < length {
            let piece = (random.next() as u8, 1460.min(length - body.len()));
            body.resize(body.len() + piece.1, piece.0);
        }
        Self { headers, body }
    }

    /// Head and page of the answer.
    fn respond(&self, random: &mut Random) -> (Vec<(String, String)>, String) {
        let mut page = String::from("<html><ul>");
        for _ in 0..random.between(4, 60) {
            let _ = write!(page, "<li>item {} of {}</li>", random.below(1000), self.body.len());
        }
        page.push_str("</ul></html>");
        let head = vec![
            ("content-type".to_owned(), "text/html; charset=utf-8".to_owned()),
            ("content-length".to_owned(), page.len().to_string()),
            ("x-request-id".to_owned(), self.headers.get("x-request-id").cloned().unwrap_or_default()),
        ];
        (head, page)
    }

    fn digest(&self) -> u64 {
        // One byte of each piece of the body: all of it would measure the digest, not the allocator.
        let body =
            self.body.iter().step_by(512).fold(0_u64, |sum, &byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        self.headers.iter().fold(body, |sum, (name, value)| sum.wrapping_add(digest(name) ^ digest(value)))
    }
}

impl Session {
    fn start(random: &mut Random) -> Self {
        let token = random.next();
        let visited = (0..random.between(1, 12)).map(|_| format!("/shop/article/{}", random.next())).collect();
        Self { user: user(token), token, visited }
    }

    fn digest(&self) -> u64 {
        let pages = self.visited.iter().fold(0_u64, |sum, page| sum.wrapping_mul(31).wrapping_add(digest(page)));
        pages.wrapping_add(digest(&self.user))
    }
}

impl Cache {
    /// Adds a session; the oldest is returned once the cache is full.
    fn insert(&mut self, session: Session) -> Option<Session> {
        self.order.push_back(session.token);
        self.sessions.insert(session.token, session);
        if self.order.len() > SESSIONS {
            self.order.pop_front().and_then(|token| self.sessions.remove(&token))
        } else {
            None
        }
    }

    /// Finds some session, which must be the one that was put there.
    fn look_up(&self, any: u64) {
        let Some(&token) = self.order.get(any as usize % self.order.len().max(1)) else { return };
        let session = self.sessions.get(&token).expect("what is in the order is in the map");
        assert!(session.token == token && session.user == user(token), "a session in the cache has changed");
    }
}

fn user(token: u64) -> String {
    format!("user {token:x}")
}
