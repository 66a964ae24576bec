//! The two ends of a language model: token ids to rows, rows to logits and the most likely tokens.
use super::norm;
use crate::import::Config;
use crate::models::{Build, BuildError};
use ir::NodeId;
use ir::ops::{Gather, Linear, Peaks, Scale, Softcap, TopK};

/// Tokens that come to the host as candidates: more than samplers are mostly asked to choose from, and few to send.
const CANDIDATES: u64 = 64;
/// Logits that are looked at together.
const STRETCH: u64 = 256;

/// The rows of the embedding for the step's tokens, scaled where the model does.
pub(crate) fn embed(cx: &mut Build<'_>, config: &Config) -> Result<NodeId, BuildError> {
    let table = cx.weight("token_embd.weight", &[config.vocab, config.hidden])?;
    let tokens = cx.inputs().tokens;
    let x = cx.op("embed", Gather::default(), &[table, tokens])?;
    match config.embedding_scale {
        1.0 => Ok(x),
        by => cx.op("embed_scale", Scale { by }, &[x]),
    }
}

/// Logits for the rows asked for: the last norm, and the product with the output's or the embedding's weight.
pub(crate) fn logits(cx: &mut Build<'_>, x: NodeId, config: &Config) -> Result<NodeId, BuildError> {
    cx.leave_layers();
    let rows = cx.inputs().rows;
    let x = cx.op("rows", Gather::default(), &[x, rows])?;
    let x = norm::rms(cx, x, "output_norm", config.hidden)?;
    let name = if config.tied_embeddings { "token_embd.weight" } else { "output.weight" };
    let weight = cx.weight(name, &[config.vocab, config.hidden])?;
    let logits = cx.op("output", Linear {}, &[x, weight])?;
    match config.final_softcap {
        Some(cap) => cx.op("output_softcap", Softcap { cap }, &[logits]),
        None => Ok(logits),
    }
}

/// What the host gets: the logits of the rows that are asked for whole, and of each row the candidates, which are all
/// that mostly must cross.
pub(crate) fn answers(
    cx: &mut Build<'_>,
    logits: NodeId,
    config: &Config,
) -> Result<[NodeId; 2], BuildError> {
    let whole = cx.inputs().whole;
    let chosen = cx.op("logits", Gather::default(), &[logits, whole])?;
    let peaks = cx.op("peaks", Peaks { stretch: STRETCH }, &[logits])?;
    let top_k = TopK { k: CANDIDATES.min(config.vocab), stretch: STRETCH };
    Ok([chosen, cx.op("candidates", top_k, &[logits, peaks])?])
}
