//! What all targets share: which panic counts, and how much memory one request may ask for.

pub mod graph;
pub mod mutate;
pub mod pictures;
pub mod records;

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::panic::{self, PanicHookInfo};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use nformer_edge::model::try_out;

/// Most bytes of one request while a model is loaded: the largest tensor, in the widest form that `tract` keeps a number
/// in while it works on shapes.
pub const MODEL_REQUEST: usize = 1 << 30;

/// Most bytes of one request while a picture is decoded: the largest frame, four times over.
pub const PICTURE_REQUEST: usize = 256 << 20;

/// Most bytes of one request for anything else, whose inputs are small.
pub const RECORD_REQUEST: usize = 4 << 20;

static MAX_REQUEST: AtomicUsize = AtomicUsize::new(MODEL_REQUEST);

/// Sets what one request may ask for, and ends the process at any panic but those of `zune-jpeg`, which the product
/// catches as it does those of `tract`.
pub fn strict(most: usize) {
    MAX_REQUEST.store(most, Ordering::Relaxed);
    // The product sets its own hook at the first picture; this one has to come after it.
    let empty_picture = b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x01\x00\x01\x01\x01\x11\x00\xff\xda\x00\x02\xff\xd9";
    let _ = nformer_edge::camera::jpeg::JpegDecoder::new().decode(empty_picture);
    panic::set_hook(Box::new(|info| {
        if info.location().is_some_and(|place| place.file().contains("/zune-jpeg-")) {
            return;
        }
        eprintln!("finding: {info}\n{}", Backtrace::force_capture());
        std::process::abort();
    }));
}

/// The allocator of the system, but a request beyond the stated most is a finding. libFuzzer's own
/// `-malloc_limit_mb` sees nothing without a sanitizer.
struct Capped;

#[global_allocator]
static ALLOCATOR: Capped = Capped;

fn check(bytes: usize) {
    if bytes > MAX_REQUEST.load(Ordering::Relaxed) {
        eprintln!("finding: one request of {bytes} bytes");
        std::process::abort();
    }
}

// SAFETY: every request goes on to `System` as it came.
unsafe impl GlobalAlloc for Capped {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        // SAFETY: the caller's layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        // SAFETY: the caller's layout.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        check(size);
        // SAFETY: the caller's memory, layout and size.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's memory and layout.
        unsafe { System.dealloc(memory, layout) }
    }
}

static HOOK: Once = Once::new();

/// Loads, rewrites and runs a file as the product does. Ends the process at a panic of our own code; one in `tract` is
/// caught by the product and is an error like any other. Whether it ran.
///
/// # Panics
/// If the buffers of the integer operators are larger than the product states.
pub fn try_file(file: &[u8]) -> bool {
    HOOK.call_once(|| {
        // The product sets its own hook at the first file; ours has to come after it.
        let _ = try_out(&[]);
        panic::set_hook(Box::new(judge));
    });
    let outcome = try_out(file);
    if let Ok(report) = &outcome {
        assert!(report.arena_bytes <= 256 << 20, "{report}");
    }
    outcome.is_ok()
}

fn judge(info: &PanicHookInfo) {
    let file = info.location().map_or("", |place| place.file());
    if file.contains("/tract-") || (foreign(file) && tract_called()) {
        return;
    }
    eprintln!("finding: {info}\n{}", Backtrace::force_capture());
    std::process::abort();
}

/// Whether a panic there is one of whoever called: the standard library or another crate's.
fn foreign(file: &str) -> bool {
    file.starts_with("/rustc/") || file.contains("/registry/src/")
}

/// Whether the nearest caller that is either `tract` or this project is `tract`.
fn tract_called() -> bool {
    let frames = Backtrace::force_capture().to_string();
    let frames = frames.lines().filter(|line| !line.contains("nformer_edge_fuzz"));
    frames
        .map(|line| (line.contains("tract_"), line.contains("nformer_edge")))
        .find(|(tract, ours)| *tract || *ours)
        .is_some_and(|(_, ours)| !ours)
}
