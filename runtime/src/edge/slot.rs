//! The memory of one message.
use crate::memory::Span;

/// The bytes of one message. Written when made, so that their memory is resident before the first message.
pub(super) struct Slot {
    lines: Box<[Line]>,
    room: usize,
    /// Bytes of the message, at most `room`.
    pub(super) len: usize,
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "read through a cast")] [u8; 64]);

impl Slot {
    pub(super) fn new(room: usize) -> Self {
        Slot { lines: vec![Line([0; 64]); room.div_ceil(64)].into(), room, len: 0 }
    }

    /// Where it lies.
    pub(super) fn span(&self) -> Span {
        Span::at(self.lines.as_ptr().cast(), size_of_val(&*self.lines))
    }

    /// All its bytes.
    pub(super) fn room(&mut self) -> &mut [u8] {
        // SAFETY: the lines are at least `room` initialised bytes, borrowed mutably through `self`.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.room) }
    }

    pub(super) fn message(&self) -> &[u8] {
        // SAFETY: the lines are at least `room` initialised bytes, and `len` is at most `room`.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}
