//! Reads a mapped file front to back; every read is checked against the file's end.
use crate::ImportError;
use std::ops::Range;
use std::path::Path;

pub(super) struct Cursor<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor at an offset that lies inside the file.
    pub(super) fn at(path: &'a Path, bytes: &'a [u8], offset: usize) -> Self {
        Self { path, bytes, at: offset }
    }

    /// The file, for errors.
    pub(super) fn path(&self) -> &'a Path {
        self.path
    }

    /// Bytes in the whole file.
    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The next `len` bytes; `what` they belong to is for the error.
    pub(super) fn take(&mut self, len: u64, what: &str) -> Result<Range<usize>, ImportError> {
        let end = usize::try_from(len).ok().and_then(|len| self.at.checked_add(len));
        match end {
            Some(end) if end <= self.bytes.len() => {
                let range = self.at..end;
                self.at = end;
                Ok(range)
            }
            _ => Err(ImportError::Truncated {
                path: self.path.into(),
                what: what.into(),
                needed: len,
                offset: self.at as u64,
                size: self.bytes.len() as u64,
            }),
        }
    }

    /// The next `len` bytes themselves.
    pub(super) fn bytes(&mut self, len: u64, what: &str) -> Result<&'a [u8], ImportError> {
        Ok(&self.bytes[self.take(len, what)?])
    }

    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], ImportError> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.bytes(N as u64, what)?);
        Ok(bytes)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, ImportError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, ImportError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A length and as many bytes.
    pub(super) fn text(&mut self, what: &str) -> Result<Range<usize>, ImportError> {
        let len = self.u64(what)?;
        self.take(len, what)
    }

    /// A length and as many bytes, which are UTF-8.
    pub(super) fn string(&mut self, what: &str) -> Result<&'a str, ImportError> {
        let range = self.text(what)?;
        std::str::from_utf8(&self.bytes[range])
            .map_err(|_| ImportError::NotUtf8 { path: self.path.into(), what: what.into() })
    }
}
