//! One allocation per device, in which the plan places buffers by offset.
//!
//! The system's pages are mapped directly: zeroed, aligned to 64 bytes, and where the arena is large enough to
//! 2 MiB with huge pages asked for, which is worth a third of the speed of reading it.
use std::ptr::NonNull;

/// Bytes of a huge page, and the alignment of arenas at least as large.
pub const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Why an arena could not be made or a buffer lies outside it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ArenaError {
    /// The system gave no memory.
    #[error("cannot allocate an arena of {bytes} bytes: {cause}")]
    Refused {
        /// Bytes asked for.
        bytes: usize,
        /// What the system said.
        cause: String,
    },
    /// A buffer reaches past the end of its arena.
    #[error(
        "found a buffer of {bytes} bytes at offset {offset}, expected it within an arena of {arena_bytes} bytes"
    )]
    Outside {
        /// Where the buffer begins.
        offset: usize,
        /// Bytes of the buffer.
        bytes: usize,
        /// Bytes of the arena.
        arena_bytes: usize,
    },
}

/// Zeroed memory of one device, unmapped on drop.
pub struct Arena {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: an arena is plain memory; what is read and written in it is the business of whoever takes pointers.
unsafe impl Send for Arena {}
unsafe impl Sync for Arena {}

impl Arena {
    /// Maps `bytes` of zeros. They become resident when first written, or at once by [`Arena::prefault`].
    pub fn new(bytes: usize) -> Result<Arena, ArenaError> {
        if bytes == 0 {
            return Ok(Arena { start: NonNull::<Aligned>::dangling().cast(), bytes });
        }
        let start = if bytes >= HUGE_PAGE_BYTES { map_huge(bytes) } else { map(bytes) };
        let refused = |e: std::io::Error| ArenaError::Refused { bytes, cause: e.to_string() };
        Ok(Arena { start: start.map_err(refused)?, bytes })
    }

    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where it begins.
    pub fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Where `bytes` at `offset` begin. What may be written there at what time is the plan's business.
    pub fn at(&self, offset: usize, bytes: usize) -> Result<*mut u8, ArenaError> {
        match offset.checked_add(bytes) {
            // SAFETY: `offset` is within the mapping or at its end.
            Some(end) if end <= self.bytes => Ok(unsafe { self.start.as_ptr().add(offset) }),
            _ => Err(ArenaError::Outside { offset, bytes, arena_bytes: self.bytes }),
        }
    }

    /// Makes every page resident now, so that a step never waits for one and the memory in use is the plan's.
    pub fn prefault(&mut self) -> Result<(), ArenaError> {
        if self.bytes == 0 {
            return Ok(());
        }
        #[cfg(target_os = "linux")]
        {
            let (start, bytes) = (self.start.as_ptr().cast(), self.bytes);
            // SAFETY: the range is this arena's mapping; populating changes no byte of it.
            if unsafe { libc::madvise(start, bytes, libc::MADV_POPULATE_WRITE) } == 0 {
                return Ok(());
            }
            let error = std::io::Error::last_os_error();
            // Kernels before 5.14 do not know the request; every other error is about memory.
            if error.raw_os_error() != Some(libc::EINVAL) {
                return Err(ArenaError::Refused { bytes, cause: error.to_string() });
            }
        }
        const PAGE_BYTES: usize = 4096;
        for offset in (0..self.bytes).step_by(PAGE_BYTES) {
            // SAFETY: within the mapping, which nobody else uses, for `self` is borrowed mutably.
            unsafe {
                let byte = self.start.as_ptr().add(offset);
                byte.write_volatile(byte.read_volatile());
            }
        }
        Ok(())
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if self.bytes > 0 {
            // SAFETY: exactly the range that was mapped, and no pointer into it may outlive the arena.
            unsafe { unmap(self.start.as_ptr(), self.bytes) };
        }
    }
}

#[repr(align(64))]
struct Aligned;

fn map(bytes: usize) -> std::io::Result<NonNull<u8>> {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANON);
    // SAFETY: a new anonymous mapping touches no existing memory.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error());
    }
    NonNull::new(start.cast()).ok_or_else(|| std::io::Error::other("mapped at address 0"))
}

/// Maps a huge page more than needed and gives back what lies outside the aligned part.
fn map_huge(bytes: usize) -> std::io::Result<NonNull<u8>> {
    let too_large = || std::io::Error::from_raw_os_error(libc::ENOMEM);
    let wanted = bytes.checked_next_multiple_of(4096).ok_or_else(too_large)?;
    let mapped = wanted.checked_add(HUGE_PAGE_BYTES).ok_or_else(too_large)?;
    let start = map(mapped)?.as_ptr();
    let before = start.align_offset(HUGE_PAGE_BYTES);
    // SAFETY: `before` is less than a huge page, so the three parts are within the mapping and page-aligned.
    unsafe {
        let aligned = start.add(before);
        if before > 0 {
            unmap(start, before);
        }
        unmap(aligned.add(wanted), mapped - wanted - before);
        // Advice: a system without huge pages is slower, not wrong.
        #[cfg(target_os = "linux")]
        libc::madvise(aligned.cast(), wanted, libc::MADV_HUGEPAGE);
        Ok(NonNull::new_unchecked(aligned))
    }
}

/// # Safety
/// The range is a whole number of pages mapped by `map`, and nothing points into it.
unsafe fn unmap(start: *mut u8, bytes: usize) {
    // SAFETY: as above. It can fail only for ranges that are no mapping.
    unsafe { libc::munmap(start.cast(), bytes) };
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn arenas_are_zeroed_aligned_and_writable_to_the_last_byte() {
        for (bytes, alignment) in [(1, 64), (100_000, 64), (2 << 20, 2 << 20), ((5 << 20) + 17, 2 << 20)] {
            let mut arena = Arena::new(bytes).unwrap();
            arena.prefault().unwrap();
            let start = arena.at(0, bytes).unwrap();
            assert_eq!(start.addr() % alignment, 0);
            // SAFETY: `at` gave `bytes` bytes that nobody else uses.
            let all = unsafe { std::slice::from_raw_parts_mut(start, bytes) };
            assert!(all.iter().all(|b| *b == 0));
            all.fill(255);
        }
    }

    #[test]
    fn an_empty_arena_holds_only_empty_buffers() {
        let arena = Arena::new(0).unwrap();
        assert!(arena.at(0, 0).is_ok());
        assert!(arena.at(0, 1).is_err());
    }

    #[test]
    fn a_buffer_past_the_end_is_refused() {
        let arena = Arena::new(128).unwrap();
        assert!(arena.at(64, 64).is_ok());
        for (offset, bytes) in [(64, 65), (129, 0), (usize::MAX, 2)] {
            assert_eq!(arena.at(offset, bytes), Err(ArenaError::Outside { offset, bytes, arena_bytes: 128 }));
        }
    }

    #[test]
    fn an_impossible_size_is_refused() {
        for bytes in [1 << 60, usize::MAX, usize::MAX - 4095 - HUGE_PAGE_BYTES] {
            assert!(matches!(Arena::new(bytes), Err(ArenaError::Refused { bytes: b, .. }) if b == bytes));
        }
    }
}
