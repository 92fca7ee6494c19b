//! Bytes that may be a model file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nformer_edge_fuzz::try_file;

fuzz_target!(|file: &[u8]| {
    try_file(file);
});
