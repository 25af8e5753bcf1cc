//! Stress with a shadow map: random calls in 2 and 16 threads, each checked as [`shadow::checked`] says.
//!
//! A *life* is a thread of the system that allocates, frees and reallocates for a while, in moods that change: it grows or
//! shrinks, keeps to one size or mixes all, frees in one order or another, sends blocks to other lives' mailboxes, or only
//! frees what it finds in its own. Then it ends, often with blocks in the mailboxes still, and another takes its place. Some
//! lives begin by freeing; some never allocate. Trims and requests beyond all memory come between.
//!
//! What a life decides depends on its seed alone, and on what it finds in its mailbox; with one thread and a number of steps
//! everything is the same in each run. Each fault of [`Fault`] is made up in a case of its own, which must be noticed.
//!
//! Cases take `FAIRGROUND_STRESS_SECONDS` each (2 by default). For longer runs, and to repeat one, there are arguments:
//!
//! ```text
//! cargo test --release -p fairground-allocator --test shadow_stress -- --threads 16 --seconds 150 [--seed N] [--steps N]
//!     [--break FAULT] [--no-map]
//! ```

mod shadow;
mod support;

use shadow::block::{Block, Interface};
use shadow::checked::{Checked, Fault, Request};
use shadow::map::{Lock, ShadowMap};
use shadow::random::{Engine, Random, alignment};
use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use support::Case;

/// A run, as the arguments say.
#[derive(Clone, Copy)]
struct Plan {
    threads: usize,
    time: Duration,
    /// Steps of all lives of a place; if given, the time does not matter.
    steps: u64,
    seed: u64,
    fault: Option<Fault>,
    map: bool,
}

/// Bytes in blocks at a time, of all threads together: enough for every engine, and at home on small machines.
const BUDGET: usize = 256 << 20;

/// Blocks a life has at a time at most, and a mailbox.
const BLOCKS: usize = 6_000;
const LETTERS: usize = 2_000;

static MAP: ShadowMap = ShadowMap::new();

/// What all lives share.
struct World {
    plan: Plan,
    end: Instant,
    mailboxes: Vec<Lock<VecDeque<Block>>>,
    steps: AtomicU64,
    allocated: [AtomicU64; Engine::ALL.len()],
    lives: AtomicUsize,
    /// Made of all decisions, to compare runs.
    decisions: AtomicU64,
}

/// How a life behaves for some hundred steps.
struct Mood {
    /// Steps of a hundred that allocate.
    grow: usize,
    /// Steps of a hundred that send a block away, or take one in.
    send: usize,
    receive: usize,
    /// A request made over and over.
    favourite: Option<Request>,
    order: Order,
}

/// Which block is next to be freed, sent or reallocated.
#[derive(Clone, Copy)]
enum Order {
    Any,
    Newest,
    Oldest,
}

impl Mood {
    fn draw(random: &mut Random) -> Mood {
        Mood {
            grow: [0, 20, 35, 45, 50, 55, 65, 80][random.below(8)],
            send: [0, 0, 3, 20][random.below(4)],
            receive: [0, 5, 20, 40][random.below(4)],
            favourite: random.one_in(3).then(|| request(random)),
            order: [Order::Any, Order::Any, Order::Newest, Order::Oldest][random.below(4)],
        }
    }
}

fn request(random: &mut Random) -> Request {
    let size = Engine::draw(random).size(random);
    let interface = if random.percent(50) { Interface::C } else { Interface::Rust };
    let align = if random.percent(20) { alignment(random) } else { 16 };
    Request { interface, size, align, zeroed: random.percent(15) }.legal()
}

struct Life<'a> {
    world: &'a World,
    place: usize,
    random: Random,
    checked: Checked,
    blocks: VecDeque<Block>,
    bytes: usize,
    mood: Mood,
    decisions: u64,
}

impl Life<'_> {
    /// Lives for a number of steps or until time is over; the number of steps it took.
    fn live(mut self, steps: u64) -> u64 {
        let mut taken = 0;
        while taken < steps && (self.world.plan.steps != 0 || taken % 64 != 0 || Instant::now() < self.world.end) {
            if self.random.one_in(400) {
                self.mood = Mood::draw(&mut self.random);
            }
            self.step();
            taken += 1;
        }
        self.end();
        taken
    }

    fn note(&mut self, what: u64) {
        self.decisions = (self.decisions ^ what).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23);
    }

    fn step(&mut self) {
        if self.random.one_in(3_000) {
            self.rare();
        }
        if self.random.percent(self.mood.receive) {
            self.receive();
        }
        let full = self.blocks.len() >= BLOCKS || self.bytes > BUDGET / self.world.plan.threads;
        if self.random.percent(self.mood.grow) && !full {
            return self.allocate();
        }
        let Some(block) = self.pick() else { return };
        let send = self.mood.send;
        let choice = self.random.below(100);
        self.note(choice as u64);
        if choice < send {
            self.send(block);
        } else if choice < 80 || full {
            let sized = self.random.percent(50);
            self.checked.free(block, sized);
        } else if choice < 95 {
            self.reallocate(block);
        } else {
            self.checked.check(&block);
            self.keep(block);
        }
    }

    fn rare(&mut self) {
        match self.random.below(4) {
            0 => self.checked.ask_too_much(self.blocks.front()),
            1 => drop(fairground_allocator::malloc::totals()),
            // All, or all but some.
            _ => {
                let pad = [0, 1 << 16, 4 << 20, usize::MAX][self.random.below(4)];
                fairground_allocator::malloc::trim(pad);
            }
        }
    }

    fn keep(&mut self, block: Block) {
        self.bytes += block.owner.size;
        self.blocks.push_back(block);
    }

    fn pick(&mut self) -> Option<Block> {
        let block = match self.mood.order {
            _ if self.blocks.is_empty() => None,
            Order::Any => self.blocks.swap_remove_back(self.random.below(self.blocks.len())),
            Order::Newest => self.blocks.pop_back(),
            Order::Oldest => self.blocks.pop_front(),
        }?;
        self.bytes -= block.owner.size;
        Some(block)
    }

    fn allocate(&mut self) {
        let drawn = request(&mut self.random);
        let request = self.mood.favourite.unwrap_or(drawn);
        let engine = [8 << 10, 256 << 10, 4 << 20].iter().filter(|&&most| request.size > most).count();
        self.world.allocated[engine].fetch_add(1, Relaxed);
        self.note(request.size as u64 ^ (request.align as u64) << 32);
        let all = self.random.percent(25);
        let block = self.checked.allocate(request, all);
        self.keep(block);
    }

    /// Often to a size nearby, so that blocks are resized where they are.
    fn reallocate(&mut self, block: Block) {
        let size = match self.random.below(4) {
            0 => Engine::draw(&mut self.random).size(&mut self.random),
            1 => block.owner.size / 2 + self.random.below(block.owner.size + 1),
            2 => block.owner.size.saturating_add_signed(self.random.below(8_193) as isize - 4_096),
            _ => block.owner.size * 2 % (9 << 20),
        };
        self.note(size as u64);
        let all = self.random.percent(25);
        let block = self.checked.reallocate(block, size, all);
        self.keep(block);
    }

    fn receive(&mut self) {
        let block = self.world.mailboxes[self.place].with(VecDeque::pop_front);
        if let Some(block) = block {
            self.keep(block);
        }
    }

    fn send(&mut self, block: Block) {
        let to = self.random.below(self.world.mailboxes.len());
        let refused = self.world.mailboxes[to].with(|letters| {
            if letters.len() >= LETTERS {
                return Some(block);
            }
            letters.push_back(block);
            None
        });
        if let Some(block) = refused {
            self.checked.free(block, false);
        }
    }

    /// Some blocks are freed, the others left to whoever lives on.
    fn end(mut self) {
        self.mood.order = Order::Any;
        let leave = self.random.below(100);
        while let Some(block) = self.pick() {
            if self.random.percent(leave) {
                self.send(block);
            } else {
                self.checked.free(block, true);
            }
        }
        self.world.decisions.fetch_xor(self.decisions, Relaxed);
    }
}

/// One life after the other, each in a thread of its own.
fn lives(world: &World, place: usize) {
    let mut seeds = Random::new(world.plan.seed ^ (place as u64) << 32);
    let mut taken = 0;
    while if world.plan.steps != 0 { taken < world.plan.steps } else { Instant::now() < world.end } {
        let seed = seeds.draw();
        // Most lives are short: a thread's beginning and end are where its heap is made and taken apart.
        let mut steps = 30 << seeds.below(10);
        if world.plan.steps != 0 {
            steps = steps.min(world.plan.steps - taken);
        }
        taken += std::thread::scope(|scope| {
            scope.spawn(|| life(world, place, seed, steps)).join().expect("a panic ends the process")
        });
        world.lives.fetch_add(1, Relaxed);
    }
    world.steps.fetch_add(taken, Relaxed);
}

fn life(world: &World, place: usize, seed: u64, steps: u64) -> u64 {
    let mut random = Random::new(seed);
    // Late enough that there are blocks around.
    let fault = world.plan.fault.map(|fault| (fault, 20 + random.below(50) as u32));
    let map = world.plan.map.then_some(&MAP);
    let mood = Mood::draw(&mut random);
    let checked = Checked::new(map, fault);
    Life { world, place, random, checked, blocks: VecDeque::new(), bytes: 0, mood, decisions: 0 }.live(steps)
}

/// Runs a plan; what happened, in words, and what was decided.
fn run(plan: Plan) -> (String, u64) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(move |panic| {
            // The first one counts: others may follow from it.
            static FIRST: Once = Once::new();
            FIRST.call_once(|| {
                eprintln!("{panic}\nseed {}, {} threads", plan.seed, plan.threads);
                std::process::abort();
            });
        }));
    });
    println!("seed {}, {} threads", plan.seed, plan.threads);
    let world = World {
        plan,
        end: Instant::now() + plan.time,
        mailboxes: (0..plan.threads).map(|_| Lock::new(VecDeque::new())).collect(),
        steps: AtomicU64::new(0),
        allocated: [const { AtomicU64::new(0) }; Engine::ALL.len()],
        lives: AtomicUsize::new(0),
        decisions: AtomicU64::new(0),
    };
    std::thread::scope(|scope| {
        let world = &world;
        let places: Vec<_> = (0..plan.threads).map(|place| scope.spawn(move || lives(world, place))).collect();
        // Joined one by one: the scope's end alone does not wait for the end of a thread's thread-locals.
        places.into_iter().for_each(|place| place.join().expect("a panic ends the process"));
    });
    let mut checked = Checked::new(plan.map.then_some(&MAP), None);
    for mailbox in &world.mailboxes {
        mailbox.with(|letters| letters.drain(..).for_each(|block| checked.free(block, false)));
    }
    assert_eq!(MAP.count(), 0, "blocks in the map though all are freed");
    fairground_allocator::malloc::trim(0);
    fairground_allocator::malloc::check_at_exit();
    let totals = fairground_allocator::malloc::totals();
    assert!(totals.in_use < 4 << 20, "in use though all is freed: {totals:?}");
    let [slabs, bins, runs, extents] = world.allocated.map(|count| count.into_inner());
    let words = format!(
        "{} steps, {} lives; blocks to 8 KiB: {slabs}, to 256 KiB: {bins}, to 4 MiB: {runs}, beyond: {extents}",
        world.steps.into_inner(),
        world.lives.into_inner(),
    );
    (words, world.decisions.into_inner())
}

/// From the clock and the process: each run draws other cases.
fn some_seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock that is set");
    Random::new(since.as_nanos() as u64 ^ (std::process::id() as u64) << 40).draw() >> 32
}

fn usual(threads: usize) -> Plan {
    let seconds = std::env::var("FAIRGROUND_STRESS_SECONDS").ok().map(|n| n.parse().expect("a number of seconds"));
    Plan {
        threads,
        time: Duration::from_secs(seconds.unwrap_or(2)),
        steps: 0,
        seed: some_seed(),
        fault: None,
        map: true,
    }
}

/// The plan that the arguments ask for, if they do.
fn plan_of_arguments() -> Result<Option<Plan>, String> {
    let mut arguments = std::env::args().skip(1);
    let mut plan = None;
    while let Some(argument) = arguments.next() {
        let Some(name @ ("threads" | "seconds" | "seed" | "steps" | "break" | "no-map")) = argument.strip_prefix("--")
        else {
            continue;
        };
        let plan = plan.get_or_insert_with(|| usual(2));
        if name == "no-map" {
            plan.map = false;
            continue;
        }
        let value = arguments.next().ok_or(format!("--{name} needs a value"))?;
        if name == "break" {
            let all = Fault::ALL.map(|(fault, _)| fault);
            let fault = all.into_iter().find(|fault| format!("{fault:?}") == value);
            plan.fault = Some(fault.ok_or(format!("--break: {value} is none of {all:?}"))?);
            continue;
        }
        let number: u64 = value.parse().map_err(|_| format!("--{name}: {value} is not a number"))?;
        match name {
            "threads" => plan.threads = number.clamp(1, 1_000) as usize,
            "seconds" => plan.time = Duration::from_secs(number),
            "steps" => plan.steps = number,
            _ => plan.seed = number,
        }
    }
    Ok(plan)
}

fn main() -> ExitCode {
    match plan_of_arguments() {
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
        Ok(Some(plan)) => {
            println!("{}", run(plan).0);
            return ExitCode::SUCCESS;
        }
        Ok(None) => {}
    }
    let mut cases = vec![
        Case::new("the same seed decides the same", None, || {
            let plan = Plan { steps: 30_000, seed: 7, ..usual(1) };
            let (first, again, other) = (run(plan), run(plan), run(Plan { seed: 8, ..plan }));
            assert_eq!(first, again);
            assert!(first.1 != other.1, "another seed decides the same");
        }),
        Case::new("2 threads", None, || println!("{}", run(usual(2)).0)),
        Case::new("16 threads", None, || println!("{}", run(usual(16)).0)),
    ];
    for (fault, words) in Fault::ALL {
        let name = format!("a made-up fault is noticed: {fault:?}");
        let plan = Plan { fault: Some(fault), time: Duration::from_secs(60), ..usual(2) };
        cases.push(Case::aborted(&name, &[words], move || drop(run(plan))));
    }
    support::run(cases)
}
