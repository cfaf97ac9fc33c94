//! Attributes of nf_tables' messages, by their numbers (include/uapi/linux/netfilter/nf_tables.h). Numbers come most significant
//! byte first.

use crate::kernel::netlink::attributes;

/// More than any message's.
const MOST: usize = 20;

/// The attributes of a message, or of one nested in it.
#[derive(Clone, Copy)]
pub(super) struct Attrs<'a>([Option<&'a [u8]>; MOST]);

impl<'a> Attrs<'a> {
    /// Takes bytes apart; of an attribute that comes twice the last one counts.
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        let mut found = [None; MOST];
        for (kind, value) in attributes(bytes) {
            if let Some(slot) = found.get_mut(usize::from(kind)) {
                *slot = Some(value);
            }
        }
        Self(found)
    }

    pub(super) fn get(&self, kind: usize) -> Option<&'a [u8]> {
        self.0.get(kind).copied().flatten()
    }

    pub(super) fn has(&self, kind: usize) -> bool {
        self.get(kind).is_some()
    }

    pub(super) fn nest(&self, kind: usize) -> Option<Attrs<'a>> {
        self.get(kind).map(Attrs::of)
    }

    /// The attributes of a list, each of which has the same number.
    pub(super) fn list(&self, kind: usize) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let list = self.get(kind).unwrap_or_default();
        attributes(list).map(|(_, value)| value)
    }

    pub(super) fn u8(&self, kind: usize) -> Option<u8> {
        self.get(kind)?.first().copied()
    }

    pub(super) fn be16(&self, kind: usize) -> Option<u16> {
        Some(u16::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }

    pub(super) fn be32(&self, kind: usize) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }

    pub(super) fn be64(&self, kind: usize) -> Option<u64> {
        Some(u64::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }

    /// A string without the zero that ends it; `None` if it is not UTF-8.
    pub(super) fn text(&self, kind: usize) -> Option<String> {
        text(self.get(kind)?)
    }

    /// `NFTA_DATA_VALUE` of a nested `nft_data`.
    pub(super) fn data(&self, kind: usize) -> Option<&'a [u8]> {
        const VALUE: usize = 1;
        self.nest(kind)?.get(VALUE)
    }
}

/// Up to the first zero.
pub(super) fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8(bytes.get(..end)?.to_vec()).ok()
}

/// What nft keeps for itself beside rules, sets and elements: type, length and value, each of one byte but the last.
pub(super) fn user_data(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let [kind, len, rest @ ..] = bytes else {
            return None;
        };
        let value = rest.get(..usize::from(*len))?;
        bytes = rest.get(usize::from(*len)..).unwrap_or_default();
        Some((*kind, value))
    })
}

/// The text of user data with this number: a comment, which may be in any encoding.
pub(super) fn user_text(bytes: Option<&[u8]>, wanted: u8) -> Option<String> {
    let mut found = user_data(bytes?).filter(|(kind, _)| *kind == wanted);
    let text = found.next()?.1;
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    Some(String::from_utf8_lossy(text.get(..end)?).into_owned())
}
