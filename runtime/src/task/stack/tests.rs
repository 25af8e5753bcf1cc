use super::region::{Guards, guard_bytes};
use super::*;
use crate::task::child::succeeds_in_child;
use corosensei::stack::Stack as _;
use corosensei::{Coroutine, CoroutineResult};
use fairground_allocator::page_size;
use std::collections::BTreeSet;
use std::ptr::without_provenance_mut;

fn size(kib: usize) -> StackSize {
    StackSize::new(kib << 10).expect("allowed")
}

/// A pool that no other test has.
fn pool(kib: usize, guards: Guards) -> &'static StackPool {
    Box::leak(Box::new(StackPool::new(size(kib), guards)))
}

/// Whether the kernel can read a byte there; it does not crash as we would.
fn readable(address: usize) -> bool {
    let (_reader, writer) = std::io::pipe().expect("a pipe");
    // SAFETY: the kernel reads one byte, or says EFAULT.
    unsafe { libc::write(std::os::fd::AsRawFd::as_raw_fd(&writer), without_provenance_mut(address), 1) == 1 }
}

fn assert_guarded(stack: &Stack) {
    let extent = stack.extent();
    assert!(readable(extent.low()) && readable(extent.high() - 1), "{extent:x?} is not usable");
    assert!(!readable(extent.low() - 1) && !readable(extent.low() - guard_bytes()), "{extent:x?} has no guard");
}

/// Writes into the page that is `page` pages from the top (the first is 1).
fn touch(stack: &Stack, page: usize) {
    // SAFETY: within the stack, which nobody runs on.
    unsafe { without_provenance_mut::<u8>(stack.extent().high() - page * page_size()).write_volatile(7) };
}

fn maps() -> usize {
    std::fs::read_to_string("/proc/self/maps").expect("mappings").lines().count()
}

#[test]
fn a_size_out_of_range_is_refused_with_its_value() {
    for bytes in [0, 1, (16 << 10) - 1, (1 << 30) + 1, usize::MAX] {
        let error = StackSize::new(bytes).expect_err("not allowed");
        assert_eq!(error.bytes(), bytes);
        assert!(error.to_string().contains(&format!("a stack of {bytes} bytes")), "{error}");
    }
}

#[test]
fn sizes_are_rounded_up_and_said_in_words() {
    assert_eq!(size(1 << 20).to_string(), "1 GiB");
    assert_eq!(size(1025).to_string(), "2 MiB");
    assert_eq!(size(65).bytes(), 128 << 10);
    assert!(StackSize::new(16 << 10).expect("allowed").bytes() >= page_size());
    for class in 0..super::size::CLASSES {
        assert_eq!(StackSize::of_class(class).class(), class);
    }
}

#[test]
fn the_stack_put_last_is_taken_first() {
    let mut cache = StackCache::of_pool(pool(64, Guards::Install)).expect("memory");
    // 100 stacks, more than the cache holds: also over the edge of a sheaf.
    let mut stacks: Vec<_> = (0..100).map(|_| cache.take(size(64)).expect("a stack")).collect();
    for _ in 0..100 {
        let stack = stacks.pop().expect("one left");
        let base = stack.base();
        cache.put(stack);
        let again = cache.take(size(64)).expect("a stack");
        assert_eq!(again.base(), base);
        cache.put(again);
    }
}

#[test]
fn stacks_are_guarded_aligned_and_disjoint() {
    let pool = pool(16, Guards::Install);
    let stacks: Vec<_> = (0..500).map(|_| pool.take().expect("a stack")).collect();
    let mut lows = BTreeSet::new();
    for stack in &stacks {
        assert_guarded(stack);
        assert_eq!(stack.base().get() % page_size(), 0);
        assert_eq!(stack.base().get() - stack.limit().get(), pool.size().bytes() + guard_bytes());
        assert!(lows.insert(stack.limit().get()));
    }
    let lows: Vec<_> = lows.into_iter().collect();
    assert!(lows.windows(2).all(|pair| pair[1] - pair[0] >= pool.size().bytes() + guard_bytes()));
}

#[test]
fn guards_survive_when_pages_are_given_back() {
    for guards in [Guards::Install, Guards::Protect] {
        let pool = pool(32, guards);
        let stacks: Vec<_> = (0..128).map(|_| pool.take().expect("a stack")).collect();
        let extents: Vec<_> = stacks.iter().map(Stack::extent).collect();
        stacks.iter().for_each(|stack| touch(stack, 3));
        drop(stacks);
        // The first call only begins to watch; then three sheaves lay idle.
        assert_eq!(pool.trim(&mut usize::MAX.clone()), 0);
        assert_eq!(pool.trim(&mut usize::MAX.clone()), 96);
        assert_eq!(extents.iter().filter(|extent| extent.touched() == Some(0)).count(), 96);
        let stacks: Vec<_> = (0..128).map(|_| pool.take().expect("a stack")).collect();
        assert_eq!(pool.stats().made, 128, "trimmed stacks are used again");
        stacks.iter().for_each(assert_guarded);
    }
}

#[test]
fn trim_leaves_what_is_in_use_from_time_to_time() {
    let pool = pool(32, Guards::Install);
    let many = |count| (0..count).map(|_| pool.take().expect("a stack")).collect::<Vec<_>>();
    drop(many(160));
    pool.trim(&mut usize::MAX.clone());
    drop(many(96));
    let trimmed = pool.trim(&mut usize::MAX.clone());
    assert!((32..=64).contains(&trimmed), "{trimmed}: of 160 stacks 96 were needed");
    // A budget is a budget.
    drop(many(160));
    pool.trim(&mut usize::MAX.clone());
    let mut budget = 1;
    assert_eq!((pool.trim(&mut budget), budget), (32, 0));
}

#[test]
fn the_high_water_mark_is_the_deepest_page_touched() {
    let stack = pool(2048, Guards::Install).take().expect("a stack");
    assert_eq!(stack.extent().touched(), Some(0));
    for pages in [1, 2, 10] {
        touch(&stack, pages);
        assert_eq!(stack.extent().touched(), Some(pages * page_size()));
    }
    // Beyond what one question to the kernel covers.
    let deepest = stack.size().bytes() / page_size();
    touch(&stack, deepest);
    touch(&stack, 1);
    assert_eq!(stack.extent().touched(), Some(stack.size().bytes()));
}

#[test]
fn an_address_leads_to_its_stack() {
    let pool = pool(64, Guards::Install);
    let stacks: Vec<_> = (0..40).map(|_| pool.take().expect("a stack")).collect();
    for extent in stacks.iter().map(Stack::extent) {
        for inside in [extent.low(), extent.low() + 5000, extent.high() - 1] {
            assert_eq!(find(inside), Some(extent));
            assert!(!extent.guards(inside));
        }
        for guard in [extent.low() - 1, extent.low() - guard_bytes()] {
            assert_eq!(find(guard), Some(extent));
            assert!(extent.guards(guard));
        }
        assert!(!extent.guards(extent.low() - guard_bytes() - 1));
    }
    let local = 0u8;
    assert_eq!(find(&raw const local as usize), None);
    assert_eq!((find(0), find(usize::MAX)), (None, None));
}

#[test]
fn coroutines_run_and_unwind_on_them() {
    let mut cache = StackCache::of_pool(pool(64, Guards::Install)).expect("memory");
    for round in 0..10 {
        let stack = cache.take(size(64)).expect("a stack");
        let mut task = Coroutine::<i32, i32, String, _>::with_stack(stack, |yielder, first| {
            let second = yielder.suspend(first + 1);
            let caught = std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new(7)));
            format!("{second} {}", caught.is_err())
        });
        assert!(matches!(task.resume(round), CoroutineResult::Yield(n) if n == round + 1));
        assert!(matches!(task.resume(5), CoroutineResult::Return(text) if text == "5 true"));
        cache.put(task.into_stack());
    }
}

#[test]
fn other_sizes_come_from_their_pools_and_go_back_there() {
    let mut cache = StackCache::new(size(64)).expect("memory");
    let odd = StackSize::new(512 << 20).expect("allowed");
    let stack = cache.take(odd).expect("a stack");
    assert_eq!((stack.size(), stack.extent().size()), (odd, 512 << 20));
    assert_guarded(&stack);
    let base = stack.base();
    cache.put(stack);
    assert_eq!(cache.take(odd).expect("a stack").base(), base);
}

#[test]
fn nothing_is_lost_between_threads() {
    let pool = pool(16, Guards::Install);
    let (send, receive) = std::sync::mpsc::channel::<Stack>();
    let receive = std::sync::Mutex::new(receive);
    std::thread::scope(|scope| {
        for thread in 0..4usize {
            let (send, receive) = (send.clone(), &receive);
            scope.spawn(move || {
                let mut cache = StackCache::of_pool(pool).expect("memory");
                let mut held = Vec::new();
                let mut random = thread * 7919 + 1;
                for _ in 0..5000 {
                    random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    match random >> 60 {
                        0..6 => {
                            let stack = cache.take(size(16)).expect("a stack");
                            // SAFETY: nobody else has it.
                            let word = without_provenance_mut::<usize>(stack.extent().high() - 8);
                            // SAFETY: as above.
                            unsafe { word.write_volatile(thread) };
                            held.push(stack);
                        }
                        6..10 => held.pop().into_iter().for_each(|stack| cache.put(stack)),
                        10..12 => held.pop().into_iter().for_each(|stack| send.send(stack).expect("open")),
                        12..14 => {
                            let other = receive.lock().expect("sound").try_recv();
                            other.into_iter().for_each(|stack| cache.put(stack));
                        }
                        14 => drop(held.pop()),
                        _ => _ = pool.trim(&mut 1),
                    }
                    for stack in &held {
                        // SAFETY: ours; each holder wrote its number first.
                        let owner =
                            unsafe { without_provenance_mut::<usize>(stack.extent().high() - 8).read_volatile() };
                        assert_eq!(owner, thread, "a stack has two users");
                    }
                }
            });
        }
    });
    drop(receive);
    let stats = pool.stats();
    assert_eq!(stats.warm + stats.cold, stats.made);
    let bases: BTreeSet<_> =
        (0..stats.made).map(|_| std::mem::ManuallyDrop::new(pool.take().expect("one")).base()).collect();
    assert_eq!(bases.len(), stats.made, "a stack is there twice");
    assert_eq!(pool.stats().made, stats.made);
}

#[test]
fn a_million_stacks_need_a_handful_of_mappings() {
    succeeds_in_child("task::stack::tests::a_million_stacks_need_a_handful_of_mappings", || {
        let before = maps();
        let mut cache = StackCache::new(StackSize::default()).expect("memory");
        let stacks: Vec<_> = (0..1_000_000).map(|_| cache.take(StackSize::default()).expect("a stack")).collect();
        if StackPool::of(StackSize::default()).guards() == Guards::Protect {
            return; // An old kernel: refused at its limit, which is another test.
        }
        assert!(maps() < before + 100, "{} mappings, {before} before", maps());
        stacks.iter().step_by(100_000).for_each(assert_guarded);
        // Not back one by one.
        std::mem::forget(stacks);
    });
}

#[test]
fn guards_that_are_mappings_end_at_the_limit_with_its_name_and_value() {
    succeeds_in_child("task::stack::tests::guards_that_are_mappings_end_at_the_limit_with_its_name_and_value", || {
        let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count").expect("the limit");
        let pool = pool(16, Guards::Protect);
        let mut stacks = Vec::new();
        let error = loop {
            match pool.take() {
                Ok(stack) => stacks.push(stack),
                Err(error) => break error,
            }
        };
        // Before anything else: at the limit the process gets no new mapping.
        let count = stacks.len();
        assert_guarded(&stacks[count - 1]);
        drop(stacks);
        assert!(error.to_string().contains(&format!("vm.max_map_count is {}", limit.trim())), "{error}");
        assert!(count > limit.trim().parse::<usize>().expect("a number") / 2 - 1000, "{count} stacks");
        assert!(pool.take().is_ok(), "free ones are used on");
    });
}

#[test]
fn a_limit_of_address_space_is_an_error_and_used_well_before() {
    succeeds_in_child("task::stack::tests::a_limit_of_address_space_is_an_error_and_used_well_before", || {
        // Descriptors and the vector first, so that the limit is for stacks.
        let mut stacks = Vec::with_capacity(100_000);
        stacks.push(StackPool::of(size(64)).take().expect("a stack"));
        let status = std::fs::read_to_string("/proc/self/statm").expect("sizes");
        let pages: usize = status.split(' ').next().expect("a number").parse().expect("a number");
        let room = 200 << 20;
        let limit = (pages * page_size() + room) as u64;
        // SAFETY: a limit of this process, for memory only.
        unsafe { libc::setrlimit(libc::RLIMIT_AS, &libc::rlimit { rlim_cur: limit, rlim_max: limit }) };
        let pool = StackPool::of(size(256));
        let error = loop {
            match pool.take() {
                Ok(stack) => stacks.push(stack),
                Err(error) => break error,
            }
        };
        assert_eq!(error, StackError::OutOfMemory { size: size(256) });
        assert!(error.to_string().contains("256 KiB"), "{error}");
        let used = stacks.len() * (256 << 10);
        assert!(used > room * 9 / 10, "{used} bytes of {room} in stacks");
        stacks.iter().for_each(assert_guarded);
        drop(stacks);
        assert!(pool.take().is_ok(), "free ones are used on");
    });
}
