//! A tensor on the host: constants, and the values of the reference interpreter.
use crate::expr::Value;
use crate::{DType, TensorType};
use half::{bf16, f16};
use std::sync::Arc;

/// Elements of one dtype in row-major order, as bytes in little-endian order.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<u64>,
    bytes: Arc<[u8]>,
}

impl Tensor {
    /// A tensor over bytes; `None` if they are not as many as dtype and shape say.
    pub fn from_bytes(dtype: DType, shape: &[u64], bytes: impl Into<Arc<[u8]>>) -> Option<Tensor> {
        let bytes = bytes.into();
        let tensor = Tensor { dtype, shape: shape.to_vec(), bytes };
        let dims: Vec<i64> = shape.iter().map(|&d| i64::try_from(d).ok()).collect::<Option<_>>()?;
        let expected = TensorType::known(dtype, &dims).bytes(|_| None)?;
        (expected == tensor.bytes.len() as u64).then_some(tensor)
    }

    /// Rounds or quantises `values` to a real dtype. Rows must be whole blocks.
    pub fn from_f32(dtype: DType, shape: &[u64], values: &[f32]) -> Tensor {
        assert_eq!(shape.iter().product::<u64>(), values.len() as u64, "a value for every element");
        let bytes: Vec<u8> = match dtype {
            DType::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            DType::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
            DType::BF16 => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
            DType::Quant(format) => {
                let mut bytes = vec![0; values.len() / format.block_len() * format.block_bytes()];
                format.quantise(values, &mut bytes);
                bytes
            }
            other => panic!("{other} is not a real dtype"),
        };
        Tensor { dtype, shape: shape.to_vec(), bytes: bytes.into() }
    }

    /// `f32` values.
    pub fn f32(shape: &[u64], values: &[f32]) -> Tensor {
        Tensor::from_f32(DType::F32, shape, values)
    }

    /// `i32` values.
    pub fn i32(shape: &[u64], values: &[i32]) -> Tensor {
        Tensor::from_ints(DType::I32, shape, values.iter().map(|&v| i64::from(v)))
    }

    /// Values of an integer or bool dtype, truncated to its width.
    pub fn from_ints(dtype: DType, shape: &[u64], values: impl Iterator<Item = i64>) -> Tensor {
        let width = dtype.block_bytes() as usize;
        assert!(!dtype.is_real(), "{dtype} is not an integer dtype");
        let bytes: Vec<u8> = values.flat_map(|v| v.to_le_bytes()[..width].to_vec()).collect();
        Tensor::from_bytes(dtype, shape, bytes).expect("a value for every element")
    }

    /// An `f32` tensor from a function of the index.
    pub fn build(shape: &[u64], mut at: impl FnMut(&[u64]) -> f32) -> Tensor {
        let mut values = vec![];
        for_each_index(shape, |index| values.push(at(index)));
        Tensor::f32(shape, &values)
    }

    /// What one element is.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extents, outermost first.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// The type, with constant dimensions.
    pub fn ty(&self) -> TensorType {
        TensorType::known(self.dtype, &self.shape.iter().map(|&d| d as i64).collect::<Vec<_>>())
    }

    /// How many elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product::<u64>() as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements' bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Every element as f32, dequantised where quantised.
    pub fn to_f32(&self) -> Vec<f32> {
        match self.dtype {
            DType::F32 => self.bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            DType::F16 => {
                self.bytes.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect()
            }
            DType::BF16 => {
                self.bytes.as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect()
            }
            DType::Quant(format) => {
                let mut values = vec![0.0; self.len()];
                format.dequantise(&self.bytes, &mut values);
                values
            }
            _ => self.to_ints().into_iter().map(|v| v as f32).collect(),
        }
    }

    /// The elements at one index of the first axis, as `to_f32` gives them. Rows must be whole blocks.
    ///
    /// # Panics
    /// If there is no such index.
    pub fn row(&self, at: usize) -> Vec<f32> {
        let bytes = self.bytes.len() / self.shape[0] as usize;
        let part = Arc::from(&self.bytes[at * bytes..(at + 1) * bytes]);
        Tensor { dtype: self.dtype, shape: self.shape[1..].to_vec(), bytes: part }.to_f32()
    }

    /// Every element of an integer or bool dtype.
    pub fn to_ints(&self) -> Vec<i64> {
        let width = self.dtype.block_bytes() as usize;
        assert!(!self.dtype.is_real(), "{} is not an integer dtype", self.dtype);
        let signed = self.dtype.is_integer() && self.dtype != DType::U8;
        let one = |b: &[u8]| {
            let fill = if signed && b[width - 1] & 0x80 != 0 { 0xff } else { 0 };
            let mut wide = [fill; 8];
            wide[..width].copy_from_slice(b);
            i64::from_le_bytes(wide)
        };
        self.bytes.chunks_exact(width).map(one).collect()
    }

    /// The same elements in another shape of as many.
    pub fn reshaped(&self, shape: &[u64]) -> Tensor {
        assert_eq!(shape.iter().product::<u64>() as usize, self.len(), "a reshape keeps the elements");
        Tensor { dtype: self.dtype, shape: shape.to_vec(), bytes: self.bytes.clone() }
    }

    /// The position of an index in row-major order, if it lies inside.
    pub fn position(&self, index: &[i64]) -> Option<usize> {
        let inside = index.len() == self.shape.len();
        let step = |at: usize, (i, d): (&i64, &u64)| {
            (0..*d as i64).contains(i).then(|| at * *d as usize + *i as usize)
        };
        inside.then(|| index.iter().zip(&self.shape).try_fold(0, step)).flatten()
    }

    /// Elements ready for the body language: f32, int or bool by dtype.
    pub fn values(&self) -> Vec<Value> {
        match self.dtype {
            DType::Bool => self.to_ints().into_iter().map(|v| Value::Bool(v != 0)).collect(),
            d if d.is_real() => self.to_f32().into_iter().map(Value::F32).collect(),
            _ => self.to_ints().into_iter().map(Value::Int).collect(),
        }
    }

    /// A tensor of `dtype` from values of the body language.
    pub fn from_values(dtype: DType, shape: &[u64], values: &[Value]) -> Result<Tensor, String> {
        if dtype.is_real() {
            let real = |v: &Value| match v {
                Value::F32(v) => Ok(*v),
                other => Err(format!("{dtype} holds f32, got {other:?}")),
            };
            return Ok(Tensor::from_f32(
                dtype,
                shape,
                &values.iter().map(real).collect::<Result<Vec<_>, _>>()?,
            ));
        }
        let whole = |v: &Value| match v {
            Value::Int(v) => Ok(*v),
            Value::Bool(v) => Ok(i64::from(*v)),
            other => Err(format!("{dtype} holds ints, got {other:?}")),
        };
        let ints = values.iter().map(whole).collect::<Result<Vec<_>, _>>()?;
        Ok(Tensor::from_ints(dtype, shape, ints.into_iter()))
    }
}

/// Calls `visit` with every index of a shape, the last axis fastest.
pub fn for_each_index(shape: &[u64], mut visit: impl FnMut(&[u64])) {
    if shape.contains(&0) {
        return;
    }
    let mut index = vec![0; shape.len()];
    loop {
        visit(&index);
        // As a person counts: an axis that is through begins again, and the one before it goes on.
        let mut axis = shape.len();
        loop {
            let Some(before) = axis.checked_sub(1) else { return };
            axis = before;
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
}
