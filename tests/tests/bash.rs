//! bash: two thousand forks of a process with a used heap. Each child must find the allocator usable at once, and each
//! brings back a number; a lost child is a wrong sum.

use fairground_tests::{Allocator, Need, Run, assert_binds, require};

const BASH: Need = Need("bash", "bash");

const FORKS: &str = r#"
for ((i = 0; i < 3000; i++)); do words[i]="word-$i-${words[i / 2]:0:60}"; done
sum=0
for ((i = 1; i <= 2000; i++)); do
    part=$(local_copy="${words[i]}${words[i + 1]}"; words[i]=; echo $((i + ${#local_copy} - ${#local_copy})))
    ((sum += part))
done
echo "$sum"
for ((i = 0; i < 3000; i++)); do [[ ${words[i]} == "word-$i-"* ]] || echo "word $i was changed by a child"; done
"#;

/// Many children alive at once, each allocating while others are being forked.
const JOBS: &str = r#"
for ((round = 0; round < 10; round++)); do
    for ((i = 0; i < 20; i++)); do
        (text=; for ((j = 0; j < 50; j++)); do text+="$i:$j,"; done; echo "${#text}") &
    done
    wait
done | { sum=0; count=0; while read -r n; do ((sum += n, count++)); done; echo "$count $sum"; }
"#;

#[test]
fn two_thousand_forks_bring_back_their_numbers() {
    let Some([bash]) = require("bash", [BASH]) else { return };
    let answer = Run::on(Allocator::Fairground, &bash).args(["-c", FORKS]).text();
    assert_eq!(answer.trim(), (1..=2000).sum::<u32>().to_string());
}

#[test]
fn children_side_by_side_bring_back_their_numbers() {
    let Some([bash]) = require("bash_jobs", [BASH]) else { return };
    let answer = Run::on(Allocator::Fairground, &bash).args(["-c", JOBS]).text();
    let length = |i: u32| (0..50).map(|j| format!("{i}:{j},").len()).sum::<usize>();
    assert_eq!(answer.trim(), format!("200 {}", 10 * (0..20).map(length).sum::<usize>()));
}

#[test]
fn malloc_is_the_librarys() {
    let Some([bash]) = require("bash_binding", [BASH]) else { return };
    assert_binds(&bash, ["-c", ":"], &["bash"]);
}
