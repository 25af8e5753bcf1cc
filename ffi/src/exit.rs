//! The last look at normal exit: what the main thread has freed and nothing has checked yet.
//!
//! `free` checks small blocks when their sheaf is flushed; a short program may end before. So the library has a destructor,
//! which reports a double free or a wrong pointer then. Other threads' sheaves were flushed when they ended.

extern "C" fn at_exit() {
    fairground_allocator::malloc::check_at_exit();
}

// An entry of .fini_array is called by the loader as a function without arguments, which `at_exit` is.
#[used]
#[unsafe(link_section = ".fini_array")]
static AT_EXIT: extern "C" fn() = at_exit;
