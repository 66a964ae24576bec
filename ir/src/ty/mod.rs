//! Types: what a value's elements are, and how many along each axis.
mod dim;
mod symbols;

pub use dim::Dim;
pub use symbols::Symbols;

use crate::quant::Format;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;

/// What one element is. Block-quantised formats are element types of their own: their blocks lie
/// along the last axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    BF16,
    /// 64-bit two's complement.
    I64,
    /// 32-bit two's complement.
    I32,
    /// 8-bit unsigned.
    U8,
    /// 8-bit two's complement.
    I8,
    /// A byte that is 0 or 1.
    Bool,
    /// Blocks of a quantised format.
    Quant(Format),
}

const PLAIN: [(DType, &str, u64); 8] = [
    (DType::F32, "f32", 4),
    (DType::F16, "f16", 2),
    (DType::BF16, "bf16", 2),
    (DType::I64, "i64", 8),
    (DType::I32, "i32", 4),
    (DType::U8, "u8", 1),
    (DType::I8, "i8", 1),
    (DType::Bool, "bool", 1),
];

impl DType {
    /// The name in text form.
    pub fn name(self) -> &'static str {
        match self {
            DType::Quant(format) => format.name(),
            plain => PLAIN.iter().find(|p| p.0 == plain).expect("every plain dtype is in the table").1,
        }
    }

    /// The dtype of that name.
    pub fn parse(name: &str) -> Option<DType> {
        let plain = PLAIN.iter().find(|p| p.1 == name).map(|p| p.0);
        plain.or_else(|| Format::parse(name).map(DType::Quant))
    }

    /// How many elements one block holds: 1 unless quantised.
    pub fn block_len(self) -> u64 {
        match self {
            DType::Quant(format) => format.block_len() as u64,
            _ => 1,
        }
    }

    /// Bytes of one block.
    pub fn block_bytes(self) -> u64 {
        match self {
            DType::Quant(format) => format.block_bytes() as u64,
            plain => PLAIN.iter().find(|p| p.0 == plain).expect("every plain dtype is in the table").2,
        }
    }

    /// Bytes of `elements` elements; `None` on overflow or where blocks do not divide them.
    pub fn bytes(self, elements: u64) -> Option<u64> {
        let whole = elements.is_multiple_of(self.block_len());
        whole.then(|| (elements / self.block_len()).checked_mul(self.block_bytes())).flatten()
    }

    /// Whether elements are real numbers: f32, f16, bf16 or quantised.
    pub fn is_real(self) -> bool {
        matches!(self, DType::F32 | DType::F16 | DType::BF16 | DType::Quant(_))
    }

    /// Whether elements are integers.
    pub fn is_integer(self) -> bool {
        matches!(self, DType::I64 | DType::I32 | DType::U8 | DType::I8)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A dtype and a shape, outermost axis first: `f32[n, 576]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorType {
    /// What one element is.
    pub dtype: DType,
    /// How many along each axis, row-major.
    pub shape: Vec<Dim>,
}

impl TensorType {
    /// A type of any dimensions.
    pub fn new(dtype: DType, shape: impl IntoIterator<Item = Dim>) -> TensorType {
        TensorType { dtype, shape: shape.into_iter().collect() }
    }

    /// A type of constant dimensions.
    pub fn known(dtype: DType, shape: &[i64]) -> TensorType {
        TensorType { dtype, shape: shape.iter().map(|&d| Dim::from(d)).collect() }
    }

    /// `f32` of constant dimensions.
    pub fn f32(shape: &[i64]) -> TensorType {
        TensorType::known(DType::F32, shape)
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The same shape with another dtype.
    pub fn with_dtype(&self, dtype: DType) -> TensorType {
        TensorType { dtype, shape: self.shape.clone() }
    }

    /// Extents under the symbols' values; `None` if one is unknown, negative or overflows.
    pub fn extents(&self, symbol: impl Fn(&str) -> Option<i64>) -> Option<Vec<u64>> {
        self.shape.iter().map(|d| d.eval(&symbol).and_then(|v| u64::try_from(v).ok())).collect()
    }

    /// Bytes under the symbols' values; `None` on overflow, or where blocks do not divide the last axis.
    pub fn bytes(&self, symbol: impl Fn(&str) -> Option<i64>) -> Option<u64> {
        let extents = self.extents(symbol)?;
        let last = extents.last().copied().unwrap_or(1);
        let rows = extents.iter().rev().skip(1).try_fold(1u64, |n, d| n.checked_mul(*d))?;
        self.dtype.bytes(last)?.checked_mul(rows)
    }

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Result<TensorType, String> {
        let bad = || format!("not a type: {text:?}");
        let (dtype, dims) = text.trim().strip_suffix(']').and_then(|t| t.split_once('[')).ok_or_else(bad)?;
        let dtype = DType::parse(dtype.trim()).ok_or_else(|| format!("unknown dtype {:?}", dtype.trim()))?;
        if dims.trim().is_empty() {
            return Ok(TensorType { dtype, shape: vec![] });
        }
        Ok(TensorType { dtype, shape: dims.split(',').map(Dim::parse).collect::<Result<_, _>>()? })
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims: Vec<String> = self.shape.iter().map(Dim::to_string).collect();
        write!(f, "{}[{}]", self.dtype, dims.join(", "))
    }
}

/// Serialises a type through its text form.
macro_rules! serde_as_text {
    ($Type:ty, $parse:expr) => {
        impl Serialize for $Type {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $Type {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<$Type, D::Error> {
                let text = String::deserialize(d)?;
                let read: Result<$Type, String> = $parse(&text);
                read.map_err(D::Error::custom)
            }
        }
    };
}
serde_as_text!(DType, |t: &str| DType::parse(t).ok_or_else(|| format!("unknown dtype {t:?}")));
serde_as_text!(TensorType, TensorType::parse);
