//! libFuzzer's side of dcf's `tests/hostile_paths`: an input is the list of choices.
#![no_main]

#[path = "../../dcf/tests/hostile_paths/mod.rs"]
mod hostile_paths;

/// What libFuzzer calls with every input.
///
/// # Safety
///
/// `size` bytes at `data` stay readable and unchanged until this returns: libFuzzer's contract.
#[no_mangle]
pub unsafe extern "C" fn LLVMFuzzerTestOneInput(data: *const u8, size: usize) -> i32 {
    if size > 0 {
        // SAFETY: the caller's promise, above; a slice may not begin at null, hence the condition.
        hostile_paths::run(unsafe { std::slice::from_raw_parts(data, size) });
    }
    0
}
