//! A walk over the members of a JSON object, and the writing of some.
//!
//! What nests in a member stays text: a payload takes no more memory than it came in, however many
//! values are in it, and comes out as it went in.

use std::fmt;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Digits, sign and quotes of a number that may be 64 bits long.
const LONGEST_NUMBER: usize = 24;

/// Shows each member of `object` to `see`: its name, and its value as text.
pub(super) fn each_member(object: &[u8], see: impl FnMut(&str, &str)) -> serde_json::Result<()> {
    let mut reader = serde_json::Deserializer::from_slice(object);
    reader.deserialize_map(Each(see))?;
    reader.end()
}

/// Shows each item of a list to `see`, as text.
pub(super) fn each_item(list: &str, mut see: impl FnMut(&str)) -> serde_json::Result<()> {
    serde_json::Deserializer::from_str(list).deserialize_seq(Each(|_: &str, item: &str| see(item)))
}

struct Each<F>(F);

impl<'de, F: FnMut(&str, &str)> Visitor<'de> for Each<F> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("an object or a list")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            (self.0)(&name, value.get());
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(item) = list.next_element::<&RawValue>()? {
            (self.0)("", item.get());
        }
        Ok(())
    }
}

/// Returns `object` with the members `ours` first, and then its own but for those that `drop` names.
pub(super) fn rewritten(
    object: &[u8],
    ours: &[(&str, String)],
    drop: &[&str],
) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(object.len() + 64);
    let mut put = |name: &str, value: &str| {
        out.push(if out.is_empty() { b'{' } else { b',' });
        let name = serde_json::to_string(name).unwrap_or_default();
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        out.extend_from_slice(value.as_bytes());
    };
    ours.iter().for_each(|(name, value)| put(name, value));
    each_member(object, |name, value| {
        if !drop.contains(&name) {
            put(name, value);
        }
    })?;
    if out.is_empty() {
        out.push(b'{');
    }
    out.push(b'}');
    Ok(out)
}

/// The number that a member's text stands for: the JSON mapping writes those of 64 bits as
/// strings, and readers take both; `null` is 0.
pub(super) fn number(value: &str) -> Option<u64> {
    if value.len() > LONGEST_NUMBER {
        return None;
    }
    match value {
        "null" => Some(0),
        _ => {
            value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value).parse().ok()
        }
    }
}

/// Returns whether a member of that name is there and is not `null`, which stands for its absence.
pub(super) fn has(object: &[u8], wanted: &str) -> serde_json::Result<bool> {
    let mut found = false;
    each_member(object, |name, value| found |= name == wanted && value != "null")?;
    Ok(found)
}
