//! The command `nformer-edge`.

fn main() {}
