//! Writes small GGUF files for tests, the ill-formed included.
use super::Gguf;
use crate::ImportError;
use memmap2::MmapMut;

/// A file in the making: keys and tensors as they are added, then the bytes of tensors.
#[derive(Clone, Default)]
pub(crate) struct Writer {
    keys: Vec<u8>,
    key_count: u64,
    tensors: Vec<u8>,
    tensor_count: u64,
    data: Vec<u8>,
}

const ALIGNMENT: usize = 32;

impl Writer {
    /// A key with a value as it stands in the file.
    pub(crate) fn raw(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        self.keys.extend(text(key.as_bytes()));
        self.keys.extend(kind.to_le_bytes());
        self.keys.extend(value);
        self.key_count += 1;
        self
    }

    pub(crate) fn u32(self, key: &str, value: u32) -> Self {
        self.raw(key, 4, &value.to_le_bytes())
    }

    pub(crate) fn f32(self, key: &str, value: f32) -> Self {
        self.raw(key, 6, &value.to_le_bytes())
    }

    pub(crate) fn bool(self, key: &str, value: bool) -> Self {
        self.raw(key, 7, &[value.into()])
    }

    pub(crate) fn string(self, key: &str, value: &str) -> Self {
        self.raw(key, 8, &text(value.as_bytes()))
    }

    pub(crate) fn strings(self, key: &str, values: &[&str]) -> Self {
        let body = values.iter().flat_map(|value| text(value.as_bytes())).collect();
        self.array(key, 8, values.len(), body)
    }

    pub(crate) fn i32s(self, key: &str, values: &[i32]) -> Self {
        self.array(key, 5, values.len(), values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    pub(crate) fn f32s(self, key: &str, values: &[f32]) -> Self {
        self.array(key, 6, values.len(), values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    fn array(self, key: &str, kind: u32, len: usize, body: Vec<u8>) -> Self {
        let mut value = kind.to_le_bytes().to_vec();
        value.extend((len as u64).to_le_bytes());
        value.extend(body);
        self.raw(key, 9, &value)
    }

    /// A tensor of f32, its shape with the innermost axis first, as the format has it.
    pub(crate) fn f32_tensor(self, name: &str, shape: &[u64]) -> Self {
        let bytes = vec![0; shape.iter().product::<u64>() as usize * 4];
        let offset = self.data.len() as u64;
        let mut writer = self.tensor(name, shape, 0, offset);
        writer.data.extend(bytes);
        writer.data.resize(writer.data.len().next_multiple_of(ALIGNMENT), 0);
        writer
    }

    /// A row of the tensor table, whatever it says.
    pub(crate) fn tensor(mut self, name: &str, shape: &[u64], dtype: u32, offset: u64) -> Self {
        self.tensors.extend(text(name.as_bytes()));
        self.tensors.extend((shape.len() as u32).to_le_bytes());
        self.tensors.extend(shape.iter().flat_map(|dim| dim.to_le_bytes()));
        self.tensors.extend(dtype.to_le_bytes());
        self.tensors.extend(offset.to_le_bytes());
        self.tensor_count += 1;
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(self.tensor_count.to_le_bytes());
        bytes.extend(self.key_count.to_le_bytes());
        bytes.extend(&self.keys);
        bytes.extend(&self.tensors);
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        bytes.extend(&self.data);
        bytes
    }

    pub(crate) fn open(&self) -> Result<Gguf, ImportError> {
        open(&self.bytes())
    }
}

/// Opens `bytes` as if they were a file named `test.gguf`.
pub(crate) fn open(bytes: &[u8]) -> Result<Gguf, ImportError> {
    let mut map = MmapMut::map_anon(bytes.len().max(1)).unwrap();
    map[..bytes.len()].copy_from_slice(bytes);
    Gguf::from_map("test.gguf".into(), map.make_read_only().unwrap())
}

fn text(bytes: &[u8]) -> Vec<u8> {
    let mut text = (bytes.len() as u64).to_le_bytes().to_vec();
    text.extend(bytes);
    text
}
