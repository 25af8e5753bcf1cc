//! The normal end of the process: profile and report of leaks, if they are asked for. (Statistics have an exit handler of their
//! own, which is registered only where they are wanted.)

use crate::profile;

// An entry of .fini_array, in whatever the allocator is linked into: after the program's own exit handlers and static
// destructors, so that what they free counts as freed.
#[used]
#[unsafe(link_section = ".fini_array")]
static AT_EXIT: extern "C" fn() = at_exit;

extern "C" fn at_exit() {
    if let Some(mean) = profile::mean() {
        profile::at_exit(mean);
    }
}
