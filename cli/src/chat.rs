//! `heddle chat`: one answer, or a conversation in the terminal.
use crate::answer::{Answer, End, answer};
use crate::choices::{Compilation, Generation, Steps};
use crate::load::{self, Loaded};
use crate::prompt::{self, Prompter};
use crate::watch::{Station, Watched};
use crate::{fit, interrupt, output};
use anyhow::{Context, bail};
use clap::Args;
use compiler::chat::message;
use compiler::import::Checkpoint;
use runtime::Sequence;
use rustyline::error::ReadlineError;
use serde_json::Value;
use std::ffi::OsString;
use std::io::{self, BufRead, IsTerminal};

/// Talk with a model: one answer to a prompt, or a conversation
#[derive(Args)]
#[command(after_help = "\
Examples:
  heddle chat 'Why is the sky blue?'
  heddle chat
  heddle chat --model smollm2 --system 'Answer in one sentence.' --temperature 0.3

In a conversation, /reset begins anew and /quit leaves. Ctrl-C stops an answer, twice leaves.
Without a terminal, every line of standard input is a turn. When the conversation no longer fits the context,
its oldest turns are forgotten.")]
pub struct Options {
    /// What to say; without it, a conversation begins
    prompt: Option<OsString>,
    /// A bundle, a model file or folder, or a name as `heddle pull` takes it [default: smollm2]
    #[arg(long, short, value_name = "MODEL")]
    model: Option<String>,
    /// What the model is told before everything else
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    #[command(flatten)]
    watched: Watched,
    #[command(flatten)]
    generation: Generation,
    #[command(flatten)]
    compilation: Compilation,
}

pub fn run(options: Options) -> anyhow::Result<()> {
    let socket = options.watched.open()?;
    let prompt = options.prompt.map(|prompt| prompt::text(prompt.into_encoded_bytes())).transpose()?;
    let is_sound = |checkpoint: &Checkpoint| prompter(checkpoint, prompt.is_some()).map(drop);
    let loaded = load::model(options.model.as_deref(), &options.compilation, Steps::GENERATION, &is_sound)?;
    let prompter = prompter(&loaded.checkpoint, prompt.is_some())?;
    note!("{}", load::decisions(loaded.session.plan(), &loaded.hash, loaded.is_edited));
    let station = socket.map(|socket| Station::open(socket, &loaded));
    let sequence = Sequence::new(&loaded.session, 0);
    let system = options.system.map(|system| message("system", &system)).into_iter().collect();
    let mut chat =
        Chat { loaded, sequence, prompter, generation: options.generation, messages: system, system: 0 };
    chat.system = chat.messages.len();
    let ended = match prompt {
        Some(prompt) => chat.once(&prompt),
        None => chat.converse(),
    };
    if let Some(station) = station {
        station.close(&ended);
    }
    ended
}

/// How the model is spoken to; a conversation needs a template.
fn prompter(checkpoint: &Checkpoint, has_prompt: bool) -> anyhow::Result<Prompter> {
    let prompter = Prompter::new(checkpoint, false)?;
    if let (Prompter::Raw, false) = (&prompter, has_prompt) {
        bail!("the model has no chat template and cannot converse: `heddle run` lets it continue a text");
    }
    Ok(prompter)
}

/// A conversation and its place in the cache.
struct Chat {
    loaded: Loaded,
    sequence: Sequence,
    prompter: Prompter,
    generation: Generation,
    messages: Vec<Value>,
    /// How many of the messages come before the first turn.
    system: usize,
}

impl Chat {
    /// One turn.
    fn once(&mut self, prompt: &str) -> anyhow::Result<()> {
        if let Prompter::Raw = self.prompter {
            note!("the model has no chat template: it continues the prompt instead of answering it");
        }
        match self.say(prompt)? {
            End::Interrupted => Err(output::Interrupted.into()),
            _ => Ok(()),
        }
    }

    /// Turn after turn, until the user leaves.
    fn converse(&mut self) -> anyhow::Result<()> {
        let mut lines = Lines::new()?;
        while let Some(line) = lines.next()? {
            match line.trim() {
                "" => {}
                "/quit" | "/exit" => break,
                "/reset" => self.messages.truncate(self.system),
                command if command.starts_with('/') => note!("{command} is unknown: /reset, /quit"),
                text => match self.say(text) {
                    Err(error) if error.is::<output::ClosedPipe>() => return Err(error),
                    // The conversation goes on: a shorter prompt or /reset may do.
                    Err(error) => note!("error: {}", output::explain(&error)),
                    Ok(_) => {}
                },
            }
        }
        Ok(())
    }

    /// One turn: what was said is remembered with its answer, or neither is.
    fn say(&mut self, text: &str) -> anyhow::Result<End> {
        self.messages.push(message("user", text));
        let answer = self.answer();
        match &answer {
            Ok(answer) if answer.end != End::Interrupted || !answer.text.is_empty() => {
                self.messages.push(message("assistant", &answer.text));
                note!("{}", answer.speeds());
            }
            _ => drop(self.messages.pop()),
        }
        answer.map(|answer| answer.end)
    }

    fn answer(&mut self) -> anyhow::Result<Answer> {
        self.forget()?;
        let prompt = fit::prompt(&self.loaded, &self.prompter, &self.messages, &self.generation)?;
        let stop = interrupt::stoppable();
        let is_stopped = || stop.is_stopped();
        let (loaded, sequence) = (&mut self.loaded, &mut self.sequence);
        let answer = answer(loaded, sequence, &prompt, &self.generation, &is_stopped, &mut output::write)?;
        output::write("\n")?;
        Ok(answer)
    }

    /// Forgets the oldest turns once an answer would have less than an eighth of the context. A quarter becomes
    /// free, for the next turns would else be read anew each time.
    fn forget(&mut self) -> anyhow::Result<()> {
        let context = self.loaded.session.plan().options.context as usize;
        let mut most = context - context / 8;
        let mut turns = 0;
        while self.messages.len() > self.system + 1
            && self.prompter.tokens(&self.loaded.tokenizer, &self.messages)?.len() > most
        {
            // What the user said and what was answered.
            self.messages.drain(self.system..self.system + 2);
            turns += 1;
            most = context - context / 4;
        }
        if turns > 0 {
            let (s, are) = if turns == 1 { ("", "is") } else { ("s", "are") };
            note!(
                "the conversation no longer fits the context of {context} tokens: its oldest {turns} turn{s} {are} forgotten"
            );
        }
        Ok(())
    }
}

/// What the user says, line by line: edited in a terminal, else as it comes.
enum Lines {
    Terminal(Box<rustyline::DefaultEditor>),
    Input,
}

impl Lines {
    fn new() -> anyhow::Result<Lines> {
        if !io::stdin().is_terminal() {
            return Ok(Lines::Input);
        }
        Ok(Lines::Terminal(Box::new(rustyline::DefaultEditor::new().context("cannot edit lines here")?)))
    }

    /// The next line; none when the user leaves.
    fn next(&mut self) -> anyhow::Result<Option<String>> {
        match self {
            Lines::Terminal(editor) => match editor.readline("> ") {
                Ok(line) => {
                    // A history that cannot grow is no reason to stop talking.
                    let _ = editor.add_history_entry(&line);
                    Ok(Some(line))
                }
                Err(ReadlineError::Interrupted | ReadlineError::Eof) => Ok(None),
                Err(error) => Err(error).context("cannot read the terminal"),
            },
            Lines::Input => {
                let mut line = String::new();
                let read = io::stdin().lock().read_line(&mut line).context("cannot read standard input")?;
                Ok((read > 0).then_some(line))
            }
        }
    }
}
