//! What the files of the journal begin with: whose format it is, and that it is sound.
//!
//! ```text
//!   0       8     12        16
//!   | magic | crc | version | fields ...
//! ```
//!
//! Numbers are little-endian, the CRC-32C covers what is behind it.

use super::fields::Fields;
use super::frame;

/// Length of what stands before the bytes that the checksum covers.
pub(super) const COVERED_AT: usize = 12;

/// Why bytes are no such beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoHeader {
    /// Too short, not ours, or damaged.
    Damaged,
    /// Sound, of a format this program does not know.
    Newer {
        /// Its version.
        version: u32,
    },
}

/// The bytes of these fields, one behind the other.
pub(super) fn seal(magic: [u8; 8], version: u32, fields: &[&[u8]]) -> Vec<u8> {
    let covered = [&version.to_le_bytes()[..], &fields.concat()].concat();
    let crc = frame::crc32c(&covered).to_le_bytes();
    [&magic[..], &crc, &covered].concat()
}

/// The version and the fields of all these bytes, if they are of `magic` and no newer than `known`.
pub(super) fn open(
    bytes: &[u8],
    magic: [u8; 8],
    known: u32,
) -> Result<(u32, Fields<'_>), NoHeader> {
    let (version, fields) = sound(bytes, magic).ok_or(NoHeader::Damaged)?;
    if version > known {
        return Err(NoHeader::Newer { version });
    }
    Ok((version, fields))
}

fn sound(bytes: &[u8], magic: [u8; 8]) -> Option<(u32, Fields<'_>)> {
    let mut fields = Fields::of(bytes);
    let (found, crc) = (fields.bytes()?, fields.u32()?);
    if found != magic || !frame::is_sound(crc, fields.rest()) {
        return None;
    }
    Some((fields.u32()?, fields))
}
