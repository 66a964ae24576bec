//! A prompt that is longer than the context: refused, or cut as asked.
use crate::choices::Generation;
use crate::load::Loaded;
use crate::prompt::Prompter;
use anyhow::bail;
use serde_json::Value;

/// The tokens of a conversation, as many as the context holds.
pub(crate) fn prompt(
    loaded: &Loaded,
    prompter: &Prompter,
    messages: &[Value],
    generation: &Generation,
) -> anyhow::Result<Vec<u32>> {
    let context = loaded.session.plan().options.context as usize;
    let shortened = generation.cut.then(|| shortened(messages, context)).flatten();
    let messages = shortened.as_deref().unwrap_or(messages);
    let mut ids = prompter.tokens(&loaded.tokenizer, messages)?;
    let tokens = ids.len();
    if tokens == 0 {
        bail!("the prompt is empty");
    }
    if tokens > context {
        if !generation.cut {
            bail!(
                "the prompt has {tokens} tokens, the context holds {context}: shorten it, cut it with --cut, or raise --context"
            );
        }
        ids = cut(loaded, prompter, messages, ids, context - generation.room(context))?;
    }
    if tokens > context || shortened.is_some() {
        note!("the prompt is cut to its last {} tokens: the context holds {context}", ids.len());
    }
    Ok(ids)
}

/// The conversation without what no context of this size holds, of a text so long that neither template nor
/// tokeniser should see it; none if it is not.
fn shortened(messages: &[Value], context: usize) -> Option<Vec<Value>> {
    let (last, before) = messages.split_last()?;
    let text = last["content"].as_str()?;
    let too_many = text.len().checked_sub((context * TOKEN_BYTES).min(TEXT_BYTES_MAX)).filter(|n| *n > 0)?;
    let mut last = last.clone();
    last["content"] = text[text.ceil_char_boundary(too_many)..].into();
    Some([before, &[last]].concat())
}

/// Few tokens are longer.
const TOKEN_BYTES: usize = 64;
/// A template may write more than once what was said, and no more than some megabytes.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// The tokens of a conversation whose last message loses its beginning, so that they are `most` at most.
fn cut(
    loaded: &Loaded,
    prompter: &Prompter,
    messages: &[Value],
    mut ids: Vec<u32>,
    most: usize,
) -> anyhow::Result<Vec<u32>> {
    let tokenizer = &loaded.tokenizer;
    let (Prompter::Chat(_), Some((last, before))) = (prompter, messages.split_last()) else {
        let begin = usize::from(tokenizer.add_bos() && ids.first().copied() == tokenizer.bos());
        ids.drain(begin..begin + (ids.len() - most.max(begin)));
        return Ok(ids);
    };
    let text = last["content"].as_str().unwrap_or_default();
    let from = |at: usize| {
        let mut last = last.clone();
        last["content"] = text[text.ceil_char_boundary(at)..].into();
        prompter.tokens(tokenizer, &[before, &[last]].concat())
    };
    // What is short enough begins between the two.
    let (mut long, mut short) = (0, text.len());
    let mut shortest = from(short)?;
    let frame = shortest.len();
    if frame > most {
        bail!(
            "the chat template and --system have {frame} tokens without the prompt, expected at most {most}: raise --context"
        );
    }
    while short - long > 1 {
        let middle = long.midpoint(short);
        let ids = from(middle)?;
        if ids.len() <= most {
            (short, shortest) = (middle, ids);
        } else {
            long = middle;
        }
    }
    Ok(shortest)
}
