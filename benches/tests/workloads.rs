//! Every workload, with hardly any work, repeats itself: the comparison holds each run's checksum against that of a run under
//! another allocator, so a workload whose checksum depends on the order of threads, on addresses or on the clock would report
//! errors that are none. And the checksum is made of the contents: other contents give another.

use fairground_benches::workload::{ALL, Load, find};

/// Most workloads have a live set of their own beside this.
const SCALE: f64 = 0.002;

/// They write the same to each object, whatever the seed.
const WITHOUT_SEED: [&str; 2] = ["cache-scratch", "cache-thrash"];

fn checksum(name: &str, threads: usize, seed: u64) -> u64 {
    let workload = find(name).unwrap_or_else(|| panic!("no workload is named {name}"));
    (workload.run)(&Load { threads, scale: SCALE, seed })
}

fn repeats_itself(name: &str) {
    for threads in [1, 2, 8] {
        let first = checksum(name, threads, 1);
        assert_eq!(checksum(name, threads, 1), first, "{name} with {threads} threads does not repeat itself");
        let other = checksum(name, threads, 2);
        if WITHOUT_SEED.contains(&name) {
            assert_eq!(other, first, "{name} has no random contents");
        } else {
            assert_ne!(other, first, "{name} with {threads} threads ignores its seed");
        }
    }
}

/// One test for each workload, and one that none is left out.
macro_rules! each_repeats_itself {
    ($($test:ident: $name:literal,)*) => {
        $(
            #[test]
            fn $test() {
                repeats_itself($name);
            }
        )*

        #[test]
        fn every_workload_is_tested() {
            let tested = [$($name),*];
            let all: Vec<&str> = ALL.iter().map(|workload| workload.name).collect();
            assert_eq!(all, tested);
        }
    };
}

each_repeats_itself! {
    larson_repeats_itself: "larson",
    xmalloc_repeats_itself: "xmalloc",
    mstress_repeats_itself: "mstress",
    rptest_repeats_itself: "rptest",
    sh6bench_repeats_itself: "sh6bench",
    sh8bench_repeats_itself: "sh8bench",
    alloc_test_1_repeats_itself: "alloc-test-1",
    alloc_test_repeats_itself: "alloc-test",
    glibc_simple_repeats_itself: "glibc-simple",
    glibc_thread_repeats_itself: "glibc-thread",
    burst_repeats_itself: "burst",
    cache_scratch_repeats_itself: "cache-scratch",
    cache_thrash_repeats_itself: "cache-thrash",
    realloc_growth_repeats_itself: "realloc-growth",
    medium_repeats_itself: "medium",
    large_repeats_itself: "large",
    producer_consumer_repeats_itself: "producer-consumer",
    thread_churn_repeats_itself: "thread-churn",
    phased_repeats_itself: "phased",
    collections_repeats_itself: "collections",
    grow_tree_repeats_itself: "grow-tree",
    json_repeats_itself: "json",
    vec_growth_repeats_itself: "vec-growth",
    compiler_repeats_itself: "compiler",
    web_repeats_itself: "web",
}
