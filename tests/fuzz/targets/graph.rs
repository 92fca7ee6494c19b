//! Graphs that are well-formed files and hostile in what they say.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nformer_edge_fuzz::{graph, try_file};

fuzz_target!(|bytes: &[u8]| {
    if let Some(file) = graph::file(bytes) {
        try_file(&file);
    }
});
