//! PostgreSQL: many processes forked from one parent, each with an allocator of its own (memory contexts) on malloc,
//! and answers that can be checked: pgbench keeps four sums equal whatever the order of its transactions.
//!
//! The server refuses to run as root; then it runs as the user postgres, and the library is copied to where that user
//! may read it. It listens on a Unix socket in a temporary directory, on no port.

use fairground_tests::{Allocator, Need, Run, assert_binds, assert_same_answer, library, require, temp_dir};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const NEEDS: [Need; 5] = [
    Need("initdb", "postgresql"),
    Need("postgres", "postgresql"),
    Need("pgbench", "postgresql"),
    Need("psql", "postgresql-client"),
    Need("setpriv", "util-linux"),
];

/// Rows of a table with texts from 0 to 4 kB (above 2 kB they are compressed), sorted, aggregated, joined and indexed.
const QUERIES: &str = "
CREATE TABLE item AS SELECT i AS id, i * 7919 % 1009 AS weight, repeat(md5(i::text), i % 130) AS body
    FROM generate_series(1, 12000) i;
CREATE INDEX item_weight ON item (weight, md5(body));
CREATE INDEX item_words ON item USING gin ((ARRAY[weight, id % 17]));
SET work_mem = '256kB';
SELECT count(*), sum(length(body)), md5(string_agg(md5(body), ',' ORDER BY weight, id)) FROM item;
SELECT count(*), sum(a.id::bigint * b.weight) FROM item a JOIN item b ON a.weight = b.id % 1009;
SELECT weight, count(*), max(length(body)) FROM item GROUP BY weight ORDER BY 3 DESC, 1 LIMIT 25;
SELECT count(*) FROM item WHERE ARRAY[weight, id % 17] @> ARRAY[5];
SELECT md5(jsonb_agg(jsonb_build_object('id', id, 'body', left(body, 40)) ORDER BY id)::text) FROM item WHERE id % 3 = 0;
SELECT md5(string_agg(id::text || regexp_replace(left(body, 300), '[0-9]+', '#', 'g'), '' ORDER BY id)) FROM item;
DO $$ DECLARE text text := ''; BEGIN
    FOR i IN 1..3000 LOOP text := text || i; END LOOP;
    RAISE NOTICE 'plpgsql %', md5(text);
END $$;
UPDATE item SET body = body || id WHERE weight % 2 = 0;
VACUUM FULL item;
REINDEX TABLE item;
SELECT count(*), sum(length(body)), md5(string_agg(body, '' ORDER BY id)) FROM item;
";

const BALANCES: &str = "SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history),
    (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT sum(delta) FROM pgbench_history),
    (SELECT sum(bbalance) FROM pgbench_branches) = (SELECT sum(delta) FROM pgbench_history),
    (SELECT count(*) FROM pgbench_history), (SELECT count(*) FROM pgbench_accounts)";

/// Programs, a directory, and whom to run as.
struct Postgres {
    programs: [PathBuf; 5],
    dir: tempfile::TempDir,
    as_root: bool,
    library: PathBuf,
}

impl Postgres {
    fn new(programs: [PathBuf; 5]) -> Self {
        let dir = temp_dir();
        // SAFETY: a system call without arguments.
        let as_root = unsafe { libc::geteuid() } == 0;
        let copy = dir.path().join(library().file_name().expect("a library has a file name"));
        std::fs::copy(library(), &copy).expect("copying the library");
        if as_root {
            give_to_postgres(dir.path());
        }
        Self { programs, dir, as_root, library: copy }
    }

    /// One of the programs, preloaded or not, as a user that the server accepts.
    fn run(&self, allocator: Allocator, program: usize, arguments: &[&str]) -> Run {
        let [.., setpriv] = &self.programs;
        let run = if self.as_root {
            let identity = ["--reuid=postgres", "--regid=postgres", "--init-groups", "--"];
            Run::new(setpriv).args(identity).args([&self.programs[program]])
        } else {
            Run::new(&self.programs[program])
        };
        let run = run.args(arguments).dir(self.dir.path()).env("HOME", self.dir.path()).env("PGUSER", "tester");
        let run = run.env("PGHOST", self.dir.path()).env("PGDATABASE", "postgres").env("PGOPTIONS", "");
        match allocator {
            Allocator::System => run,
            Allocator::Fairground => run.env("LD_PRELOAD", &self.library),
        }
    }

    fn initdb(&self, allocator: Allocator) {
        let arguments = ["-D", "data", "-U", "tester", "--auth=trust", "--no-sync", "--locale=C", "-E", "UTF8"];
        self.run(allocator, INITDB, &arguments).text();
    }

    fn start(&self, allocator: Allocator) -> fairground_tests::run::Server {
        let directory = self.dir.path().to_string_lossy();
        let arguments = ["-D", "data", "-c", "listen_addresses=", "-k", &directory, "-c", "fsync=off"];
        let more = ["-c", "max_parallel_workers_per_gather=2", "-c", "min_parallel_table_scan_size=0"];
        let run = self.run(allocator, POSTGRES, &[arguments.as_slice(), more.as_slice()].concat());
        let mut server = run.server(&self.dir.path().join("log"));
        server.wait_until(|| self.sql("SELECT 1").outcome().status.success());
        server
    }

    fn sql(&self, text: &str) -> Run {
        let quiet = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"];
        self.run(Allocator::System, PSQL, &quiet).input(text)
    }
}

const INITDB: usize = 0;
const POSTGRES: usize = 1;
const PGBENCH: usize = 2;
const PSQL: usize = 3;

fn give_to_postgres(path: &Path) {
    // SAFETY: the name ends in NUL; nobody else in this process reads the user database, whose static entry is copied.
    let entry = unsafe { libc::getpwnam(c"postgres".as_ptr()) };
    assert!(!entry.is_null(), "there is PostgreSQL but no user postgres (Debian's package makes one)");
    // SAFETY: not null, and valid until the next call that reads the user database.
    let (uid, gid) = unsafe { ((*entry).pw_uid, (*entry).pw_gid) };
    let path = CString::new(path.as_os_str().as_bytes()).expect("a path without NUL");
    // SAFETY: the path ends in NUL and outlives the call.
    assert_eq!(unsafe { libc::chown(path.as_ptr(), uid, gid) }, 0, "chown to postgres");
}

/// Stops the server the fast way: clients are disconnected, a checkpoint is written.
fn stop(server: fairground_tests::run::Server) {
    let status = server.interrupt();
    assert!(status.success(), "the server ended with {status} at a fast shutdown");
}

#[test]
fn queries_answer_the_same_and_survive_a_restart() {
    let Some(programs) = require("postgres", NEEDS) else { return };
    assert_same_answer("postgres", |allocator| {
        let postgres = Postgres::new(programs.clone());
        postgres.initdb(allocator);
        let server = postgres.start(allocator);
        let queries = postgres.sql(QUERIES).outcome();
        queries.assert_success();
        // Notices, with their digests, come on stderr.
        let mut answer = String::from_utf8_lossy(&queries.stdout).into_owned();
        answer += &String::from_utf8_lossy(&queries.stderr);
        if allocator == Allocator::Fairground {
            let processes = server.assert_mapped();
            assert!(processes >= 5, "{processes} processes: a server has several at its side");
        }
        stop(server);
        let server = postgres.start(allocator);
        let all = "SELECT count(*), sum(length(body)), md5(string_agg(body, '' ORDER BY id)) FROM item";
        answer += &postgres.sql(all).text();
        stop(server);
        answer
    });
}

#[test]
fn pgbench_keeps_its_balances_and_loses_no_transaction() {
    let Some(programs) = require("pgbench", NEEDS) else { return };
    let postgres = Postgres::new(programs);
    postgres.initdb(Allocator::Fairground);
    let server = postgres.start(Allocator::Fairground);
    let bench = |arguments: &str| {
        let words: Vec<&str> = arguments.split(' ').collect();
        postgres.run(Allocator::Fairground, PGBENCH, &words).text()
    };
    bench("-i -q -s 2");
    let report = bench("-n -c 8 -j 2 -t 250");
    assert!(report.contains("transactions actually processed: 2000/2000"), "{report}");
    let prepared = bench("-n -c 4 -j 2 -t 250 -M prepared -C");
    assert!(prepared.contains("transactions actually processed: 1000/1000"), "{prepared}");
    assert_eq!(postgres.sql(BALANCES).text().trim(), "t|t|t|3000|200000");
    server.assert_mapped();
    stop(server);
}

#[test]
fn malloc_is_the_librarys() {
    let Some([postgres]) = require("postgres_binding", [Need("postgres", "postgresql")]) else { return };
    assert_binds(&postgres, ["--version"], &["postgres"]);
}
