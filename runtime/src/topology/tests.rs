use super::*;
use std::fs;
use tempfile::TempDir;

/// A made-up root.
struct Machine(TempDir);

impl Machine {
    fn new() -> Machine {
        Machine(tempfile::tempdir().expect("a folder"))
    }

    fn file(&self, path: &str, text: impl AsRef<[u8]>) -> &Machine {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
        self
    }

    fn cpu_file(&self, cpu: u32, path: &str, text: &str) -> &Machine {
        self.file(&format!("sys/devices/system/cpu/cpu{cpu}/{path}"), text)
    }

    fn cpu(&self, cpu: u32, package: i32, siblings: &str, cache: &str) -> &Machine {
        self.cpu_file(cpu, "topology/physical_package_id", &format!("{package}\n"))
            .cpu_file(cpu, "topology/thread_siblings_list", &format!("{siblings}\n"))
            .cpu_file(cpu, "cache/index0/level", "1\n")
            .cpu_file(cpu, "cache/index0/type", "Data\n")
            .cpu_file(cpu, "cache/index0/shared_cpu_list", siblings)
            .cpu_file(cpu, "cache/index0/size", "48K\n")
            .cpu_file(cpu, "cache/index3/level", "3\n")
            .cpu_file(cpu, "cache/index3/type", "Unified\n")
            .cpu_file(cpu, "cache/index3/shared_cpu_list", cache)
            .cpu_file(cpu, "cache/index3/size", "32768K\n")
    }

    fn online(&self, cpus: &str) -> &Machine {
        self.file("sys/devices/system/cpu/online", format!("{cpus}\n"))
    }

    fn node(&self, node: u32, cpus: &str, distances: &str) -> &Machine {
        self.file(&format!("sys/devices/system/node/node{node}/cpulist"), format!("{cpus}\n"))
            .file(&format!("sys/devices/system/node/node{node}/distance"), format!("{distances}\n"))
    }

    fn read(&self, allowed: &[u32]) -> Topology {
        let allowed: Vec<_> = allowed.iter().copied().map(CpuId).collect();
        Topology::read(self.0.path(), &allowed)
    }
}

fn ids(topology: &Topology) -> Vec<u32> {
    topology.cpus().iter().map(|cpu| cpu.id.get()).collect()
}

fn placed(topology: &Topology, workers: usize) -> Vec<u32> {
    let workers = NonZeroUsize::new(workers).expect("not zero");
    topology.placement(workers).into_iter().map(CpuId::get).collect()
}

/// Two performance cores with two threads each, four efficiency cores.
fn laptop() -> Machine {
    let machine = Machine::new();
    machine.online("0-7").file("sys/devices/cpu_core/cpus", "0-3\n").file("sys/devices/cpu_atom/cpus", "4-7\n");
    for cpu in 0..8 {
        let siblings = if cpu < 4 { format!("{}-{}", cpu & !1, cpu | 1) } else { cpu.to_string() };
        machine.cpu(cpu, 0, &siblings, "0-7");
    }
    machine
}

#[test]
fn a_hybrid_laptop_has_fast_and_slow_cores() {
    let machine = laptop();
    let topology = machine.read(&[]);
    assert_eq!((topology.cpus().len(), topology.cores()), (8, 6));
    assert!(topology.are_siblings(CpuId(2), CpuId(3)) && !topology.are_siblings(CpuId(1), CpuId(2)));
    assert!(!topology.are_siblings(CpuId(4), CpuId(5)) && !topology.are_siblings(CpuId(0), CpuId(0)));
    assert!(topology.cpus()[..4].iter().all(|cpu| cpu.capacity == Capacity::FULL));
    assert!(topology.cpus()[4..].iter().all(|cpu| cpu.capacity < Capacity::FULL));
    assert_eq!(placed(&topology, 8), [0, 2, 4, 5, 6, 7, 1, 3]);
    assert_eq!(topology.notes(), [""; 0]);

    // What the kernel says of capacities comes first, brought to a scale of 1024.
    for cpu in 0..8 {
        machine.cpu_file(cpu, "cpu_capacity", if cpu < 4 { "2048\n" } else { "1000\n" });
    }
    let capacities: Vec<_> = machine.read(&[]).cpus().iter().map(|cpu| cpu.capacity.get()).collect();
    assert_eq!(capacities, [1024, 1024, 1024, 1024, 500, 500, 500, 500]);
}

#[test]
fn without_kinds_the_highest_frequency_tells_fast_from_slow() {
    let machine = Machine::new();
    machine.online("0-2");
    for (cpu, kilohertz) in [(0, "3000000"), (1, "2900000"), (2, "1500000")] {
        machine.cpu(cpu, 0, &cpu.to_string(), "0-2").cpu_file(cpu, "cpufreq/cpuinfo_max_freq", kilohertz);
    }
    let capacities: Vec<_> = machine.read(&[]).cpus().iter().map(|cpu| cpu.capacity.get()).collect();
    assert_eq!(capacities, [1024, 1024, 512], "a favoured core is no other kind");
}

/// Cores 0 to 3 in package 0, 4 to 7 in package 1; second threads are 8 higher.
fn two_sockets() -> Machine {
    let machine = Machine::new();
    machine.online("0-15").file("sys/devices/system/node/online", "0-1\n");
    for cpu in 0..16u32 {
        let core = cpu % 8;
        let cache = if core < 4 { "0-3,8-11" } else { "4-7,12-15" };
        machine.cpu(cpu, (core / 4) as i32, &format!("{core},{}", core + 8), cache);
    }
    machine.node(0, "0-3,8-11", "10 21").node(1, "4-7,12-15", "21 10");
    machine
}

#[test]
fn two_sockets_with_siblings() {
    let topology = two_sockets().read(&[]);
    assert_eq!((topology.cpus().len(), topology.cores(), topology.nodes().len()), (16, 8, 2));
    assert!(topology.are_siblings(CpuId(3), CpuId(11)));
    assert!(topology.share_cache(CpuId(0), CpuId(11)) && !topology.share_cache(CpuId(3), CpuId(4)));
    let cpu = topology.cpu(CpuId(13)).expect("online");
    assert_eq!((cpu.package, cpu.node, cpu.cache_bytes), (PackageId(1), NodeId(1), 32 << 20));
    assert_eq!(topology.distance(cpu.node, NodeId(0)), 21);
    assert_eq!(placed(&topology, 10), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(topology.workers().get(), 16);
}

#[test]
fn the_affinity_mask_limits_the_cpus_and_changes_no_numbers() {
    let machine = two_sockets();
    let all = machine.read(&[]);
    let some = machine.read(&[4, 12, 13, 99]);
    assert_eq!(ids(&some), [4, 12, 13]);
    for cpu in some.cpus() {
        assert_eq!(all.cpu(cpu.id), Some(cpu));
    }
    assert_eq!((some.cpu(CpuId(0)), some.cores(), some.workers().get()), (None, 2, 3));
    assert_eq!(placed(&some, 5), [4, 13, 12, 4, 13]);
}

#[test]
fn four_nodes_one_without_cpus_and_gaps_in_all_numbers() {
    let machine = Machine::new();
    machine.online("1,3,64-65").file("sys/devices/system/node/online", "0,2,5,7\n");
    for cpu in [1, 3, 64, 65] {
        machine.cpu(cpu, -1, &cpu.to_string(), &cpu.to_string());
    }
    machine.node(0, "1,2", "10 16 32 40").node(2, "3", "16 10 32 40").node(5, "64-65", "32 32 10 40").node(
        7,
        "",
        "40 40 40 10",
    );
    let topology = machine.read(&[]);
    assert_eq!(ids(&topology), [1, 3, 64, 65]);
    assert_eq!(topology.nodes().iter().map(|node| node.id.get()).collect::<Vec<_>>(), [0, 2, 5, 7]);
    assert_eq!(topology.distance(NodeId(5), NodeId(2)), 32);
    assert_eq!(topology.distance(NodeId(2), NodeId(7)), 40);
    assert_eq!((topology.distance(NodeId(3), NodeId(0)), topology.distance(NodeId(3), NodeId(3))), (20, 10));
    assert_eq!(topology.cpu(CpuId(65)).map(|cpu| (cpu.node, cpu.package)), Some((NodeId(5), PackageId(0))));
    assert_eq!(topology.cpu(CpuId(2)), None, "offline");
}

#[test]
fn a_container_without_sysfs_gives_a_flat_topology_and_one_note() {
    let machine = Machine::new();
    let topology = machine.read(&[2, 5, 9]);
    assert_eq!((ids(&topology), topology.cores(), topology.notes().len()), (vec![2, 5, 9], 3, 1));
    assert!(topology.share_cache(CpuId(2), CpuId(9)));
    let nothing = machine.read(&[]);
    assert_eq!((ids(&nothing), nothing.notes().len(), nothing.workers().get()), (vec![0], 1, 1));
}

#[test]
fn garbage_counts_as_missing_and_is_said_once() {
    let machine = two_sockets();
    machine.cpu_file(3, "topology/thread_siblings_list", "7-2");
    machine.cpu_file(3, "topology/physical_package_id", "seven");
    machine.cpu_file(3, "cache/index3/shared_cpu_list", "0-4294967295");
    machine.node(1, "4-7,12-15", "21 ten");
    machine.file("sys/devices/system/node/node0/cpulist", [0xff, 0xfe, 0]);
    let topology = machine.read(&[]);
    assert_eq!((ids(&topology).len(), topology.notes().len()), (16, 1), "{:?}", topology.notes());
    assert!(topology.notes()[0].contains("makes no sense"), "{}", topology.notes()[0]);
    assert_eq!(topology.distance(NodeId(1), NodeId(0)), 20);
    assert!(topology.are_siblings(CpuId(2), CpuId(10)), "the others are as they were");

    for online in ["", "x", "3-1", "0-99999999999", "-", "100-101"] {
        let machine = Machine::new();
        machine.online(online);
        let topology = machine.read(&[0, 1]);
        assert_eq!((ids(&topology), topology.notes().len()), (vec![0, 1], 1), "{online:?}");
    }
}

#[test]
fn a_quota_of_one_and_a_half_cpus_is_worth_two_workers() {
    let machine = two_sockets();
    machine
        .file("proc/self/cgroup", "0::/pod/app\n")
        .file("proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
        .file("sys/fs/cgroup/pod/app/cpu.max", "150000 100000\n");
    let topology = machine.read(&[]);
    assert_eq!(topology.quota(), Some(Quota { quota_us: 150_000, period_us: 100_000 }));
    assert_eq!(topology.workers().get(), 2);
    assert!(topology.to_string().contains("1.5 cpus"), "{topology}");

    // Less for a group above, and more, and none.
    machine.file("sys/fs/cgroup/pod/cpu.max", "50000 100000\n");
    assert_eq!(machine.read(&[]).workers().get(), 1);
    machine.file("sys/fs/cgroup/pod/cpu.max", "900000 100000\n");
    assert_eq!(machine.read(&[]).workers().get(), 2);
    machine.file("sys/fs/cgroup/pod/app/cpu.max", "max 100000\n");
    assert_eq!(machine.read(&[]).workers().get(), 9);
    machine.file("sys/fs/cgroup/pod/cpu.max", "max 100000\n");
    assert_eq!((machine.read(&[]).quota(), machine.read(&[]).workers().get()), (None, 16));
}

#[test]
fn quotas_of_version_one_and_what_makes_no_sense() {
    let machine = two_sockets();
    // The kernel names the path outside of the container; what is mounted begins at it. A blank in the mount point.
    machine
        .file("proc/self/cgroup", "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc/job\n0::/\n")
        .file(
            "proc/self/mountinfo",
            "1 2 0:3 /docker/abc /sys/fs/c\\040g rw shared:5 - cgroup cgroup rw,cpu,cpuacct\n\
             garbage\n\
             5 6 0:9 / /sys/fs/unified rw - cgroup2 cgroup2 rw\n",
        )
        .file("sys/fs/c g/job/cpu.cfs_quota_us", "-1\n")
        .file("sys/fs/c g/job/cpu.cfs_period_us", "100000\n")
        .file("sys/fs/c g/cpu.cfs_quota_us", "250000\n")
        .file("sys/fs/c g/cpu.cfs_period_us", "100000\n");
    assert_eq!(machine.read(&[]).workers().get(), 3);
    for (quota, period) in [("0", "100000"), ("5", "0"), ("many", "100000"), ("", "")] {
        machine.file("sys/fs/c g/cpu.cfs_quota_us", quota).file("sys/fs/c g/cpu.cfs_period_us", period);
        assert_eq!(machine.read(&[]).quota(), None, "{quota} of {period}");
    }
    // A path that leads out of the mount is not followed.
    machine
        .file("proc/self/cgroup", "3:cpu:/../../etc\n")
        .file("etc/cpu.cfs_quota_us", "1")
        .file("etc/cpu.cfs_period_us", "1");
    assert_eq!(machine.read(&[]).quota(), None);
}

#[test]
fn the_table_says_what_is_known() {
    let text = laptop().read(&[0, 1, 4, 5, 7]).to_string();
    let expected = "\
Usable cpus:          5 (0-1,4-5,7)
Cores, packages:      4 cores, 1 package
Capacity 1024:        0-1
Capacity 614:         4-5,7
Last-level cache 0:   0-1,4-5,7 (32 MiB)
Node 0:               0-1,4-5,7, distances 10
CPU quota:            none
Workers:              5

  CPU  CORE  PACKAGE  NODE  CACHE  CAPACITY
    0     0        0     0      0      1024
    1     0        0     0      0      1024
    4     2        0     0      0       614
    5     3        0     0      0       614
    7     5        0     0      0       614
";
    assert_eq!(text, expected);
}

#[test]
fn this_machine_is_what_the_process_may_use() {
    let topology = Topology::detect();
    let usable = std::thread::available_parallelism().expect("known").get();
    assert!(topology.cpus().len() >= usable, "{topology}");
    let allowed = core_affinity::get_core_ids().expect("a mask");
    assert_eq!(ids(&topology), allowed.iter().map(|core| core.id as u32).collect::<Vec<_>>());
}

#[test]
fn made_up_ones_are_brought_into_order() {
    let nothing = Topology::new(Vec::new(), Vec::new(), None);
    assert_eq!(ids(&nothing), [0]);
    let cpus = [3, 1, 3].map(|id| Cpu::flat(CpuId(id), 0)).to_vec();
    let node = Node { id: NodeId(4), distances: vec![10, 17, 99] };
    let topology = Topology::new(cpus, vec![node], None);
    assert_eq!(ids(&topology), [1, 3]);
    assert_eq!((topology.distance(NodeId(4), NodeId(0)), topology.distance(NodeId(0), NodeId(4))), (17, 20));
    let flat = Topology::flat(NonZeroUsize::new(3).expect("not zero"));
    assert_eq!((flat.cores(), flat.workers().get()), (3, 3));
}
