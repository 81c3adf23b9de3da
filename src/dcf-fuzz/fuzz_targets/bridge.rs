//! libFuzzer's side of `tests/hostile`: an input is the list of choices.
#![no_main]

#[path = "../../dcf-shim/tests/hostile/mod.rs"]
mod hostile;

use hostile::Choices;

/// A byte for each choice, two where one does not reach; zeros after the end.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u32 {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        (*byte).into()
    }
}

impl Choices for Input<'_> {
    fn more(&mut self) -> bool {
        !self.0.is_empty()
    }

    fn next(&mut self, below: u32) -> u32 {
        let byte = self.byte();
        (if below > 256 { byte << 8 | self.byte() } else { byte }) % below
    }
}

/// What libFuzzer calls with every input.
///
/// # Safety
///
/// `size` bytes at `data` stay readable and unchanged until this returns: libFuzzer's contract.
#[no_mangle]
pub unsafe extern "C" fn LLVMFuzzerTestOneInput(data: *const u8, size: usize) -> i32 {
    if size > 0 {
        // SAFETY: the caller's promise, above; a slice may not begin at null, hence the condition.
        hostile::run(&mut Input(unsafe { std::slice::from_raw_parts(data, size) }));
    }
    0
}
