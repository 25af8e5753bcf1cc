//! Machines in a few letters: `16`, `2x8`, `2x8x2`, `4+8@512`.

use super::{CacheId, Capacity, CoreId, Cpu, CpuId, NodeId, PackageId, Topology};
use std::fmt;
use std::str::FromStr;

/// What a made-up machine looks like: packages x cores x threads. A package is a node and has one last-level cache.
///
/// | text | machine |
/// |---|---|
/// | `16` | 16 cores in one package |
/// | `2x8` | 2 packages of 8 cores |
/// | `2x8x2` | the same with 2 threads a core |
/// | `4+8@512` | 4 fast cores, and 8 that do half as much, in one package |
///
/// # Examples
/// ```
/// use fairground_runtime::topology::Shape;
///
/// let shape: Shape = "2x8x2".parse()?;
/// let machine = shape.topology();
/// assert_eq!((machine.cpus().len(), machine.cores(), machine.nodes().len()), (32, 16, 2));
/// assert!("0".parse::<Shape>().is_err());
/// # Ok::<(), fairground_runtime::topology::ShapeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape(Vec<Part>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    packages: u32,
    cores: u32,
    threads: u32,
    capacity: Capacity,
}

impl Part {
    fn cpus(&self) -> u64 {
        u64::from(self.packages) * u64::from(self.cores) * u64::from(self.threads)
    }
}

impl Shape {
    /// Most cpus, which is what a runtime may have.
    pub const MOST: u64 = 1024;

    /// The machine.
    pub fn topology(&self) -> Topology {
        let (mut cpus, mut core) = (Vec::new(), 0);
        for part in &self.0 {
            for package in 0..part.packages {
                for _ in 0..part.cores {
                    for _ in 0..part.threads {
                        cpus.push(Cpu {
                            id: CpuId::new(cpus.len() as u32),
                            core: CoreId::new(core),
                            package: PackageId::new(package),
                            node: NodeId::new(package),
                            cache: CacheId::new(package),
                            cache_bytes: 0,
                            capacity: part.capacity,
                        });
                    }
                    core += 1;
                }
            }
        }
        Topology::new(cpus, Vec::new(), None)
    }
}

impl FromStr for Shape {
    type Err = ShapeError;

    fn from_str(text: &str) -> Result<Shape, ShapeError> {
        let error = || ShapeError(text.into());
        let mut parts = Vec::new();
        for part in text.split('+') {
            let (counts, capacity) = part.split_once('@').unwrap_or((part, "1024"));
            let capacity = capacity.parse().ok().filter(|capacity| (1..=1024).contains(capacity)).ok_or_else(error)?;
            let counts: Vec<u32> =
                counts.split('x').map(|count| count.parse().map_err(|_| error())).collect::<Result<_, _>>()?;
            let (packages, cores, threads) = match counts[..] {
                [cores] => (1, cores, 1),
                [packages, cores] => (packages, cores, 1),
                [packages, cores, threads] => (packages, cores, threads),
                _ => return Err(error()),
            };
            if [packages, cores, threads].iter().any(|count| *count == 0 || u64::from(*count) > Shape::MOST) {
                return Err(error());
            }
            parts.push(Part { packages, cores, threads, capacity: Capacity::new(capacity) });
        }
        if parts.iter().map(Part::cpus).sum::<u64>() > Shape::MOST {
            return Err(error());
        }
        Ok(Shape(parts))
    }
}

/// A text that describes no machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeError(Box<str>);

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "machine '{}': a number of cores (16), packages x cores (2x8) or packages x cores x threads (2x8x2) is allowed, \
             each with @ and a capacity of 1 to 1024 (8@512), more of them with + between (4+8@512), {} cpus at most",
            self.0,
            Shape::MOST
        )
    }
}

impl std::error::Error for ShapeError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(text: &str) -> Topology {
        text.parse::<Shape>().expect(text).topology()
    }

    #[test]
    fn what_is_fast_and_slow_and_near() {
        let laptop = machine("2x2+4@512");
        let capacities: Vec<_> = laptop.cpus().iter().map(|cpu| cpu.capacity.get()).collect();
        assert_eq!(capacities, [1024, 1024, 1024, 1024, 512, 512, 512, 512]);
        assert!(laptop.share_cache(CpuId::new(0), CpuId::new(4)) && !laptop.share_cache(CpuId::new(0), CpuId::new(2)));
        let threads = machine("1x2x2");
        assert!(
            threads.are_siblings(CpuId::new(0), CpuId::new(1)) && !threads.are_siblings(CpuId::new(1), CpuId::new(2))
        );
        assert_eq!(machine("4x256").cpus().len(), 1024);
    }

    #[test]
    fn what_is_no_machine_is_an_error_that_says_what_is_allowed() {
        for text in ["", "0", "x", "2x", "1025", "2x2x2x2", "8@0", "8@2000", "4+", "1024+1", "-1", "99999999999"] {
            let error = text.parse::<Shape>().expect_err(text).to_string();
            assert!(error.contains(&format!("'{text}'")) && error.contains("2x8x2"), "{error}");
        }
    }
}
