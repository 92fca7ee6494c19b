//! Encryption at rest: XChaCha20-Poly1305 with a random nonce each time.
//!
//! The cipher needs no special instructions, so it is as fast on a board without them. Its nonces of 192 bits may be
//! drawn at random for ever.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};

use crate::error::{Error, Result};

pub(super) const NONCE: usize = 24;
pub(super) const TAG: usize = 16;

/// Bytes of a key.
const KEY: usize = 32;

/// The key of a state. It is overwritten in memory when it is dropped, and never shown.
#[derive(Clone)]
pub struct Key(XChaCha20Poly1305);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// Reads a key file: 32 bytes, or 64 hexadecimal digits and perhaps a line feed.
    ///
    /// # Errors
    /// [`Error::StateKey`] if it cannot be read, can be read by everybody, or is no key.
    pub fn read(path: &Path) -> Result<Self> {
        let failed = |reason: String| Error::StateKey { path: path.into(), reason };
        let unreadable = |error: io::Error| failed(error.to_string());
        let file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.permissions().mode();
        if mode & 0o007 != 0 {
            return Err(failed(format!("everybody may use it (mode {:o}); run `chmod 600` on it", mode & 0o777)));
        }
        let mut bytes = Vec::with_capacity(KEY * 2 + 2);
        // Whatever is longer is no key; a device that never ends is not read to its end.
        file.take(KEY as u64 * 2 + 2).read_to_end(&mut bytes).map_err(unreadable)?;
        let key = parse(&bytes).ok_or_else(|| {
            failed("expected 32 bytes or 64 hexadecimal digits; make one with `head -c 32 /dev/urandom`".into())
        })?;
        if key.iter().all(|byte| *byte == key[0]) {
            return Err(failed("all bytes are the same; make one with `head -c 32 /dev/urandom`".into()));
        }
        Ok(Self::from_bytes(key))
    }

    /// A key of these bytes.
    pub fn from_bytes(bytes: [u8; KEY]) -> Self {
        Self(XChaCha20Poly1305::new(&bytes.into()))
    }

    /// Encrypts `body` in place under a fresh nonce; `known` is authenticated with it.
    pub(super) fn seal(&self, nonce: &[u8; NONCE], known: &[u8], body: &mut [u8]) -> io::Result<[u8; TAG]> {
        let tag = self.0.encrypt_in_place_detached(XNonce::from_slice(nonce), known, body);
        tag.map(Into::into).map_err(|_| io::Error::other("the state is too large to encrypt"))
    }

    /// Decrypts `body` in place; false, and nothing changed, if it was not sealed with this key.
    pub(super) fn unseal(&self, nonce: &[u8; NONCE], tag: &[u8; TAG], known: &[u8], body: &mut [u8]) -> bool {
        let (nonce, tag) = (XNonce::from_slice(nonce), Tag::from_slice(tag));
        self.0.decrypt_in_place_detached(nonce, known, body, tag).is_ok()
    }
}

/// A nonce that was never used before.
pub(super) fn nonce() -> io::Result<[u8; NONCE]> {
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce).map_err(|error| io::Error::other(format!("no random numbers: {error}")))?;
    Ok(nonce)
}

fn parse(bytes: &[u8]) -> Option<[u8; KEY]> {
    if let Ok(key) = bytes.try_into() {
        return Some(key);
    }
    let digits = bytes.trim_ascii_end();
    if digits.len() != 2 * KEY {
        return None;
    }
    let mut key = [0; KEY];
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |c: u8| char::from(c).to_digit(16);
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn key_file(bytes: &[u8], mode: u32) -> Result<Key> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Key::read(&path)
    }

    fn bytes() -> [u8; KEY] {
        std::array::from_fn(|at| at as u8 + 1)
    }

    fn hex() -> String {
        bytes().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    }

    #[test]
    fn both_forms_are_the_same_key() {
        let nonce = [7; NONCE];
        let mut sealed = Vec::new();
        for form in [bytes().to_vec(), hex().into_bytes(), format!("{}\n", hex().to_uppercase()).into_bytes()] {
            let mut body = *b"twelve bytes";
            let tag = key_file(&form, 0o600).unwrap().seal(&nonce, b"head", &mut body).unwrap();
            sealed.push((body, tag));
        }
        assert_eq!(sealed[0], sealed[1]);
        assert_eq!(sealed[0], sealed[2]);
        assert_ne!(&sealed[0].0, b"twelve bytes");
    }

    #[test]
    fn a_file_that_is_no_key_or_open_to_everybody_is_refused() {
        let refused = |bytes: &[u8], mode| key_file(bytes, mode).unwrap_err().to_string();
        for wrong in [&b""[..], b"short", &[9; 33], &hex().as_bytes()[..63], "zz".repeat(32).as_bytes(), &[3; 10_000]] {
            assert!(refused(wrong, 0o600).contains("64 hexadecimal digits"));
        }
        assert!(refused(&bytes(), 0o644).contains("chmod 600"));
        assert!(refused(&[0; 32], 0o600).contains("the same"));
        assert!(key_file(&bytes(), 0o640).is_ok(), "a group for the service is usual");
        assert!(matches!(Key::read(Path::new("/nowhere/key")), Err(Error::StateKey { .. })));
        assert!(Key::read(Path::new("/dev/zero")).is_err(), "endless");
    }

    /// The vector of draft-irtf-cfrg-xchacha-03, appendix A.3.1.
    #[test]
    fn it_is_the_published_cipher() {
        let key = Key::from_bytes(std::array::from_fn(|at| 0x80 + at as u8));
        let nonce: [u8; NONCE] = std::array::from_fn(|at| 0x40 + at as u8);
        let known = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
        let plain = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
                      sunscreen would be it.";
        let mut body = *plain;
        let tag = key.seal(&nonce, &known, &mut body).unwrap();
        assert_eq!(body[..8], [0xbd, 0x6d, 0x17, 0x9d, 0x3e, 0x83, 0xd4, 0x3b]);
        let expected = [0xc0, 0x87, 0x59, 0x24, 0xc1, 0xc7, 0x98, 0x79, 0x47, 0xde, 0xaf, 0xd8, 0x78, 0x0a, 0xcf, 0x49];
        assert_eq!(tag, expected);
        assert!(key.unseal(&nonce, &tag, &known, &mut body));
        assert_eq!(&body, plain);
        assert!(!key.unseal(&nonce, &tag, b"other", &mut body));
    }

    #[test]
    fn nonces_differ_and_a_key_is_not_shown() {
        assert_ne!(nonce().unwrap(), nonce().unwrap());
        assert_eq!(format!("{:?}", Key::from_bytes(bytes())), "Key(..)");
    }
}
