//! GGUF, versions 2 and 3: a header of keys, a table of tensors, and their bytes, through a memory map.
//!
//! Nothing is believed before it is checked: opening succeeds only where every key and every tensor lies
//! inside the file, so that later reads cannot fail. What opening allocates is bounded by constants and
//! by the file's size, never by a number that the file states.
mod cursor;
mod metadata;
mod tensors;
#[cfg(test)]
pub(crate) mod writer;

pub use metadata::Strings;

use super::TensorInfo;
use crate::ImportError;
use cursor::Cursor;
use memmap2::Mmap;
use metadata::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

const MAGIC: [u8; 4] = *b"GGUF";
/// The key that says to which multiple of bytes tensors are aligned.
const ALIGNMENT_KEY: &str = "general.alignment";
const ALIGNMENT: u64 = 32;

/// An open GGUF file.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    map: Mmap,
    values: BTreeMap<String, Value>,
    tensors: BTreeMap<String, TensorInfo>,
}

impl Gguf {
    /// Maps the file at `path` and checks it.
    pub fn open(path: &Path) -> Result<Self, ImportError> {
        let io = |cause| ImportError::Io { path: path.into(), cause };
        let file = File::open(path).map_err(io)?;
        // SAFETY: model files are replaced by renaming, not written in place. If one is written in place
        // all the same, its bytes change under us: bounds were copied out or are checked again when
        // used, so that can only change what is computed.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        Self::from_map(path.into(), map)
    }

    /// Checks what is mapped already; `path` is for errors.
    pub fn from_map(path: PathBuf, map: Mmap) -> Result<Self, ImportError> {
        let mut cursor = Cursor::at(&path, &map, 0);
        let magic: [u8; 4] = cursor.array("the magic")?;
        if magic != MAGIC {
            return Err(ImportError::NotAModel {
                found: format!("a file that begins with \"{}\"", magic.escape_ascii()),
                path,
            });
        }
        let version = cursor.u32("the version")?;
        if (2..=3).contains(&version.swap_bytes()) {
            return Err(ImportError::BigEndian { path, version: version.swap_bytes() });
        }
        if !(2..=3).contains(&version) {
            return Err(ImportError::Version { path, found: version });
        }
        let tensor_count = cursor.u64("the number of tensors")?;
        let key_count = cursor.u64("the number of keys")?;
        let values = metadata::read(&mut cursor, key_count)?;
        let table = cursor.position();
        let mut gguf = Self { path, map, values, tensors: BTreeMap::new() };
        let alignment = gguf.u64(ALIGNMENT_KEY)?.unwrap_or(ALIGNMENT);
        let mut cursor = Cursor::at(&gguf.path, &gguf.map, table);
        gguf.tensors = tensors::read(&mut cursor, tensor_count, alignment)?;
        Ok(gguf)
    }

    /// Every tensor by name.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// The whole file.
    pub(crate) fn map(&self) -> &Mmap {
        &self.map
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::writer::{Writer, open};
    use super::*;
    use ir::DType;

    fn small() -> Writer {
        Writer::default()
            .string("general.architecture", "llama")
            .f32("half", 0.5)
            .strings("words", &["a", "", "bc"])
            .i32s("numbers", &[-1, 2])
            .f32_tensor("t", &[3, 2])
            .f32_tensor("u", &[1])
    }

    fn error(bytes: &[u8]) -> ImportError {
        open(bytes).expect_err("the file is ill-formed")
    }

    #[test]
    fn keys_and_tensors_are_found() {
        let gguf = small().open().unwrap();
        assert_eq!(gguf.string("general.architecture").unwrap(), Some("llama"));
        assert_eq!(gguf.f32("half").unwrap(), Some(0.5));
        let words: Vec<&[u8]> = gguf.strings("words").unwrap().unwrap().collect();
        assert_eq!(words, [&b"a"[..], b"", b"bc"]);
        assert!(gguf.integers("numbers").unwrap().unwrap().eq([-1, 2]));
        assert_eq!(gguf.u32("nothing").unwrap(), None);
        let tensor = &gguf.tensors()["t"];
        assert_eq!((tensor.dtype, &tensor.shape[..], tensor.byte_len()), (DType::F32, &[2, 3][..], 24));
        assert_eq!(gguf.tensors()["u"].byte_len(), 4);
        assert_eq!(gguf.tensors()["u"].offset() % 32, 0);
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let whole = small().bytes();
        // The last tensor takes 4 of the 32 bytes that the writer gives it.
        for len in 0..whole.len() - 28 {
            let error = error(&whole[..len]).to_string();
            assert!(error.contains("test.gguf"), "{len}: {error}");
        }
        open(&whole[..whole.len() - 28]).unwrap();
    }

    #[test]
    fn any_byte_may_be_wrong() {
        let whole = small().bytes();
        for at in 0..whole.len() {
            for value in [0, 1, 7, 9, 0x7f, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                if let Ok(gguf) = open(&bytes) {
                    gguf.keys().for_each(drop);
                    let _ = gguf.strings("words").map(|words| words.map(Iterator::count));
                }
            }
        }
    }

    #[test]
    fn what_is_no_gguf_is_named() {
        let is = |found: ImportError, expected: &str| {
            let found = found.to_string();
            assert!(found.contains(expected), "{found}\nlacks {expected}");
        };
        is(error(b"GGML\x03\0\0\0"), "begins with \"GGML\"");
        is(error(b"GGUF\x01\0\0\0"), "version 1, expected 2 or 3");
        is(error(b"GGUF\0\0\0\x03"), "big-endian GGUF version 3, expected a little-endian file");
        let counts = |tensors: u64, keys: u64| {
            let mut bytes = small().bytes();
            bytes[8..16].copy_from_slice(&tensors.to_le_bytes());
            bytes[16..24].copy_from_slice(&keys.to_le_bytes());
            bytes
        };
        is(error(&counts(1 << 60, 4)), "found 1152921504606846976 tensors, expected at most 65536");
        is(error(&counts(2, u64::MAX)), "keys, expected at most 65536");
    }

    #[test]
    fn absurd_values_are_refused() {
        let is = |writer: Writer, expected: &str| {
            let found = error(&writer.bytes()).to_string();
            assert!(found.contains(expected), "{found}\nlacks {expected}");
        };
        let huge = (1u64 << 60).to_le_bytes();
        let array = |kind: u32, len: [u8; 8]| [&kind.to_le_bytes()[..], &len].concat();
        is(small().raw("k", 99, &[]), "key `k` is of type 99, expected a type from 0 to 12");
        is(small().raw("k", 8, &huge), "inside key `k`: 1152921504606846976 bytes wanted");
        is(small().raw("k", 9, &array(10, huge)), "inside key `k`");
        is(small().raw("k", 9, &array(8, huge)), "inside key `k`");
        is(small().raw("k", 9, &array(7, [0xff; 8])), "inside key `k`");
        is(small().raw("k", 9, &array(77, huge)), "of type 77");
        let nested = array(9, 1u64.to_le_bytes()).repeat(1000);
        is(small().raw("k", 9, &nested), "nested more than 4 deep");
        is(small().u32("half", 1), "key `half` stands twice");
        is(small().u32("general.alignment", 0), "`general.alignment` is 0, expected a power of two");
        is(small().u32("general.alignment", 24), "`general.alignment` is 24");
        is(small().string("general.alignment", "32"), "a string of 2 bytes, expected an unsigned integer");
    }

    #[test]
    fn absurd_tensors_are_refused() {
        let is = |name: &str, shape: &[u64], dtype: u32, offset: u64, expected: &str| {
            let found = error(&small().tensor(name, shape, dtype, offset).bytes()).to_string();
            assert!(found.contains(expected), "{found}\nlacks {expected}");
        };
        is("x", &[8, 4], 0, 0, "tensor `x` has shape [4, 8] in f32 at offset 0, expected an end within");
        is("x", &[1], 0, 64, "at offset 64, expected an end within the 64 bytes");
        is("x", &[1], 0, u64::MAX - 31, "at offset 18446744073709551584");
        is("x", &[1 << 60, 1 << 60], 0, 0, "shape [1152921504606846976, 1152921504606846976]");
        is("x", &[1 << 62], 0, 0, "shape [4611686018427387904]");
        is("x", &[0], 0, 0, "expected axes that are not empty");
        is("x", &[], 0, 0, "0 axes, expected 1 to 4");
        is("x", &[1; 5], 0, 0, "5 axes");
        is(
            "x",
            &[33],
            8,
            0,
            "shape [33] in q8_0, expected axes that are not empty, the last in whole blocks of 32",
        );
        is("x", &[1], 99, 0, "format 99, expected one of f32, f16");
        is("x", &[256], 16, 0, "format iq2_xxs, expected one of f32, f16");
        is("x", &[1], 0, 4, "offset 4, expected a multiple of 32");
        is("t", &[1], 0, 0, "tensor `t` stands twice");
    }

    #[test]
    fn a_key_of_another_type_is_refused_when_asked_for() {
        let gguf = small().open().unwrap();
        let is = |found: ImportError, expected: &str| assert_eq!(found.to_string(), expected);
        is(
            gguf.u32("half").unwrap_err(),
            "test.gguf: key `half` is the float 0.5, expected an unsigned integer of 32 bits",
        );
        is(
            gguf.string("words").unwrap_err(),
            "test.gguf: key `words` is an array of 3 String, expected a string",
        );
        is(
            gguf.strings("numbers").map(drop).unwrap_err(),
            "test.gguf: key `numbers` is an array of 2 I32, expected an array of strings",
        );
        is(gguf.required("more", None::<u32>).unwrap_err(), "test.gguf: key `more` is missing");
    }
}
