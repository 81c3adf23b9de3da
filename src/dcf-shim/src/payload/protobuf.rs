//! A walk over the fields of a Protocol Buffers message, and the writing of some.
//!
//! The format is that of protobuf.dev's "Encoding"; groups, which proto3 lacks, are not read.

pub(super) enum Found<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// One field of a message; `raw` is all of it, with its tag.
pub(super) struct Field<'a> {
    pub(super) number: u64,
    pub(super) value: Found<'a>,
    pub(super) raw: &'a [u8],
}

/// Iterates over a message's fields; yields `None` and ends where the bytes are no message.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<Field<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = next_field(self.0);
        self.0 = field.as_ref().map_or(&[], |field| &self.0[field.raw.len()..]);
        Some(field)
    }
}

pub(super) fn next_field(bytes: &[u8]) -> Option<Field<'_>> {
    let mut rest = bytes;
    let tag = take_varint(&mut rest)?;
    let value = match tag & 7 {
        0 => Found::Varint(take_varint(&mut rest)?),
        1 => take(&mut rest, 8).map(|_| Found::Fixed)?,
        2 => {
            let length = usize::try_from(take_varint(&mut rest)?).ok()?;
            Found::Bytes(take(&mut rest, length)?)
        }
        5 => take(&mut rest, 4).map(|_| Found::Fixed)?,
        _ => return None,
    };
    let number = tag >> 3;
    let raw = &bytes[..bytes.len() - rest.len()];
    (number > 0).then_some(Field { number, value, raw })
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let taken = bytes.get(..count)?;
    *bytes = &bytes[count..];
    Some(taken)
}

pub(super) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            *bytes = &bytes[index + 1..];
            return Some(value);
        }
    }
    None
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn put_varint_field(out: &mut Vec<u8>, number: u64, value: u64) {
    put_varint(out, number << 3);
    put_varint(out, value);
}

pub(super) fn put_bytes_field(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    put_varint(out, number << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(super) fn put_all_but(out: &mut Vec<u8>, message: &[u8], numbers: &[u64]) {
    for field in Fields(message).flatten() {
        if !numbers.contains(&field.number) {
            out.extend_from_slice(field.raw);
        }
    }
}
