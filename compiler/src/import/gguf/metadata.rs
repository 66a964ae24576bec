//! The keys of a GGUF file: found once, read from the map when asked for, refused when of another type.
//!
//! Strings and arrays stay in the file: a vocabulary of 262,144 tokens costs no allocation here.
use super::Gguf;
use super::cursor::Cursor;
use crate::ImportError;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;

/// Keys beyond this many are absurd: real files have under a hundred.
const KEYS_MAX: u64 = 1 << 16;
/// Arrays within arrays beyond this depth are absurd: no known key nests at all.
const DEPTH_MAX: u32 = 4;

/// How a value is stored; the discriminants are the format's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    String = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl Kind {
    fn from_id(id: u32) -> Option<Self> {
        use Kind::*;
        [U8, I8, U16, I16, U32, I32, F32, Bool, String, Array, U64, I64, F64].get(id as usize).copied()
    }

    /// Bytes of one value, for those of fixed size.
    fn size(self) -> Option<u64> {
        match self {
            Kind::U8 | Kind::I8 | Kind::Bool => Some(1),
            Kind::U16 | Kind::I16 => Some(2),
            Kind::U32 | Kind::I32 | Kind::F32 => Some(4),
            Kind::U64 | Kind::I64 | Kind::F64 => Some(8),
            Kind::String | Kind::Array => None,
        }
    }
}

/// One value, checked to lie inside the file.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Integer(i128),
    Float(f64),
    Bool(bool),
    String(Range<usize>),
    Array { kind: Kind, len: usize, body: Range<usize> },
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Integer(v) => write!(f, "the integer {v}"),
            Value::Float(v) => write!(f, "the float {v}"),
            Value::Bool(v) => write!(f, "the bool {v}"),
            Value::String(range) => write!(f, "a string of {} bytes", range.len()),
            Value::Array { kind, len, .. } => write!(f, "an array of {len} {kind:?}"),
        }
    }
}

/// Reads `count` keys.
pub(super) fn read(cursor: &mut Cursor<'_>, count: u64) -> Result<BTreeMap<String, Value>, ImportError> {
    let path = cursor.path();
    if count > KEYS_MAX {
        return Err(ImportError::TooMany { path: path.into(), what: "keys", found: count, limit: KEYS_MAX });
    }
    let mut values = BTreeMap::new();
    for i in 0..count {
        let key = cursor.string(&format!("the name of key {i}"))?;
        let what = format!("key `{}`", key.escape_debug());
        let id = cursor.u32(&what)?;
        let kind = Kind::from_id(id).ok_or_else(|| unknown_kind(path, key, id))?;
        let value = match (kind, kind.size()) {
            (Kind::Array, _) => array(cursor, key, &what, 1)?,
            (_, Some(size)) => scalar(kind, cursor.bytes(size, &what)?),
            (_, None) => Value::String(cursor.text(&what)?),
        };
        if values.insert(key.to_owned(), value).is_some() {
            return Err(ImportError::DuplicateKey { path: path.into(), key: key.into() });
        }
    }
    Ok(values)
}

/// Steps over an array; whoever asks for it later finds only elements that lie inside the file.
fn array(cursor: &mut Cursor<'_>, key: &str, what: &str, depth: u32) -> Result<Value, ImportError> {
    if depth > DEPTH_MAX {
        return Err(ImportError::Key {
            path: cursor.path().into(),
            key: key.into(),
            found: format!("an array nested more than {DEPTH_MAX} deep"),
            expected: "a flat array".into(),
        });
    }
    let id = cursor.u32(what)?;
    let kind = Kind::from_id(id).ok_or_else(|| unknown_kind(cursor.path(), key, id))?;
    let len = cursor.u64(what)?;
    let start = cursor.position();
    match kind.size() {
        // A product beyond u64 is beyond any file, and so is its saturated value.
        Some(size) => {
            cursor.take(len.saturating_mul(size), what)?;
        }
        None if kind == Kind::String => {
            for _ in 0..len {
                cursor.text(what)?;
            }
        }
        None => {
            for _ in 0..len {
                array(cursor, key, what, depth + 1)?;
            }
        }
    }
    // Every element took at least a byte, so the count fits.
    Ok(Value::Array { kind, len: len as usize, body: start..cursor.position() })
}

fn scalar(kind: Kind, bytes: &[u8]) -> Value {
    match kind {
        Kind::U8 => Value::Integer(bytes[0].into()),
        Kind::I8 => Value::Integer((bytes[0] as i8).into()),
        Kind::U16 => Value::Integer(u16::from_le_bytes(fixed(bytes)).into()),
        Kind::I16 => Value::Integer(i16::from_le_bytes(fixed(bytes)).into()),
        Kind::U32 => Value::Integer(u32::from_le_bytes(fixed(bytes)).into()),
        Kind::I32 => Value::Integer(i32::from_le_bytes(fixed(bytes)).into()),
        Kind::U64 => Value::Integer(u64::from_le_bytes(fixed(bytes)).into()),
        Kind::I64 => Value::Integer(i64::from_le_bytes(fixed(bytes)).into()),
        Kind::F32 => Value::Float(f32::from_le_bytes(fixed(bytes)).into()),
        Kind::F64 => Value::Float(f64::from_le_bytes(fixed(bytes))),
        Kind::Bool => Value::Bool(bytes[0] != 0),
        Kind::String | Kind::Array => unreachable!("strings and arrays have no fixed size"),
    }
}

fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    std::array::from_fn(|i| bytes[i])
}

fn unknown_kind(path: &Path, key: &str, id: u32) -> ImportError {
    ImportError::Key {
        path: path.into(),
        key: key.into(),
        found: format!("of type {id}"),
        expected: "a type from 0 to 12".into(),
    }
}

impl Gguf {
    /// Every key with its value in short, in the order of names.
    pub fn keys(&self) -> impl Iterator<Item = (&str, String)> {
        self.values.iter().map(|(key, value)| {
            let text = match value {
                Value::Integer(v) => v.to_string(),
                Value::Float(v) => v.to_string(),
                Value::Bool(v) => v.to_string(),
                Value::String(range) => String::from_utf8_lossy(&self.map[range.clone()]).into_owned(),
                Value::Array { .. } => value.to_string(),
            };
            (key.as_str(), text)
        })
    }

    pub fn string(&self, key: &str) -> Result<Option<&str>, ImportError> {
        self.typed(key, "a string", |value| match value {
            Value::String(range) => std::str::from_utf8(&self.map[range.clone()]).ok(),
            _ => None,
        })
    }

    pub fn u64(&self, key: &str) -> Result<Option<u64>, ImportError> {
        self.typed(key, "an unsigned integer", |value| match value {
            Value::Integer(v) => u64::try_from(*v).ok(),
            _ => None,
        })
    }

    pub fn u32(&self, key: &str) -> Result<Option<u32>, ImportError> {
        self.typed(key, "an unsigned integer of 32 bits", |value| match value {
            Value::Integer(v) => u32::try_from(*v).ok(),
            _ => None,
        })
    }

    pub fn f32(&self, key: &str) -> Result<Option<f32>, ImportError> {
        self.typed(key, "a finite float", |value| match value {
            Value::Float(v) => Some(*v as f32).filter(|v| v.is_finite()),
            _ => None,
        })
    }

    pub fn bool(&self, key: &str) -> Result<Option<bool>, ImportError> {
        self.typed(key, "a bool", |value| match value {
            Value::Bool(v) => Some(*v),
            _ => None,
        })
    }

    /// An array of strings, each as its bytes.
    pub fn strings(&self, key: &str) -> Result<Option<Strings<'_>>, ImportError> {
        self.typed(key, "an array of strings", |value| match value {
            Value::Array { kind: Kind::String, len, body } => {
                Some(Strings { bytes: &self.map[body.clone()], left: *len })
            }
            _ => None,
        })
    }

    /// An array of f32.
    pub fn floats(
        &self,
        key: &str,
    ) -> Result<Option<impl ExactSizeIterator<Item = f32> + use<'_>>, ImportError> {
        self.typed(key, "an array of f32", |value| match value {
            Value::Array { kind: Kind::F32, body, .. } => {
                Some(self.map[body.clone()].chunks_exact(4).map(|b| f32::from_le_bytes(fixed(b))))
            }
            _ => None,
        })
    }

    /// An array of integers of any width.
    pub fn integers(
        &self,
        key: &str,
    ) -> Result<Option<impl ExactSizeIterator<Item = i128> + use<'_>>, ImportError> {
        self.typed(key, "an array of integers", |value| match value {
            Value::Array { kind, body, .. } if !matches!(kind, Kind::F32 | Kind::F64) => {
                let (kind, size) = (*kind, kind.size()? as usize);
                Some(self.map[body.clone()].chunks_exact(size).map(move |b| match scalar(kind, b) {
                    Value::Integer(v) => v,
                    other => i128::from(matches!(other, Value::Bool(true))),
                }))
            }
            _ => None,
        })
    }

    /// What `key` holds, or the error that it is missing.
    pub fn required<T>(&self, key: &str, value: Option<T>) -> Result<T, ImportError> {
        value.ok_or_else(|| ImportError::MissingKey { path: self.path.clone(), key: key.into() })
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ImportError> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| ImportError::Key {
            path: self.path.clone(),
            key: key.into(),
            found: value.to_string(),
            expected: expected.into(),
        })
    }
}

/// The strings of an array, read from the map one after the other.
#[derive(Clone, Debug, Default)]
pub struct Strings<'a> {
    bytes: &'a [u8],
    left: usize,
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        // The bounds were checked when the array was stepped over; a file that changed since ends here.
        let (len, rest) = self.bytes.split_at_checked(8)?;
        let (string, rest) = rest.split_at_checked(u64::from_le_bytes(fixed(len)) as usize)?;
        self.bytes = rest;
        Some(string)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Strings<'_> {}
