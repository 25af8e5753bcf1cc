//! Processors by affinity.

use std::mem::MaybeUninit;

/// The processors that the calling thread may run on.
pub fn allowed() -> Vec<usize> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: the set is writable and of the size given; zeroes are a set, and so is what the kernel writes.
    let set = unsafe {
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), set.as_mut_ptr());
        set.assume_init()
    };
    // SAFETY: the number is below that of the set's bits.
    (0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect()
}

/// Two different processors.
pub fn two() -> Result<[usize; 2], String> {
    match allowed()[..] {
        [first, second, ..] => Ok([first, second]),
        _ => Err("this process may run on one processor only".into()),
    }
}

/// Has the calling thread, and those that it starts from now on, run on one processor only.
pub fn pin(cpu: usize) -> Result<(), String> {
    allow([cpu])
}

/// Has the calling thread run wherever the machine lets it.
pub fn allow_all() -> Result<(), String> {
    allow(0..libc::CPU_SETSIZE as usize)
}

fn allow(cpus: impl IntoIterator<Item = usize>) -> Result<(), String> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: zeroes are the empty set, which is then changed only; the size is the set's.
    let result = unsafe {
        for cpu in cpus {
            libc::CPU_SET(cpu, set.assume_init_mut());
        }
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set.as_ptr())
    };
    if result == 0 { Ok(()) } else { Err(format!("cannot pin a thread: {}", std::io::Error::last_os_error())) }
}
