//! A state as bytes, version 2. All numbers little endian.
//!
//! | bytes | header |
//! |---|---|
//! | 8 | `nfestate` |
//! | 2, 2 | version; flags: bit 0 sealed |
//! | 8 | sequence number of the save |
//! | 4 | first identity number that was certainly never given |
//! | 4 | length of the body |
//! | 32 | fingerprint of the models |
//! | 24, 16 | nonce and tag, zero in a plain state |
//! | 4 | CRC-32 of the header so far |
//! | 32 | SHA-256 of the header so far and the body |
//!
//! The body: width D, the clocks, the next numbers; rows (owner or 0, track, time, age, length of the sum,
//! embeddings, `[D]` floats); identities (number, last seen, weight, `[2 D]` floats); one bit for each pair of identities
//! that was seen together. A sealed body is of the same length. The header is never sealed: numbers go on where the key is lost.
//!
//! The checksums find accidents. Against intent there is the seal, and whatever is read is checked as if by an enemy.

use std::fmt;
use std::time::Duration;

use crc::{CRC_32_ISO_HDLC, Crc};
use sha2::{Digest, Sha256};

use super::Clocks;
use super::contents::{Contents, Head, Met, Row};
use super::seal::{self, Key, NONCE, TAG};
use crate::backbone::Embedding;
use crate::gallery::{APPEARANCE, IdentityId, SavedIdentity};
use crate::neighbors::{MAX_LENGTH, SavedRow, Tag};
use crate::size::MAX_EMBEDDING;
use crate::tracks::TrackId;

/// The version written.
pub const VERSION: u16 = 2;

/// Bytes before the body.
pub const HEADER: usize = 136;

const MAGIC: [u8; 8] = *b"nfestate";
const SEALED: u16 = 1;

/// What the tag of a sealed body covers of the header.
const AUTHENTICATED: usize = 84;
const CRC_AT: usize = 100;
const SHA_AT: usize = 104;

/// Bytes of a body without rows and identities, of a row and of an identity without their floats.
const BODY: usize = 4 + 8 + 16 + 8 + 8 + 4 + 4 + 4 + 4;
const ROW: usize = 4 + 4 + 8 + 8 + 4 + 4;
const IDENTITY: usize = 4 + 8 + 4;

/// A clock that is not known.
const UNKNOWN: u64 = u64::MAX;

static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// Which models a state was made with: embeddings of others mean nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Of models with these digests, in this order.
    pub fn of<'a>(digests: impl IntoIterator<Item = &'a str>) -> Self {
        let hash = digests.into_iter().fold(Sha256::new(), |hash, digest| hash.chain_update(digest).chain_update("\n"));
        Self(hash.finalize().into())
    }
}

/// What made a state: only that can use it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maker {
    /// The models.
    pub fingerprint: Fingerprint,
    /// Floats of an embedding.
    pub width: usize,
}

/// What stands before the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether the body is encrypted.
    pub sealed: bool,
    /// Counts the saves of a folder.
    pub sequence: u64,
    /// Identity numbers from here on were certainly never given.
    pub reserved: IdentityId,
    /// The models.
    pub fingerprint: Fingerprint,
}

/// Why a state cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not of this program.
    Foreign,
    /// Of another version of the format.
    Version(u16),
    /// Shorter or longer than it says.
    Length,
    /// The checksum is wrong.
    Damaged,
    /// Made with other models.
    OtherModels,
    /// Encrypted, and there is no key.
    NoKey,
    /// Encrypted with another key.
    OtherKey,
    /// Whole, but what it says makes no sense.
    Senseless(&'static str),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("it is not a state of this program"),
            Self::Version(found) => write!(f, "it has version {found} of the format, this program reads {VERSION}"),
            Self::Length => f.write_str("it is not as long as it says"),
            Self::Damaged => f.write_str("its checksum is wrong"),
            Self::OtherModels => f.write_str("it was made with another backbone or other fusion weights"),
            Self::NoKey => f.write_str("it is encrypted and state.key_file is not set"),
            Self::OtherKey => f.write_str("it is encrypted with another key"),
            Self::Senseless(what) => write!(f, "its {what} make no sense"),
        }
    }
}

/// Most bytes of a state with so many rows of `width` floats, and identities.
pub const fn max_bytes(rows: usize, identities: usize, width: usize) -> usize {
    let floats = width * size_of::<f32>();
    HEADER + BODY + rows * (ROW + floats) + identities * (IDENTITY + APPEARANCE * floats) + Met::bytes(identities)
}

/// Starts a state in `buffer`: what was there goes, and there is room for the header.
pub fn draft(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.resize(HEADER, 0);
}

/// Writes the body behind the header. `met` says which two of the identities were seen together.
pub fn encode<'a>(
    buffer: &mut Vec<u8>,
    head: &Head,
    rows: impl Iterator<Item = Row<&'a [f32]>>,
    identities: impl Iterator<Item = SavedIdentity<&'a [f32]>>,
    met: impl Fn(usize, usize) -> bool,
) {
    put(buffer, &(head.width as u32).to_le_bytes());
    put(buffer, &nanos(head.clock).to_le_bytes());
    put(buffer, &head.clocks.boot.unwrap_or_default());
    for clock in [head.clocks.uptime_ms, head.clocks.wall_ms] {
        put(buffer, &clock.unwrap_or(UNKNOWN).to_le_bytes());
    }
    put(buffer, &head.next_identity.0.to_le_bytes());
    put(buffer, &head.next_track.0.to_le_bytes());
    counted(buffer, rows, |buffer, Row { owner, row }| {
        put(buffer, &owner.map_or(0, |id| id.0).to_le_bytes());
        put(buffer, &row.tag.track.0.to_le_bytes());
        put(buffer, &nanos(row.tag.time).to_le_bytes());
        put(buffer, &row.age.to_le_bytes());
        put(buffer, &row.length.to_le_bytes());
        put(buffer, &row.embeddings.to_le_bytes());
        floats(buffer, row.embedding);
    });
    let identities = counted(buffer, identities, |buffer, identity| {
        put(buffer, &identity.id.0.to_le_bytes());
        put(buffer, &nanos(identity.last_seen).to_le_bytes());
        put(buffer, &identity.retired_weight.to_le_bytes());
        floats(buffer, identity.retired);
    });
    let bits = buffer.len();
    buffer.resize(bits + Met::bytes(identities), 0);
    let pairs = (0..identities).flat_map(|high| (0..high).map(move |low| (low, high)));
    for (at, (low, high)) in pairs.enumerate() {
        buffer[bits + at / 8] |= u8::from(met(low, high)) << (at % 8);
    }
}

/// Seals the body if there is a key, and writes the header before it: the state is ready for the disk.
///
/// # Errors
/// [`std::io::Error`] if there are no random numbers to seal with.
pub fn finish(buffer: &mut [u8], header: &Header, key: Option<&Key>) -> std::io::Result<()> {
    let (head, body) = buffer.split_at_mut(HEADER);
    head.fill(0);
    head[..8].copy_from_slice(&MAGIC);
    head[8..10].copy_from_slice(&VERSION.to_le_bytes());
    head[10..12].copy_from_slice(&if key.is_some() { SEALED } else { 0 }.to_le_bytes());
    head[12..20].copy_from_slice(&header.sequence.to_le_bytes());
    head[20..24].copy_from_slice(&header.reserved.0.to_le_bytes());
    head[24..28].copy_from_slice(&(body.len() as u32).to_le_bytes());
    head[28..60].copy_from_slice(&header.fingerprint.0);
    if let Some(key) = key {
        let nonce = seal::nonce()?;
        head[60..AUTHENTICATED].copy_from_slice(&nonce);
        let tag = key.seal(&nonce, &head[..AUTHENTICATED], body)?;
        head[AUTHENTICATED..CRC_AT].copy_from_slice(&tag);
    }
    let crc = CRC.checksum(&head[..CRC_AT]);
    head[CRC_AT..SHA_AT].copy_from_slice(&crc.to_le_bytes());
    let sha = Sha256::new().chain_update(&head[..SHA_AT]).chain_update(body).finalize();
    head[SHA_AT..].copy_from_slice(&sha);
    Ok(())
}

/// The header alone, which may be whole where the rest is not. Older versions have the same one: numbers go on over an update.
///
/// # Errors
/// The [`Refusal`].
pub fn header(bytes: &[u8]) -> Result<Header, Refusal> {
    if !bytes.starts_with(&MAGIC) {
        return Err(Refusal::Foreign);
    }
    let mut fields = Reader(bytes.get(8..HEADER).ok_or(Refusal::Length)?);
    let (version, flags) = (fields.u16()?, fields.u16()?);
    if CRC.checksum(&bytes[..CRC_AT]).to_le_bytes() != bytes[CRC_AT..SHA_AT] {
        return Err(Refusal::Damaged);
    }
    if !(1..=VERSION).contains(&version) {
        return Err(Refusal::Version(version));
    }
    let (sequence, reserved) = (fields.u64()?, IdentityId(fields.u32()?));
    fields.u32()?;
    // Far more than there ever will be; beyond the end no number is left to give.
    if sequence > u64::MAX / 2 || reserved.0 > u32::MAX / 2 {
        return Err(Refusal::Senseless("numbers"));
    }
    Ok(Header { sealed: flags & SEALED != 0, sequence, reserved, fingerprint: Fingerprint(fields.array()?) })
}

/// Reads a whole state. A sealed body is decrypted in place. With a `maker`, only a state made by that will do.
///
/// # Errors
/// The [`Refusal`].
pub fn open(bytes: &mut [u8], key: Option<&Key>, maker: Option<&Maker>) -> Result<(Header, Contents), Refusal> {
    let header = header(bytes)?;
    let (head, body) = bytes.split_at_mut(HEADER);
    let version = Reader(&head[8..]).u16()?;
    if version != VERSION {
        return Err(Refusal::Version(version));
    }
    if u32::from_le_bytes(Reader(&head[24..28]).array()?) as usize != body.len() {
        return Err(Refusal::Length);
    }
    let sha = Sha256::new().chain_update(&head[..SHA_AT]).chain_update(&*body).finalize();
    if sha[..] != head[SHA_AT..] {
        return Err(Refusal::Damaged);
    }
    if maker.is_some_and(|maker| maker.fingerprint != header.fingerprint) {
        return Err(Refusal::OtherModels);
    }
    if header.sealed {
        let key = key.ok_or(Refusal::NoKey)?;
        let (nonce, tag) = (Reader(&head[60..]).array()?, Reader(&head[AUTHENTICATED..]).array()?);
        let (nonce, tag): ([u8; NONCE], [u8; TAG]) = (nonce, tag);
        if !key.unseal(&nonce, &tag, &head[..AUTHENTICATED], body) {
            return Err(Refusal::OtherKey);
        }
    }
    let contents = decode(body)?;
    if contents.head.next_identity > header.reserved {
        return Err(Refusal::Senseless("numbers"));
    }
    if maker.is_some_and(|maker| maker.width != contents.head.width) {
        return Err(Refusal::OtherModels);
    }
    Ok((header, contents))
}

fn decode(body: &[u8]) -> Result<Contents, Refusal> {
    let mut body = Reader(body);
    let width = body.u32()? as usize;
    if !(1..=MAX_EMBEDDING).contains(&width) {
        return Err(Refusal::Senseless("sizes"));
    }
    let clock = Duration::from_nanos(body.u64()?);
    let boot = Some(body.array()?).filter(|boot| *boot != [0; 16]);
    let mut known = || body.u64().map(|value| Some(value).filter(|value| *value != UNKNOWN));
    let clocks = Clocks { boot, uptime_ms: known()?, wall_ms: known()? };
    let head = Head { width, clock, clocks, next_identity: IdentityId(body.u32()?), next_track: TrackId(body.u32()?) };
    let rows: Vec<_> = (0..body.count(ROW + 4 * width)?).map(|_| row(&mut body, &head)).collect::<Result<_, _>>()?;
    let identities = (0..body.count(IDENTITY + 4 * APPEARANCE * width)?).map(|_| identity(&mut body, &head));
    let identities: Vec<_> = identities.collect::<Result<_, _>>()?;
    if !all_differ(rows.iter().map(|row| row.row.age)) {
        return Err(Refusal::Senseless("rows"));
    }
    if !all_differ(identities.iter().map(|identity| identity.id.0.into())) {
        return Err(Refusal::Senseless("identities"));
    }
    let met = Met::from_bytes(body.take(Met::bytes(identities.len()))?);
    if !body.0.is_empty() {
        return Err(Refusal::Senseless("sizes"));
    }
    Ok(Contents { head, rows, identities, met })
}

fn row(body: &mut Reader<'_>, head: &Head) -> Result<Row<Vec<f32>>, Refusal> {
    let owner = Some(IdentityId(body.u32()?)).filter(|id| id.0 != 0);
    let tag = Tag { track: TrackId(body.u32()?), time: Duration::from_nanos(body.u64()?) };
    let (age, length, embeddings) = (body.u64()?, f32::from_le_bytes(body.array()?), body.u32()?);
    let embedding = body.floats(head.width)?;
    let mean = length > 0.0 && length <= MAX_LENGTH && embeddings > 0;
    let fits = owner.is_none_or(|id| id < head.next_identity) && tag.track < head.next_track && tag.time <= head.clock;
    if !fits || !mean || age == u64::MAX || Embedding::kept(&embedding).is_err() {
        return Err(Refusal::Senseless("rows"));
    }
    Ok(Row { owner, row: SavedRow { tag, age, length, embeddings, embedding } })
}

fn identity(body: &mut Reader<'_>, head: &Head) -> Result<SavedIdentity<Vec<f32>>, Refusal> {
    let (id, last_seen) = (IdentityId(body.u32()?), Duration::from_nanos(body.u64()?));
    let (retired_weight, retired) = (f32::from_le_bytes(body.array()?), body.floats(APPEARANCE * head.width)?);
    let fits = id.0 != 0 && id < head.next_identity && last_seen <= head.clock;
    // A mean of vectors of length 1 is no longer than that; a hair for rounding.
    let usable = (0.0..=SavedIdentity::MAX_WEIGHT).contains(&retired_weight)
        && retired.iter().all(|value| (-1.001..=1.001).contains(value));
    if !fits || !usable {
        return Err(Refusal::Senseless("identities"));
    }
    Ok(SavedIdentity { id, last_seen, retired_weight, retired })
}

fn all_differ(values: impl Iterator<Item = u64>) -> bool {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values.windows(2).all(|pair| pair[0] != pair[1])
}

fn put(buffer: &mut Vec<u8>, bytes: &[u8]) {
    buffer.extend_from_slice(bytes);
}

fn floats(buffer: &mut Vec<u8>, values: &[f32]) {
    let start = buffer.len();
    buffer.resize(start + size_of_val(values), 0);
    for (bytes, value) in buffer[start..].chunks_exact_mut(4).zip(values) {
        bytes.copy_from_slice(&value.to_le_bytes());
    }
}

/// Writes how many items there are, and each of them.
fn counted<T>(buffer: &mut Vec<u8>, items: impl Iterator<Item = T>, mut write: impl FnMut(&mut Vec<u8>, T)) -> usize {
    let place = buffer.len();
    put(buffer, &[0; 4]);
    let mut count = 0_usize;
    for item in items {
        write(buffer, item);
        count += 1;
    }
    buffer[place..place + 4].copy_from_slice(&(count as u32).to_le_bytes());
    count
}

/// A time that no board lives to see (584 years) is the last one.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Bytes not read yet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Refusal> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Refusal::Senseless("sizes"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Refusal::Senseless("sizes"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u16(&mut self) -> Result<u16, Refusal> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Refusal> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Refusal> {
        self.array().map(u64::from_le_bytes)
    }

    /// How many items of `bytes` each follow; they are there.
    fn count(&mut self, bytes: usize) -> Result<usize, Refusal> {
        let count = self.u32()? as usize;
        if count > self.0.len() / bytes { Err(Refusal::Senseless("sizes")) } else { Ok(count) }
    }

    fn floats(&mut self, count: usize) -> Result<Vec<f32>, Refusal> {
        let (values, _) = self.take(count * size_of::<f32>())?.as_chunks();
        Ok(values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }
}

#[cfg(test)]
pub(super) mod tests;
