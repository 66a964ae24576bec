//! `heddle run`: answers one prompt.
use crate::answer::{Answer, answer};
use crate::choices::{Compilation, Generation, Steps};
use crate::load::{self, Loaded};
use crate::prompt::{Prompt, Prompter};
use crate::watch::{Live, Station, Watched};
use crate::{fit, output};
use clap::Args;
use compiler::chat::message;
use compiler::import::Checkpoint;
use ir::plan::MemoryProof;
use runtime::Sequence;
use serde::Serialize;
use std::time::Instant;

/// Answer one prompt, with a bundle or with a model that is compiled first
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  heddle run --prompt 'Why is the sky blue?'
  heddle run smollm2 --prompt 'Count to ten.' --greedy --tokens 40
  heddle run model.heddle --system 'Answer in one word.' < question.txt
  heddle run smollm2 --file book.txt --cut --tokens 100
  heddle run gemma3-270m --raw --prompt 'Once upon a time' --seed 7
  heddle run smollm2 --prompt Hello --greedy --json | jq .timing
  heddle run smollm2 --file book.txt --watch-socket /tmp/heddle.sock")]
pub struct Options {
    /// A bundle, a model file or folder, or a name as `heddle pull` takes it [default: smollm2]
    model: Option<String>,
    #[command(flatten)]
    prompt: Prompt,
    /// What the model is told before the prompt
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    system: Option<String>,
    /// Give the model the prompt as it stands, without its chat template
    #[arg(long)]
    raw: bool,
    /// Print one line of JSON: ids, text, plan hash, timing, memory
    #[arg(long)]
    json: bool,
    /// Show on standard error what passes between the host and the devices; the answer then comes whole
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    watched: Watched,
    #[command(flatten)]
    generation: Generation,
    #[command(flatten)]
    compilation: Compilation,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    prompt_ids: Vec<u32>,
    ids: Vec<u32>,
    text: String,
    plan_hash: String,
    timing: Timing,
    memory: Memory,
}

/// Both times are from the start of the command.
#[derive(Serialize)]
struct Timing {
    load_ms: f64,
    first_token_ms: f64,
    prefill_tokens_per_second: f64,
    decode_tokens_per_second: f64,
}

#[derive(Serialize)]
struct Memory {
    predicted_peak_bytes: u64,
    /// None where the system does not count.
    measured_peak_bytes: Option<u64>,
    devices: Vec<DeviceMemory>,
}

/// What a device has beside the process.
#[derive(Serialize)]
struct DeviceMemory {
    name: String,
    predicted_peak_bytes: u64,
    allocated_bytes: u64,
    /// None where the system does not say.
    resident_bytes: Option<u64>,
}

pub fn run(options: Options) -> anyhow::Result<()> {
    let start = Instant::now();
    let socket = options.watched.open()?;
    let text = options.prompt.text()?;
    let is_sound = |checkpoint: &Checkpoint| Prompter::new(checkpoint, options.raw).map(drop);
    let mut loaded =
        load::model(options.model.as_deref(), &options.compilation, Steps::GENERATION, &is_sound)?;
    let prompter = Prompter::new(&loaded.checkpoint, options.raw)?;
    let system = options.system.as_deref().map(|system| message("system", system));
    let messages: Vec<_> = system.into_iter().chain([message("user", &text)]).collect();
    let prompt_ids = fit::prompt(&loaded, &prompter, &messages, &options.generation)?;
    let load_ms = start.elapsed().as_secs_f64() * 1e3;
    if !options.json {
        note!("{}", load::decisions(loaded.session.plan(), &loaded.hash, loaded.is_edited));
    }
    let mut sequence = Sequence::new(&loaded.session, 0);
    let station = socket.map(|socket| Station::open(socket, &loaded));
    let live = options.watch.then(|| Live::start(loaded.session.watch()));
    let is_held = live.as_ref().is_some_and(Live::has_terminal);
    let mut show = |text: &str| if options.json || is_held { Ok(()) } else { output::write(text) };
    let answer = answer(&mut loaded, &mut sequence, &prompt_ids, &options.generation, &|| false, &mut show);
    if let Some(station) = station {
        station.close(&answer);
    }
    let answer = answer?;
    let seen = live.map(Live::finish);
    if options.json {
        let first_token_ms = (answer.first_token - start).as_secs_f64() * 1e3;
        seen.iter().for_each(|seen| note!("{seen}"));
        return output::write_json(&report(&loaded, prompt_ids, answer, load_ms, first_token_ms));
    }
    output::write(if is_held { &answer.text } else { "" })?;
    output::write("\n")?;
    seen.iter().for_each(|seen| note!("{seen}"));
    note!("{}", answer.speeds());
    Ok(())
}

fn report(
    loaded: &Loaded,
    prompt_ids: Vec<u32>,
    answer: Answer,
    load_ms: f64,
    first_token_ms: f64,
) -> Report {
    Report {
        prompt_ids,
        timing: Timing {
            load_ms,
            first_token_ms,
            prefill_tokens_per_second: answer.prefill_speed(),
            decode_tokens_per_second: answer.decode_speed(),
        },
        memory: Memory {
            predicted_peak_bytes: load::predicted_peak(loaded.session.plan()),
            measured_peak_bytes: runtime::memory::resident().map(|resident| resident.peak_bytes),
            devices: loaded.session.memory().iter().map(|held| device_memory(loaded, held)).collect(),
        },
        ids: answer.ids,
        text: answer.text,
        plan_hash: loaded.hash.clone(),
    }
}

fn device_memory(loaded: &Loaded, held: &runtime::memory::Held) -> DeviceMemory {
    let plan = loaded.session.plan();
    let proofs = plan.memory.iter().filter(|proof| proof.device == held.device);
    DeviceMemory {
        name: plan.devices[held.device.0 as usize].name.clone(),
        predicted_peak_bytes: proofs.map(MemoryProof::own).max().unwrap_or(0),
        allocated_bytes: held.bytes,
        resident_bytes: held.resident_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn line(args: &[&str]) -> Result<Options, clap::Error> {
        Line::try_parse_from(["run"].iter().chain(args)).map(|line| line.options)
    }

    #[test]
    fn the_prompt_comes_from_the_flag_or_from_a_file() {
        let flag = line(&["m.gguf", "--prompt", "a b", "--system", "s", "--json"]).unwrap();
        assert_eq!(
            (flag.model.as_deref(), flag.system.as_deref(), flag.json),
            (Some("m.gguf"), Some("s"), true)
        );
        assert_eq!(flag.prompt.text().unwrap(), "a b");
        let file = line(&["--file", "no such file"]).unwrap();
        assert!(file.model.is_none());
        assert_eq!(file.prompt.text().unwrap_err().to_string(), "cannot read no such file");
    }

    #[test]
    fn contradictions_are_wrong_command_lines() {
        for bad in [
            &["--prompt", "a", "--file", "b"][..],
            &["--raw", "--system", "s"],
            &["a", "b"],
            &["--tokens", "-1"],
        ] {
            assert!(line(bad).is_err(), "{bad:?}");
        }
    }
}
