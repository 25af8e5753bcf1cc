//! The panic handler of the library: one line on stderr, then `abort`.
//!
//! No panic is expected in a release build. Should one happen, the allocator's state is unknown, so nothing here may
//! allocate, format through trait objects of unknown size, or unwind.

use core::panic::PanicInfo;
use fairground_allocator::report_line;

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    report_line(|text| {
        text.text("panic");
        if let Some(place) = info.location() {
            text.text(" at ").text(place.file()).text(":").number(place.line() as usize);
        }
        if let Some(message) = info.message().as_str() {
            text.text(": ").text(message);
        }
    });
    // SAFETY: abort takes no argument and does not return.
    unsafe { libc::abort() }
}
