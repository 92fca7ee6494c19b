//! Whether the processor has what this binary was built for.

use anyhow::{Result, bail};

/// An instruction set extension, as Rust names it.
struct Extension {
    name: &'static str,
    /// The compiler was told that it may use it.
    built_for: bool,
    /// The processor has it.
    present: bool,
}

/// The extensions that a board's `target-cpu` may name.
macro_rules! extensions {
    ($detected:ident: $($name:tt)*) => {
        &[$(Extension { name: $name, built_for: cfg!(target_feature = $name), present: std::arch::$detected!($name) }),*]
    };
}

/// Refuses to go on where instructions would be missing.
///
/// # Errors
/// If the processor lacks an extension that the binary was built for; the text names all of them.
pub(crate) fn check() -> Result<()> {
    #[cfg(target_arch = "x86_64")]
    let extensions: &[Extension] = extensions!(is_x86_feature_detected:
        "sse3" "ssse3" "sse4.1" "sse4.2" "popcnt" "avx" "avx2" "fma" "bmi1" "bmi2" "lzcnt" "f16c" "movbe"
        "avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl" "avx512vnni" "avx512vbmi");
    #[cfg(target_arch = "aarch64")]
    let extensions: &[Extension] = extensions!(is_aarch64_feature_detected:
        "neon" "crc" "aes" "sha2" "lse" "rdm" "fp16" "dotprod" "rcpc" "dpb" "i8mm" "bf16" "sve");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let extensions: &[Extension] = &[];
    verdict(extensions)
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

    #[test]
    fn the_tests_run_on_a_processor_they_were_built_for() {
        assert!(check().is_ok());
    }
}
