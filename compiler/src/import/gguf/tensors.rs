//! The table of tensors: each checked to be of a known format and to lie inside the file.
use super::cursor::Cursor;
use crate::ImportError;
use crate::import::{Span, TensorInfo};
use ir::DType;
use ir::quant::Format;
use std::collections::BTreeMap;
use std::path::Path;

/// More tensors than this are absurd: the largest published models have some thousands.
const TENSORS_MAX: u64 = 1 << 16;
/// The format's own limit.
const AXES_MAX: u32 = 4;
/// Alignments beyond this are absurd: files have 32, seldom 64.
const ALIGNMENT_MAX: u64 = 1 << 16;

/// Element types by the format's numbers, and what those that we cannot read are called.
const DTYPES: &[(u32, &str, Option<DType>)] = &[
    (0, "f32", Some(DType::F32)),
    (1, "f16", Some(DType::F16)),
    (2, "q4_0", Some(DType::Quant(Format::Q4_0))),
    (3, "q4_1", Some(DType::Quant(Format::Q4_1))),
    (6, "q5_0", Some(DType::Quant(Format::Q5_0))),
    (7, "q5_1", Some(DType::Quant(Format::Q5_1))),
    (8, "q8_0", Some(DType::Quant(Format::Q8_0))),
    (9, "q8_1", None),
    (10, "q2_k", Some(DType::Quant(Format::Q2K))),
    (11, "q3_k", Some(DType::Quant(Format::Q3K))),
    (12, "q4_k", Some(DType::Quant(Format::Q4K))),
    (13, "q5_k", Some(DType::Quant(Format::Q5K))),
    (14, "q6_k", Some(DType::Quant(Format::Q6K))),
    (15, "q8_k", None),
    (16, "iq2_xxs", None),
    (17, "iq2_xs", None),
    (18, "iq3_xxs", None),
    (19, "iq1_s", None),
    (20, "iq4_nl", Some(DType::Quant(Format::Iq4Nl))),
    (21, "iq3_s", None),
    (22, "iq2_s", None),
    (23, "iq4_xs", None),
    (24, "i8", Some(DType::I8)),
    (25, "i16", None),
    (26, "i32", Some(DType::I32)),
    (27, "i64", Some(DType::I64)),
    (28, "f64", None),
    (29, "iq1_m", None),
    (30, "bf16", Some(DType::BF16)),
    (34, "tq1_0", None),
    (35, "tq2_0", None),
    (39, "mxfp4", None),
];

/// Reads `count` rows; the tensors' bytes begin at the next multiple of `alignment`.
pub(super) fn read(
    cursor: &mut Cursor<'_>,
    count: u64,
    alignment: u64,
) -> Result<BTreeMap<String, TensorInfo>, ImportError> {
    let (path, file_bytes) = (cursor.path(), cursor.len());
    if count > TENSORS_MAX {
        let (path, limit) = (path.into(), TENSORS_MAX);
        return Err(ImportError::TooMany { path, what: "tensors", found: count, limit });
    }
    if !alignment.is_power_of_two() || alignment > ALIGNMENT_MAX {
        return Err(ImportError::Key {
            path: path.into(),
            key: super::ALIGNMENT_KEY.into(),
            found: format!("{alignment}"),
            expected: format!("a power of two up to {ALIGNMENT_MAX}"),
        });
    }
    let mut rows = Vec::new();
    for i in 0..count {
        let name = cursor.string(&format!("the name of tensor {i}"))?;
        rows.push((name, Row::read(cursor, name)?));
    }
    let data = (cursor.position() as u64).next_multiple_of(alignment);
    let mut tensors = BTreeMap::new();
    for (name, row) in rows {
        let info = row.check(path, name, alignment, data, file_bytes)?;
        if tensors.insert(name.to_owned(), info).is_some() {
            return Err(ImportError::DuplicateTensor { path: path.into(), tensor: name.into() });
        }
    }
    Ok(tensors)
}

/// A row as it stands in the table.
struct Row {
    /// Outermost axis first; the file has the innermost first.
    shape: Vec<u64>,
    dtype: u32,
    offset: u64,
}

impl Row {
    fn read(cursor: &mut Cursor<'_>, name: &str) -> Result<Self, ImportError> {
        let what = format!("the row of tensor `{}`", name.escape_debug());
        let axes = cursor.u32(&what)?;
        if axes == 0 || axes > AXES_MAX {
            return Err(refuse(cursor.path(), name, format!("{axes} axes"), format!("1 to {AXES_MAX}")));
        }
        let mut shape = (0..axes).map(|_| cursor.u64(&what)).collect::<Result<Vec<_>, _>>()?;
        shape.reverse();
        Ok(Self { shape, dtype: cursor.u32(&what)?, offset: cursor.u64(&what)? })
    }

    fn check(
        self,
        path: &Path,
        name: &str,
        alignment: u64,
        data: u64,
        file_bytes: u64,
    ) -> Result<TensorInfo, ImportError> {
        let dtype = match DTYPES.iter().find(|(id, ..)| *id == self.dtype) {
            Some((.., Some(dtype))) => *dtype,
            found => {
                let format =
                    found.map_or(format!("format {}", self.dtype), |(_, name, _)| format!("format {name}"));
                return Err(refuse(path, name, format, format!("one of {}", readable())));
            }
        };
        let row = self.shape.last().copied().unwrap_or(0);
        if self.shape.contains(&0) || !row.is_multiple_of(dtype.block_len()) {
            let expected =
                format!("axes that are not empty, the last in whole blocks of {}", dtype.block_len());
            return Err(refuse(path, name, format!("shape {:?} in {dtype}", self.shape), expected));
        }
        if !self.offset.is_multiple_of(alignment) {
            let expected = format!("a multiple of {alignment}");
            return Err(refuse(path, name, format!("offset {}", self.offset), expected));
        }
        let elements = self.shape.iter().try_fold(1u64, |product, dim| product.checked_mul(*dim));
        let bytes = elements.and_then(|elements| dtype.bytes(elements));
        let start = data.checked_add(self.offset);
        let end = start.zip(bytes).and_then(|(start, bytes)| start.checked_add(bytes));
        match (start, end) {
            (Some(start), Some(end)) if end <= file_bytes => Ok(TensorInfo {
                dtype,
                shape: self.shape,
                // Both lie inside a file that is mapped, so they fit.
                spans: vec![Span { file: 0, range: start as usize..end as usize }],
            }),
            _ => {
                let found = format!("shape {:?} in {dtype} at offset {}", self.shape, self.offset);
                let room = file_bytes.saturating_sub(data);
                Err(refuse(path, name, found, format!("an end within the {room} bytes of the file's data")))
            }
        }
    }
}

fn readable() -> String {
    let names: Vec<_> =
        DTYPES.iter().filter(|(.., dtype)| dtype.is_some()).map(|(_, name, _)| *name).collect();
    names.join(", ")
}

fn refuse(path: &Path, tensor: &str, found: String, expected: String) -> ImportError {
    ImportError::Tensor { path: path.into(), tensor: tensor.into(), found, expected }
}
