//! Kernel threads pinned to cpus. Where that is refused (a mask that changed, a container's filter), it is said once, and the runtime goes
//! on unpinned: its queues are as good, only the kernel may move its threads about.

use crate::topology::CpuId;
use core_affinity::CoreId;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Pins the calling kernel thread. False if that is refused, which is said on stderr the first time in the process's life.
pub(crate) fn pin_current(cpu: CpuId) -> bool {
    static SAID: AtomicBool = AtomicBool::new(false);
    let Err(error) = try_pin(cpu) else { return true };
    if !SAID.swap(true, Ordering::Relaxed) {
        // To nobody, if there is no stderr.
        let _ = writeln!(
            io::stderr(),
            "fairground: a kernel thread cannot be pinned to cpu {cpu} ({error}); going on unpinned, the kernel may move threads"
        );
    }
    false
}

fn try_pin(cpu: CpuId) -> io::Result<()> {
    let id = cpu.get() as usize;
    // core_affinity has masks of so many, and none for more.
    if id >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::other(format!("masks have {} cpus", libc::CPU_SETSIZE)));
    }
    if core_affinity::set_for_current(CoreId { id }) { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::child::in_child;
    use crate::topology::Topology;

    #[test]
    fn a_pinned_thread_has_one_cpu_left() {
        std::thread::spawn(|| {
            let cpu = Topology::detect().cpus()[0].id;
            assert!(pin_current(cpu));
            let left: Vec<_> = Topology::detect().cpus().iter().map(|cpu| cpu.id).collect();
            assert_eq!(left, [cpu]);
        })
        .join()
        .expect("no panic");
    }

    #[test]
    fn a_refusal_is_said_once_and_nothing_changes() {
        let output = in_child("pin::tests::a_refusal_is_said_once_and_nothing_changes", || {
            let before = Topology::detect();
            for cpu in [1023, 1024, u32::MAX] {
                assert!(!pin_current(CpuId::new(cpu)));
            }
            assert_eq!(Topology::detect(), before);
        });
        if let Some(output) = output {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{text}");
            assert_eq!(text.matches("cannot be pinned to cpu 1023").count(), 1, "{text}");
            assert_eq!(text.matches("cannot be pinned").count(), 1, "{text}");
        }
    }
}
