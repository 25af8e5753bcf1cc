//! Stands for a compiler written in Rust: function by function a syntax tree of small boxes, vectors and strings is built,
//! names go into a symbol table that outlives the function, the tree is folded into a new one while the old one is consumed,
//! code is made from it, and the tree is dropped. Millions of blocks of 16 to 200 bytes, alive for a short while, among
//! others that stay. Our own; it takes the place that `espresso` and `gcc` have in the older suites.
//!
//! The folded tree must have the value of the original: a damaged node ends the program or changes the checksum.

use super::Load;
use super::containers::{Map, digest};
use super::random::Random;

const FUNCTIONS: usize = 10_000;
/// Functions of a unit; its symbol table goes with it.
const UNIT: usize = 500;
/// Depth of the deepest expression.
const DEPTH: usize = 9;
/// Names that functions use: few enough to be met again.
const NAMES: usize = 3_000;

enum Tree {
    Number(u64),
    Name(String),
    Binary(char, Box<Tree>, Box<Tree>),
    Call(String, Vec<Tree>),
    Block(Vec<(String, Tree)>, Box<Tree>),
}

/// What the table keeps of a name.
struct Symbol {
    first_used_in: String,
    uses: Vec<u32>,
}

type Symbols = Map<String, Symbol>;

pub(super) fn run(load: &Load) -> u64 {
    let functions = load.scaled(FUNCTIONS);
    load.in_threads(|mut random| {
        let mut sum = 0_u64;
        let mut symbols = Symbols::default();
        for number in 0..functions {
            let tree = grow(&mut random, DEPTH);
            record(&tree, &format!("function_{number}"), number as u32, &mut symbols);
            let value = tree.value();
            let folded = tree.fold();
            assert_eq!(folded.value(), value, "a tree lost its value in folding");
            let mut code = Vec::new();
            folded.emit(&mut code);
            sum = code.iter().fold(sum.wrapping_add(value), |sum, line| sum.wrapping_add(digest(line)));
            if number % UNIT == UNIT - 1 {
                sum = sum.wrapping_add(close(&mut symbols));
            }
        }
        sum.wrapping_add(close(&mut symbols))
    })
}

fn name(random: &mut Random) -> String {
    let number = random.below(NAMES);
    // Some names are short enough for any size class, some are as long as those that programs generate.
    if number.is_multiple_of(5) { format!("temporary_value_of_expression_{number}") } else { format!("v{number}") }
}

fn grow(random: &mut Random, depth: usize) -> Tree {
    if depth == 0 {
        return if random.below(2) == 0 { Tree::Number(random.next() >> 40) } else { Tree::Name(name(random)) };
    }
    match random.below(16) {
        0..9 => {
            let operator = ['+', '*', '^', '-'][random.below(4)];
            Tree::Binary(operator, Box::new(grow(random, depth - 1)), Box::new(grow(random, depth - 1)))
        }
        9..11 => Tree::Call(name(random), (0..random.below(4)).map(|_| grow(random, depth - 1)).collect()),
        11..13 => {
            let bindings = (0..random.below(3)).map(|_| (name(random), grow(random, depth - 1))).collect();
            Tree::Block(bindings, Box::new(grow(random, depth - 1)))
        }
        _ => grow(random, 0),
    }
}

/// Enters every name of the tree into the table.
fn record(tree: &Tree, function: &str, line: u32, symbols: &mut Symbols) {
    match tree {
        Tree::Number(_) => {}
        Tree::Name(name) => enter(name, function, line, symbols),
        Tree::Binary(_, left, right) => {
            record(left, function, line, symbols);
            record(right, function, line, symbols);
        }
        Tree::Call(name, arguments) => {
            enter(name, function, line, symbols);
            arguments.iter().for_each(|argument| record(argument, function, line, symbols));
        }
        Tree::Block(bindings, body) => {
            for (name, value) in bindings {
                enter(name, function, line, symbols);
                record(value, function, line, symbols);
            }
            record(body, function, line, symbols);
        }
    }
}

fn enter(name: &str, function: &str, line: u32, symbols: &mut Symbols) {
    let new = || Symbol { first_used_in: function.to_owned(), uses: Vec::new() };
    symbols.entry(name.to_owned()).or_insert_with(new).uses.push(line);
}

/// Empties the table and returns a digest of it.
fn close(symbols: &mut Symbols) -> u64 {
    std::mem::take(symbols).into_iter().fold(0, |sum, (name, symbol)| {
        let uses = symbol.uses.iter().map(|&line| u64::from(line)).sum::<u64>();
        sum.wrapping_add(digest(&name) ^ digest(&symbol.first_used_in).wrapping_add(uses))
    })
}

fn apply(operator: char, left: u64, right: u64) -> u64 {
    match operator {
        '+' => left.wrapping_add(right),
        '*' => left.wrapping_mul(right),
        '-' => left.wrapping_sub(right),
        _ => left ^ right,
    }
}

impl Tree {
    /// The value, where a name is worth its digest.
    fn value(&self) -> u64 {
        match self {
            Self::Number(number) => *number,
            Self::Name(name) => digest(name),
            Self::Binary(operator, left, right) => apply(*operator, left.value(), right.value()),
            Self::Call(name, arguments) => {
                arguments.iter().fold(digest(name), |sum, argument| sum.wrapping_mul(31).wrapping_add(argument.value()))
            }
            Self::Block(bindings, body) => bindings
                .iter()
                .fold(body.value(), |sum, (name, value)| sum.wrapping_add(digest(name).wrapping_mul(value.value()))),
        }
    }

    /// A new tree in which operations on numbers are done and blocks without bindings are their bodies.
    fn fold(self) -> Self {
        match self {
            Self::Binary(operator, left, right) => match (left.fold(), right.fold()) {
                (Self::Number(left), Self::Number(right)) => Self::Number(apply(operator, left, right)),
                (left, right) => Self::Binary(operator, Box::new(left), Box::new(right)),
            },
            Self::Call(name, arguments) => Self::Call(name, arguments.into_iter().map(Self::fold).collect()),
            Self::Block(bindings, body) if bindings.is_empty() => body.fold(),
            Self::Block(bindings, body) => {
                let bindings = bindings.into_iter().map(|(name, value)| (name, value.fold())).collect();
                Self::Block(bindings, Box::new(body.fold()))
            }
            leaf => leaf,
        }
    }

    /// One line of code for each operation.
    fn emit(&self, code: &mut Vec<String>) {
        match self {
            Self::Number(number) => code.push(format!("push {number}")),
            Self::Name(name) => code.push(format!("load {name}")),
            Self::Binary(operator, left, right) => {
                left.emit(code);
                right.emit(code);
                code.push(format!("apply {operator}"));
            }
            Self::Call(name, arguments) => {
                arguments.iter().for_each(|argument| argument.emit(code));
                code.push(format!("call {name}, {}", arguments.len()));
            }
            Self::Block(bindings, body) => {
                for (name, value) in bindings {
                    value.emit(code);
                    code.push(format!("store {name}"));
                }
                body.emit(code);
            }
        }
    }
}
