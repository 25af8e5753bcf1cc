//! Stands for programs that only build: theorem provers, simulations of bodies in space, compilers that free nothing before
//! their end. A binary tree grows at its leaves, round by round, each node with a label of its own size; it is walked once,
//! then dropped as a whole. Nothing is ever freed for reuse while it grows, so what counts is how fast fresh memory
//! comes, how densely it is laid and how fast a million blocks go. The idea is that of `barnes` and `lean` in the
//! mimalloc-bench suite, and of the tree in H. Boehm's GCBench.

use super::Load;
use super::random::Random;

const TREES: usize = 12;
/// A leaf splits in each round, one of eight does not: the tree is not perfectly regular.
const ROUNDS: usize = 17;
const RESTING: usize = 8;
/// Words of the largest label.
const LONGEST_LABEL: usize = 14;

struct Node {
    children: Option<(Box<Node>, Box<Node>)>,
    label: Box<[u64]>,
}

pub(super) fn run(load: &Load) -> u64 {
    let trees = load.scaled(TREES);
    load.in_threads(|mut random| (0..trees).fold(0_u64, |sum, _| sum.wrapping_add(tree(&mut random))))
}

fn tree(random: &mut Random) -> u64 {
    let mut root = Node::new(random);
    for _ in 0..ROUNDS {
        root.grow(random);
    }
    root.digest()
}

impl Node {
    fn new(random: &mut Random) -> Box<Self> {
        let label = (0..random.between(1, LONGEST_LABEL)).map(|_| random.next()).collect();
        Box::new(Self { children: None, label })
    }

    /// One round: every leaf below splits, or rests.
    fn grow(&mut self, random: &mut Random) {
        match &mut self.children {
            Some((left, right)) => {
                left.grow(random);
                right.grow(random);
            }
            leaf if random.below(RESTING) > 0 => *leaf = Some((Self::new(random), Self::new(random))),
            _ => {}
        }
    }

    fn digest(&self) -> u64 {
        let own = self.label.iter().fold(self.label.len() as u64, |sum, word| sum.wrapping_mul(31).wrapping_add(*word));
        match &self.children {
            Some((left, right)) => {
                own.wrapping_add(left.digest().wrapping_mul(3)).wrapping_add(right.digest().wrapping_mul(5))
            }
            None => own,
        }
    }
}
