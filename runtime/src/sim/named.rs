//! Workloads with names: files of the format that anybody can write, so they are examples of it, too.

use super::workload::Workload;

const NAMED: [(&str, &str); 5] = [
    ("hogs-and-sleepers", include_str!("workloads/hogs-and-sleepers.txt")),
    ("web-requests", include_str!("workloads/web-requests.txt")),
    ("batch-and-interactive", include_str!("workloads/batch-and-interactive.txt")),
    ("fork-storm", include_str!("workloads/fork-storm.txt")),
    ("tenants", include_str!("workloads/tenants.txt")),
];

impl Workload {
    /// The names of those that are there.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(name, _)| *name)
    }

    /// The text of one that has a name.
    pub fn text(name: &str) -> Option<&'static str> {
        NAMED.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_can_be_read() {
        for name in Workload::names() {
            let workload = Workload::text(name).map(str::parse::<Workload>).expect("a text");
            assert!(workload.is_ok_and(|workload| workload.tasks(4) > 4), "{name}");
        }
    }
}
