//! One value on the stack of a pickle, and how it is packed for the memo. Holds no text.

/// A pickled value. Texts and dicts are kept beside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Int(i64),
    Text {
        start: u64,
        len: u32,
    },
    Dict(u32),
    Tuple,
    Class,
    Object,
    /// A number or bool that Chroma has no use for there.
    Other,
}

/// Bytes of a packed value: what it is, and its numbers.
pub(super) const PACKED: usize = 13;

impl Value {
    /// An integer of any length, little-endian in two's complement; beyond 8 bytes it is no number that Chroma writes.
    pub(super) fn long(bytes: &[u8]) -> Self {
        let mut long = [if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 }; 8];
        match long.get_mut(..bytes.len()) {
            Some(low) => low.copy_from_slice(bytes),
            None => return Self::Other,
        }
        Self::Int(i64::from_le_bytes(long))
    }

    pub(super) fn pack(self) -> [u8; PACKED] {
        let (kind, long, short) = match self {
            Self::None => (1, 0, 0),
            Self::Int(n) => (2, n.cast_unsigned(), 0),
            Self::Text { start, len } => (3, start, len),
            Self::Dict(n) => (4, 0, n),
            Self::Tuple => (5, 0, 0),
            Self::Class => (6, 0, 0),
            Self::Object => (7, 0, 0),
            Self::Other => (8, 0, 0),
        };
        let mut packed = [kind; PACKED];
        packed[1..9].copy_from_slice(&long.to_le_bytes());
        packed[9..].copy_from_slice(&short.to_le_bytes());
        packed
    }

    pub(super) fn unpack([kind, numbers @ ..]: [u8; PACKED]) -> Option<Self> {
        let (long, short) = numbers.split_first_chunk()?;
        let (long, short) = (u64::from_le_bytes(*long), u32::from_le_bytes(short.try_into().ok()?));
        match kind {
            1 => Some(Self::None),
            2 => Some(Self::Int(long.cast_signed())),
            3 => Some(Self::Text { start: long, len: short }),
            4 => Some(Self::Dict(short)),
            5 => Some(Self::Tuple),
            6 => Some(Self::Class),
            7 => Some(Self::Object),
            8 => Some(Self::Other),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back_and_a_place_never_set_is_nothing() {
        let text = Value::Text { start: u64::MAX - 1, len: u32::MAX };
        for value in
            [Value::None, Value::Int(-5), text, Value::Dict(7), Value::Tuple, Value::Class, Value::Object, Value::Other]
        {
            assert_eq!(Value::unpack(value.pack()), Some(value));
        }
        assert_eq!(Value::unpack([0; PACKED]), None);
    }
}
