//! The stack, taken at the start like all other memory.

use std::hint::black_box;

/// What a reload goes down to (324 KB in a test build), and half as much again.
const BYTES: usize = 512 * 1024;

/// Has the kernel map the stack of the main thread as far as it will be needed.
///
/// It grows by itself, page by page, but where no memory is left that ends in a fault without a word. An allocation that fails
/// says so.
#[inline(never)]
#[expect(clippy::large_stack_arrays, reason = "that is what it is for")]
pub(crate) fn take() {
    black_box(&mut [0_u8; BYTES]);
}
