//! Build-time sizes: what one board holds at most.
//!
//! A board's `targets/<board>/cargo.toml` sets them in its `[env]` table; without it the values of
//! the host apply. Every fixed buffer of the program is dimensioned by one of these constants, so the
//! memory of a build is known before it runs (`nformer-edge memory` prints it).

/// Rows of the neighbour buffer (`NFORMER_EDGE_NEIGHBORS`).
pub const NEIGHBORS: usize = from_env(option_env!("NFORMER_EDGE_NEIGHBORS"), 64);

/// People handled in one frame: detections, tracks, sightings (`NFORMER_EDGE_MAX_PEOPLE`).
pub const MAX_PEOPLE: usize = from_env(option_env!("NFORMER_EDGE_MAX_PEOPLE"), 32);

/// Identities the gallery holds (`NFORMER_EDGE_MAX_IDENTITIES`).
pub const MAX_IDENTITIES: usize = from_env(option_env!("NFORMER_EDGE_MAX_IDENTITIES"), 256);

/// Widest embedding a model file may bring, in floats.
pub const MAX_EMBEDDING: usize = 2048;

/// Most layers a fusion file may bring.
pub const MAX_LAYERS: usize = 8;

/// Most attention heads a fusion file may bring.
pub const MAX_HEADS: usize = 16;

/// Most landmarks (agents) a layer may have.
pub const MAX_LANDMARKS: usize = 64;

/// Most neighbours (`k`) a row may have.
pub const MAX_TOP_K: usize = 128;

/// Widest feed-forward part a fusion file may bring, in floats.
pub const MAX_FEED_FORWARD: usize = 8192;

/// Largest frame side, in pixels. A larger one is refused before anything is allocated for it.
pub const MAX_FRAME_SIDE: u32 = 4096;

const _: () = assert!(NEIGHBORS >= 8 && NEIGHBORS <= 8192, "NFORMER_EDGE_NEIGHBORS: 8 to 8192");
const _: () = assert!(MAX_PEOPLE >= 1 && MAX_PEOPLE <= 256, "NFORMER_EDGE_MAX_PEOPLE: 1 to 256");
const _: () = assert!(
    MAX_IDENTITIES >= MAX_PEOPLE && MAX_IDENTITIES <= 65536,
    "NFORMER_EDGE_MAX_IDENTITIES: MAX_PEOPLE to 65536"
);

/// The decimal number in `text`, or `default` where the variable is not set.
const fn from_env(text: Option<&str>, default: usize) -> usize {
    let Some(text) = text else { return default };
    let digits = text.as_bytes();
    assert!(!digits.is_empty(), "a size in the environment is empty");
    let mut value = 0;
    let mut at = 0;
    while at < digits.len() {
        assert!(digits[at].is_ascii_digit(), "a size in the environment must be a decimal number");
        value = value * 10 + (digits[at] - b'0') as usize;
        at += 1;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::from_env;

    #[test]
    fn a_size_is_read_from_its_variable() {
        assert_eq!(from_env(Some("640"), 3), 640);
        assert_eq!(from_env(None, 3), 3);
    }

    #[test]
    #[should_panic(expected = "decimal number")]
    fn a_size_that_is_no_number_stops_the_build() {
        from_env(Some("6a"), 3);
    }
}
