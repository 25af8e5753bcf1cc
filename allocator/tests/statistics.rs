//! Statistics: shapes, invariants under load, and what a configuration makes happen at exit and on a signal.

use fairground_allocator::{Fairground, stats};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

#[global_allocator]
static GLOBAL: Fairground = Fairground;

fairground_allocator::configure!("stats:text,stats_to:/nonexistent/%p");

fn text() -> String {
    let mut text = Vec::new();
    stats::write_text(&mut |piece| text.extend_from_slice(piece));
    String::from_utf8(text).expect("text")
}

fn json() -> serde_json::Value {
    let mut text = Vec::new();
    stats::write_json(&mut |piece| text.extend_from_slice(piece));
    serde_json::from_slice(&text).expect("JSON")
}

fn churn(seed: u64, rounds: usize) {
    let mut random = seed;
    let mut held: Vec<Vec<u8>> = Vec::new();
    for _ in 0..rounds {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if held.len() > 200 {
            held.swap_remove((random >> 33) as usize % 200);
        }
        held.push(vec![1; 1 << (random >> 60)]);
    }
}

fn check_numbers() {
    stats::for_each_zone(|zone| {
        let sum: usize =
            zone.free_blocks.iter().enumerate().map(|(o, row)| (row.iter().sum::<u32>() as usize) << o).sum();
        assert_eq!(sum, zone.free_pages, "free blocks do not add up");
        assert!(zone.free_pages <= zone.present_pages && zone.dirty_pages <= zone.free_pages, "{zone:?}");
        assert_eq!(zone.pageblocks.iter().sum::<usize>() * 512, zone.present_pages);
    });
    for class in stats::slabs() {
        assert!(class.active_objects <= class.total_objects, "{class:?}");
        assert_eq!(class.total_objects, class.slabs * class.objects_per_slab);
        assert!(class.empty_slabs <= class.slabs && class.partial_slabs <= class.slabs, "{class:?}");
        assert_eq!(class.busy_slabs, 0);
    }
}

#[test]
fn numbers_add_up_while_four_threads_churn() {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (1..5).map(|seed| scope.spawn(move || churn(seed, 20_000))).collect();
        let watcher = scope.spawn(|| {
            while !done.load(Relaxed) {
                check_numbers();
                assert!(!stats::summary().busy);
                json();
            }
        });
        workers.into_iter().for_each(|worker| worker.join().expect("churn"));
        done.store(true, Relaxed);
        watcher.join().expect("the numbers");
    });
}

#[test]
fn what_is_allocated_shows() {
    let active = |size: usize| {
        let class = stats::slabs().into_iter().find(|class| class.object_size_bytes == size).expect("a class");
        class.active_objects - class.cached_objects.min(class.active_objects)
    };
    let before = active(448);
    let blocks: Vec<Box<[u8; 440]>> = (0..5000).map(|_| Box::new([1; 440])).collect();
    assert!(active(448) >= before + 5000);
    drop(blocks);
    assert!(active(448) < before + 100, "{} of {before}", active(448));
    let live = stats::summary().live_bytes;
    let large = vec![1u8; 64 << 20];
    let summary = stats::summary();
    assert!(summary.live_bytes >= live + (60 << 20));
    assert!(summary.resident.is_none_or(|resident| resident.bytes >= large.len()), "{summary:?}");
}

#[test]
fn tables_have_the_kernels_columns() {
    let text = text();
    let section = |name: &str| {
        let at = text.find(&format!("\n{name}")).unwrap_or_else(|| panic!("no {name} in:\n{text}"));
        text[at + 1..].lines().skip(1).take_while(|line| !line.is_empty()).collect::<Vec<_>>()
    };
    let buddy = section("buddyinfo");
    assert!(buddy[0].starts_with("Node 0, zone   Normal "), "{buddy:?}");
    assert_eq!(buddy[0].split_whitespace().skip(4).filter_map(|n| n.parse::<u64>().ok()).count(), 11);
    // A width for all rows of pagetypeinfo, the head among them.
    let rows: Vec<_> = text.lines().filter(|l| l.contains(", type ") || l.starts_with("Free pages count")).collect();
    assert_eq!(rows.len(), 5);
    assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{rows:#?}");
    for row in section("slabinfo").iter().skip(1) {
        let fields: Vec<_> = row.split_whitespace().collect();
        assert_eq!(fields.len(), 16, "{row}");
        let numbers: Vec<usize> = fields[1..6].iter().map(|n| n.parse().expect("a number")).collect();
        assert!(numbers[0] <= numbers[1], "{row}");
        assert!(!fields[0].starts_with("size-") || fields[0] == format!("size-{}", numbers[2]), "{row}");
        assert_eq!((fields[6], fields[7], fields[11], fields[12]), (":", "tunables", ":", "slabdata"));
    }
    assert!(section("zoneinfo")[1].starts_with("  pages free"));
}

#[test]
fn json_has_its_names_and_the_same_numbers() {
    let json = json();
    assert_eq!(json["version"], 1);
    for name in ["live", "cached", "mapped", "dirty", "metadata", "extent"] {
        assert!(json["summary"][format!("{name}_bytes")].is_u64(), "{name}: {json}");
    }
    assert_eq!(json["zones"][0]["uses"].as_array().expect("uses").len(), stats::USES.len());
    assert!(json["slabs"].as_array().is_some_and(|slabs| !slabs.is_empty()));
    assert!(json["threads"].as_array().is_some_and(|heaps| !heaps.is_empty()));
}

/// Not a test of its own: what the processes below do.
#[test]
fn in_a_child() {
    match std::env::var("FAIRGROUND_TEST_CHILD").as_deref() {
        Ok("churn") => churn(1, 1000),
        Ok("storm") => {
            let done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let workers: Vec<_> = (1..5).map(|seed| scope.spawn(move || churn(seed, 30_000))).collect();
                scope.spawn(|| {
                    while !done.load(Relaxed) {
                        // SAFETY: the handler is the allocator's; to the process, so any thread may be interrupted.
                        unsafe { libc::kill(libc::getpid(), libc::SIGUSR1) };
                    }
                });
                workers.into_iter().for_each(|worker| worker.join().expect("churn"));
                done.store(true, Relaxed);
            });
        }
        _ => println!("skipped: only for child processes"),
    }
}

fn child(what: &str, conf: Option<&str>) -> Output {
    let mut command = Command::new("timeout");
    // An emulator, where this processor cannot run the program by itself (`make test-aarch64`).
    command.arg("100").args(std::env::var_os("FAIRGROUND_TEST_RUNNER"));
    command.arg(std::env::current_exe().expect("this program"));
    command.args(["--exact", "in_a_child"]).env("FAIRGROUND_TEST_CHILD", what).env_remove("FAIRGROUND_CONF");
    let output = command.envs(conf.map(|conf| ("FAIRGROUND_CONF", conf))).output().expect("run timeout(1)");
    assert!(output.status.success(), "{}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
#[cfg_attr(fairground_portable, ignore = "a program's symbol is not read in the portable build")]
fn the_symbol_configures_and_a_file_that_cannot_be_opened_is_said() {
    let errors = String::from_utf8(child("churn", None).stderr).expect("text");
    assert_eq!(errors.matches("fairground: stats_to:/nonexistent/").count(), 1, "{errors}");
    assert!(errors.contains("\nbuddyinfo\n"), "{errors}");
}

#[test]
fn the_environment_has_the_last_word_and_the_file_bears_the_process_id() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("statistics");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    let conf = format!("stats:json,stats_to:{}/%p.json,no_such:1,arenas:9", folder.display());
    let errors = String::from_utf8(child("churn", Some(&conf)).stderr).expect("text");
    assert_eq!(errors.matches("fairground: ").count(), 2, "a line for each complaint, once: {errors}");
    let files: Vec<_> = std::fs::read_dir(&folder).expect("read").map(|e| e.expect("entry").path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    assert!(files[0].file_stem().and_then(|s| s.to_str()?.parse::<u32>().ok()).is_some(), "{files:?}");
    let json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&files[0]).expect("read")).expect("JSON");
    assert_eq!(json["version"], 1);
}

#[test]
fn a_storm_of_signals_writes_whole_statistics_and_never_hangs() {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("storm.json");
    let _ = std::fs::remove_file(&path);
    let conf = format!("stats:json,stats_signal:{},stats_to:{}", libc::SIGUSR1, path.display());
    child("storm", Some(&conf));
    let text = std::fs::read_to_string(&path).expect("read");
    let versions =
        text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["version"] == 1);
    assert!(versions.filter(|&one| one).count() > 1, "only the exit wrote");
}
