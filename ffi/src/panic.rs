//! The panic handler of the library: one line on stderr, then `abort`.
//!
//! No panic is expected in a release build. Should one happen, the allocator's state is unknown, so nothing here may
//! allocate, format through trait objects of unknown size, or unwind.

use crate::line::Line;
use core::panic::PanicInfo;

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    let mut line = Line::new();
    line.text("fairground: panic");
    if let Some(place) = info.location() {
        line.text(" at ").text(place.file()).text(":").number(place.line() as usize);
    }
    if let Some(message) = info.message().as_str() {
        line.text(": ").text(message);
    }
    line.text("\n").write_to_stderr();
    // SAFETY: abort takes no argument and does not return.
    unsafe { libc::abort() }
}
