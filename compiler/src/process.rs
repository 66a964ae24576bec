//! What the process itself takes beside weights, caches and arenas: code, stacks, the tokeniser.
use crate::import::Checkpoint;

/// Resident bytes of the binary and its runtime before a tokeniser is built, as measured.
const BASE_BYTES: u64 = 22_900_000;
/// Resident bytes of the tokeniser for each token of the vocabulary, as measured.
const TOKEN_BYTES: u64 = 43;

/// Bytes to state for the process in a plan.
pub(crate) fn bytes(checkpoint: &Checkpoint) -> u64 {
    BASE_BYTES + TOKEN_BYTES * checkpoint.config.vocab
}
