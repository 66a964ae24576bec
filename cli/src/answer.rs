//! One answer: prefill, then token by token until something ends it, shown as it comes.
use crate::choices::Generation;
use crate::load::Loaded;
use anyhow::Context;
use compiler::tokenizer::StreamDecoder;
use runtime::{Row, Sampler, Sequence, Stops};
use std::time::{Duration, Instant};

/// What was answered, and how fast.
pub(crate) struct Answer {
    /// The tokens, without one that ended the answer.
    pub(crate) ids: Vec<u32>,
    /// Their text, cut before a stop string.
    pub(crate) text: String,
    pub(crate) end: End,
    /// Tokens of the prompt that were not in the cache yet.
    pub(crate) prefilled: usize,
    pub(crate) prefill: Duration,
    /// When the first token was known.
    pub(crate) first_token: Instant,
    /// Steps after the prefill, and what they took.
    pub(crate) decoded: usize,
    pub(crate) decode: Duration,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The model ended it.
    Model,
    /// A stop string came.
    Stop,
    /// As many tokens as were asked for.
    Tokens,
    /// The context is full.
    Context,
    /// The user does not want to hear more.
    Interrupted,
}

impl Answer {
    pub(crate) fn prefill_speed(&self) -> f64 {
        per_second(self.prefilled, self.prefill)
    }

    pub(crate) fn decode_speed(&self) -> f64 {
        per_second(self.decoded, self.decode)
    }

    /// Both speeds on a line.
    pub(crate) fn speeds(&self) -> String {
        let full = if self.end == End::Context { "; the context is full" } else { "" };
        format!(
            "{} tokens read at {:.0} a second, {} written at {:.1} a second{full}",
            self.prefilled,
            self.prefill_speed(),
            self.ids.len(),
            self.decode_speed()
        )
    }
}

/// Tokens a second; none took no time.
pub(crate) fn per_second(tokens: usize, time: Duration) -> f64 {
    if tokens == 0 { 0.0 } else { tokens as f64 / time.as_secs_f64() }
}

/// Answers `prompt`, which fits the context, in `sequence`, of which what it shares with the prompt is not
/// computed again. `stop` is asked between steps.
pub(crate) fn answer(
    loaded: &mut Loaded,
    sequence: &mut Sequence,
    prompt: &[u32],
    generation: &Generation,
    stop: &dyn Fn() -> bool,
    show: &mut dyn FnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<Answer> {
    let Loaded { session, tokenizer, tally, .. } = loaded;
    let context = session.plan().options.context as usize;
    let mut sampler = Sampler::new(generation.sampler());
    prompt.iter().for_each(|id| sampler.accept(*id));
    let ends = if generation.ignore_eos { vec![] } else { tokenizer.eos_ids().to_vec() };
    let mut stops = Stops::new(generation.stop.iter().cloned(), ends);
    let mut decoder = StreamDecoder::default();
    let mut fresh = String::new();
    let most = generation.tokens.map_or(usize::MAX, |n| n as usize);

    let tokens: Vec<i32> = prompt.iter().map(|id| *id as i32).collect();
    let kept = sequence.keep_shared(session, &tokens);
    let start = Instant::now();
    let whole = sampler.needs_whole(session.candidates());
    let row = sequence.extend(session, &tokens[kept..], whole, stop)?;
    let mut next = choose(&mut sampler, row)?;
    let first_token = Instant::now();
    tally.read(tokens.len() - kept);
    let mut answer = Answer {
        ids: vec![],
        text: String::new(),
        end: End::Interrupted,
        prefilled: tokens.len() - kept,
        prefill: first_token - start,
        first_token,
        decoded: 0,
        decode: Duration::ZERO,
    };
    while let Some(token) = next {
        if stops.is_end(token) {
            answer.end = End::Model;
            break;
        }
        sampler.accept(token);
        answer.ids.push(token);
        tally.wrote();
        fresh.clear();
        let stopped = stops.push(decoder.push(tokenizer, token), &mut fresh);
        if !fresh.is_empty() {
            show(&fresh)?;
            answer.text += &fresh;
        }
        let end = [
            (stopped, End::Stop),
            (answer.ids.len() >= most, End::Tokens),
            (sequence.len() >= context, End::Context),
        ];
        if let Some((_, end)) = end.into_iter().find(|(reached, _)| *reached) {
            answer.end = end;
            break;
        }
        let row = sequence.extend(session, &[token as i32], whole, stop)?;
        next = choose(&mut sampler, row)?;
        answer.decoded += usize::from(next.is_some());
    }
    answer.decode = first_token.elapsed();
    fresh.clear();
    if answer.end != End::Stop {
        stops.push(decoder.finish(), &mut fresh);
        stops.finish(&mut fresh);
        show(&fresh)?;
        answer.text += &fresh;
    }
    Ok(answer)
}

/// The next token, if there is something to choose by.
fn choose(sampler: &mut Sampler, row: Option<Row<'_>>) -> anyhow::Result<Option<u32>> {
    row.map(|row| sampler.sample(row)).transpose().context(NO_NUMBERS)
}

/// What is likely wrong where a model does not compute numbers.
pub(crate) const NO_NUMBERS: &str =
    "the weights of the model may be damaged (`heddle verify` checks a bundle)";
