//! What the processor has, and whether that is what this binary was built for.
//!
//! The kernel is asked, not Rust's `is_aarch64_feature_detected!` and its like: what the compiler was told to use these take
//! for granted, so they would never find it missing.

use std::fs;

use anyhow::{Result, bail};

/// An instruction set extension, as Rust names it.
struct Extension {
    name: &'static str,
    /// The compiler was told that it may use it.
    built_for: bool,
    /// The processor has it.
    present: bool,
}

/// The extensions that a board's `target-cpu` may name, each with what the kernel knows it by.
macro_rules! extensions {
    ($($name:tt $mark:expr),* $(,)?) => {{
        let kernel = kernel::Told::new();
        vec![$(Extension { name: $name, built_for: cfg!(target_feature = $name), present: kernel.says($mark) }),*]
    }};
}

#[cfg(target_arch = "x86_64")]
fn extensions() -> Vec<Extension> {
    extensions!(
        "sse3" "pni", "ssse3" "ssse3", "sse4.1" "sse4_1", "sse4.2" "sse4_2", "popcnt" "popcnt", "avx" "avx",
        "avx2" "avx2", "fma" "fma", "bmi1" "bmi1", "bmi2" "bmi2", "lzcnt" "abm", "f16c" "f16c", "movbe" "movbe",
        "avx512f" "avx512f", "avx512bw" "avx512bw", "avx512cd" "avx512cd", "avx512dq" "avx512dq",
        "avx512vl" "avx512vl", "avx512vnni" "avx512_vnni", "avx512vbmi" "avx512vbmi"
    )
}

#[cfg(target_arch = "aarch64")]
fn extensions() -> Vec<Extension> {
    use kernel::{FIRST, SECOND};
    extensions!(
        "neon"(FIRST, 1),
        "aes"(FIRST, 3),
        "sha2"(FIRST, 6),
        "crc"(FIRST, 7),
        "lse"(FIRST, 8),
        "fp16"(FIRST, 10),
        "rdm"(FIRST, 12),
        "rcpc"(FIRST, 15),
        "dpb"(FIRST, 16),
        "dotprod"(FIRST, 20),
        "sve"(FIRST, 22),
        "i8mm"(SECOND, 13),
        "bf16"(SECOND, 14)
    )
}

#[cfg(target_arch = "arm")]
fn extensions() -> Vec<Extension> {
    extensions!("neon"(kernel::FIRST, 12))
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm")))]
fn extensions() -> Vec<Extension> {
    Vec::new()
}

/// The flags of `/proc/cpuinfo`.
#[cfg(target_arch = "x86_64")]
mod kernel {
    use super::fs;

    pub(super) struct Told(Option<String>);

    impl Told {
        pub(super) fn new() -> Self {
            let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
            Self(text.lines().find(|line| line.starts_with("flags")).map(Into::into))
        }

        /// Where the kernel says nothing, the best is hoped for.
        pub(super) fn says(&self, flag: &str) -> bool {
            self.0.as_ref().is_none_or(|flags| flags.split_whitespace().any(|word| word == flag))
        }
    }
}

/// The list of pairs of numbers that the kernel gives each process (`getauxval(3)`; `asm/hwcap.h` has the bits).
#[cfg(any(target_arch = "aarch64", target_arch = "arm"))]
mod kernel {
    use super::fs;

    /// `AT_HWCAP`.
    pub(super) const FIRST: usize = 16;
    /// `AT_HWCAP2`.
    #[cfg(target_arch = "aarch64")]
    pub(super) const SECOND: usize = 26;

    pub(super) struct Told(Vec<usize>);

    impl Told {
        pub(super) fn new() -> Self {
            let bytes = fs::read("/proc/self/auxv").unwrap_or_default();
            Self(bytes.as_chunks().0.iter().map(|word| usize::from_ne_bytes(*word)).collect())
        }

        /// Where the kernel says nothing, the best is hoped for.
        pub(super) fn says(&self, (key, bit): (usize, u32)) -> bool {
            self.0.is_empty() || self.0.chunks_exact(2).any(|pair| pair[0] == key && pair[1] >> bit & 1 == 1)
        }
    }
}

/// Names of the extensions that the processor has.
pub(crate) fn present() -> Vec<&'static str> {
    extensions().into_iter().filter(|one| one.present).map(|one| one.name).collect()
}

/// Refuses to go on where instructions would be missing.
///
/// # Errors
/// If the processor lacks an extension that the binary was built for; the text names all of them.
pub(crate) fn check() -> Result<()> {
    verdict(&extensions())
}

fn verdict(extensions: &[Extension]) -> Result<()> {
    let missing: Vec<_> = extensions.iter().filter(|one| one.built_for && !one.present).map(|one| one.name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let board = option_env!("NFORMER_EDGE_BOARD").unwrap_or("host");
    bail!(
        "this binary was built for the board `{board}`, whose processor has {}; this one has not: use the binary for this \
         board, or build one (targets/README.md)",
        missing.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_that_lacks_something_is_named_and_refused() {
        let extension = |name, built_for, present| Extension { name, built_for, present };
        assert!(
            verdict(&[extension("lse", true, true), extension("sve", false, false), extension("fp16", false, true)])
                .is_ok()
        );
        let refused =
            verdict(&[extension("lse", true, false), extension("neon", true, true), extension("dotprod", true, false)]);
        let text = refused.expect_err("two are missing").to_string();
        assert!(text.contains("has lse, dotprod;") && text.contains("targets/README.md"), "{text}");
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_kernel_and_the_processor_say_the_same() {
        let present = present();
        for (name, detected) in [
            ("sse3", is_x86_feature_detected!("sse3")),
            ("sse4.2", is_x86_feature_detected!("sse4.2")),
            ("lzcnt", is_x86_feature_detected!("lzcnt")),
            ("avx2", is_x86_feature_detected!("avx2")),
            ("fma", is_x86_feature_detected!("fma")),
            ("avx512f", is_x86_feature_detected!("avx512f")),
            ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
        ] {
            assert_eq!(present.contains(&name), detected, "{name}: {present:?}");
        }
    }

    #[test]
    fn the_tests_run_on_a_processor_they_were_built_for() {
        assert!(check().is_ok());
    }
}
