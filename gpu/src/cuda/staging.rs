//! Copies between the host and the device through pinned memory, so that the device makes them by itself, in the order
//! of its stream.
use super::context::{Context, Event, Memory, Pinned, fault};
use cudarc::driver::result;
use runtime::DeviceError;
use std::sync::Arc;

/// Bytes of a segment, and how many there are: while one is filled, the others are copied.
const SEGMENT_BYTES: usize = 4 << 20;
const SEGMENTS: usize = 4;
/// Bytes that are read at once.
const READ_BYTES: usize = 1 << 20;
/// Memory of the host that it takes in all.
pub(crate) const PINNED_BYTES: u64 = (SEGMENTS * SEGMENT_BYTES + READ_BYTES) as u64;
/// Pieces begin at multiples of so many bytes.
const ALIGNMENT: usize = 64;

/// What is on its way to the device, in segments that are filled one after the other and used again once an event says
/// that all of their pieces are there; and what comes from it.
pub(super) struct Staging {
    context: Arc<Context>,
    up: Pinned,
    events: Vec<Event>,
    segment: usize,
    filled: usize,
    down: Pinned,
}

impl Staging {
    pub(super) fn new(context: &Arc<Context>) -> Result<Staging, DeviceError> {
        Ok(Staging {
            context: context.clone(),
            up: Pinned::new(context, SEGMENTS * SEGMENT_BYTES)?,
            events: (0..SEGMENTS).map(|_| Event::new(context)).collect::<Result<_, _>>()?,
            segment: 0,
            filled: 0,
            down: Pinned::new(context, READ_BYTES)?,
        })
    }

    /// Copies bytes behind everything asked before; they are free again when this returns.
    pub(super) fn write(&mut self, to: &Memory, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        let mut at = to.part(offset, bytes.len() as u64)?;
        self.context.bind()?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let start = match self.room() {
                0 => self.next()?,
                _ => self.segment * SEGMENT_BYTES + self.filled,
            };
            let (piece, behind) = rest.split_at(rest.len().min(self.room()));
            let staged = &mut self.up.bytes()[start..][..piece.len()];
            staged.copy_from_slice(piece);
            // SAFETY: the range is the memory's, and its segment is not filled anew before the copy is made.
            unsafe { result::memcpy_htod_async(at, staged, self.context.stream) }
                .map_err(|error| fault("copying to the device", error))?;
            self.filled = (self.filled + piece.len()).next_multiple_of(ALIGNMENT);
            at += piece.len() as u64;
            rest = behind;
        }
        Ok(())
    }

    /// Bytes that the segment still takes.
    fn room(&self) -> usize {
        SEGMENT_BYTES - self.filled
    }

    /// Takes the next segment, once what was in it is there; where it begins.
    fn next(&mut self) -> Result<usize, DeviceError> {
        self.events[self.segment].record()?;
        self.segment = (self.segment + 1) % SEGMENTS;
        self.events[self.segment].wait()?;
        self.filled = 0;
        Ok(self.segment * SEGMENT_BYTES)
    }

    /// Copies bytes to the host once everything asked before is done.
    pub(super) fn read(&mut self, from: &Memory, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        let mut at = from.part(offset, into.len() as u64)?;
        self.context.bind()?;
        for piece in into.chunks_mut(READ_BYTES) {
            let staged = &mut self.down.bytes()[..piece.len()];
            // SAFETY: the range is the memory's, and nobody looks at what is staged before the copy is made.
            unsafe { result::memcpy_dtoh_async(staged, at, self.context.stream) }
                .map_err(|error| fault("copying from the device", error))?;
            self.context.wait()?;
            piece.copy_from_slice(&self.down.bytes()[..piece.len()]);
            at += piece.len() as u64;
        }
        Ok(())
    }
}
