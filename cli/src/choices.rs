//! Options that several subcommands share: how a model is compiled, and how its next token is chosen.
use crate::cache::Cache;
use crate::placement::{Cut, Placement};
use crate::{calibrate, devices};
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use ir::DType;
use ir::plan::{self, Device, Options};
use ir::topology::Topology;
use runtime::SamplerOptions;
use std::time::{SystemTime, UNIX_EPOCH};

/// How a model is compiled; each changes the plan.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Compilation")]
pub(crate) struct Compilation {
    /// Most tokens of one conversation [default: what the model was made for, up to 4096]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) context: Option<u32>,
    /// Worker threads of the processor, which is then taken before a GPU [default: every core this process may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) threads: Option<u32>,
    /// Refuse a plan that needs more memory than this: bytes, or with a unit, as in 512MiB or 2GB
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) memory: Option<u64>,
    /// What products with quantised weights take: int8 is fast, f32 exact; on GPUs they always take f32 [default: int8, on GPUs alone f32]
    #[arg(long, value_name = "KIND", value_enum)]
    pub(crate) activations: Option<Activations>,
    /// How keys and values are kept [default: f16, with f32 activations on processors f32]
    #[arg(long, value_name = "KIND", value_enum)]
    pub(crate) kv: Option<Kv>,
    #[command(flatten)]
    pub(crate) placement: Placement,
    /// Only for who can say it, see [`Batched`].
    #[arg(skip)]
    max_batch: Option<u32>,
}

/// How a model is compiled where more than one conversation makes sense.
#[derive(Args, Clone, Debug)]
pub(crate) struct Batched {
    #[command(flatten)]
    one: Compilation,
    /// Most conversations at once [default: 1]
    #[arg(
        long, value_name = "N", help_heading = "Compilation",
        value_parser = clap::value_parser!(u32).range(1..=4096)
    )]
    max_batch: Option<u32>,
}

impl Batched {
    pub(crate) fn compilation(&self) -> Compilation {
        Compilation { max_batch: self.max_batch, ..self.one.clone() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Activations {
    Int8,
    F32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kv {
    F16,
    F32,
}

/// How large the steps of a plan may be; each subcommand knows what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Steps {
    /// Most tokens.
    pub(crate) chunk: u32,
    /// Most rows of logits; more where more conversations are decoded at once.
    pub(crate) rows: u32,
}

impl Steps {
    /// Long prompts, of which only what follows the last token matters.
    pub(crate) const GENERATION: Steps = Steps { chunk: 256, rows: 1 };
    /// Logits behind every token, which are large.
    pub(crate) const EVALUATION: Steps = Steps { chunk: 128, rows: 128 };
}

/// The context where nobody asks for one, of models that were made for as much.
const CONTEXT: u32 = 4096;

impl Compilation {
    /// Makes room for so many sequences of so many tokens, where the user has not said how much room there is:
    /// of several no more than that, for each takes as much memory as the context says.
    pub(crate) fn make_room(&mut self, batch: u32, tokens: u32) {
        let is_more = tokens > CONTEXT || batch > 1;
        self.context = self.context.or_else(|| is_more.then_some(tokens));
        self.max_batch = self.max_batch.or_else(|| (batch > 1).then_some(batch));
    }

    /// What a plan is told, for a model made for `limit` tokens, and where it is to run.
    pub(crate) fn options(&self, limit: u64, steps: Steps) -> (Options, Vec<Device>, Cut) {
        let max_batch = self.max_batch.unwrap_or(1);
        let (devices, cut) = self.placement.decide(self.team());
        // GPUs compute in f32 whatever is asked for; what runs beside them need not.
        let has_cpu = devices.iter().any(compiler::codegen::takes_int8);
        let exact = !has_cpu || self.activations == Some(Activations::F32);
        let partition = if let Cut::Named(partition) = cut { partition } else { plan::Partition::WHOLE };
        let options = Options {
            context: self.context.unwrap_or(limit.min(CONTEXT.into()) as u32),
            max_batch,
            chunk: steps.chunk.max(max_batch),
            rows: steps.rows.max(max_batch),
            page: 32,
            kv: match self.kv.unwrap_or(if exact && has_cpu { Kv::F32 } else { Kv::F16 }) {
                Kv::F16 => DType::F16,
                Kv::F32 => DType::F32,
            },
            activations: if exact { plan::Activations::F32 } else { plan::Activations::Int8 },
            partition,
            all_reduce: self.placement.all_reduce(),
            micro_batches: partition.pipeline,
            memory: self.memory,
            hints: self.placement.hints(),
        };
        (options, devices, cut)
    }

    /// The same on one device that was found.
    pub(crate) fn on(&self, device: Device) -> Compilation {
        Compilation { placement: self.placement.on(device), ..self.clone() }
    }

    /// Whether nobody says on what it is to run: then a GPU is, where there is one.
    pub(crate) fn is_open(&self) -> bool {
        self.threads.is_none() && self.placement.is_open()
    }

    /// Refuses devices that are not here, or on which nothing can run. Those of a topology's file may be elsewhere,
    /// unless it `runs` now.
    pub(crate) fn check_devices(&self, runs: bool) -> anyhow::Result<()> {
        match runs || self.placement.file().is_none() {
            true => devices::check(&self.placement.decide(self.team()).0),
            false => Ok(()),
        }
    }

    /// What the devices were measured to do, or what the file says that lists them.
    pub(crate) fn topology(&self, devices: &[Device]) -> anyhow::Result<Topology> {
        match self.placement.topology() {
            Some(topology) => Ok(topology.clone()),
            None => calibrate::for_devices(calibrate::kept_or_measured(&Cache::from_env()?)?, devices),
        }
    }

    /// The topology of the file that lists the devices.
    pub(crate) fn own_topology(&self) -> Option<&Topology> {
        self.placement.topology()
    }

    /// The command line that says the same to `heddle compile`.
    pub(crate) fn arguments(&self, steps: Steps) -> Vec<String> {
        let kind = |kind: Option<String>| kind.map(|kind| kind.to_ascii_lowercase());
        let has_threads = !self.placement.has_devices() && !self.is_open();
        let said = [
            ("--context", self.context.map(|n| n.to_string())),
            ("--threads", has_threads.then(|| self.team().to_string())),
            ("--memory", self.memory.map(|bytes| bytes.to_string())),
            ("--activations", kind(self.activations.map(|kind| format!("{kind:?}")))),
            ("--kv", kind(self.kv.map(|kind| format!("{kind:?}")))),
            ("--max-batch", self.max_batch.map(|n| n.to_string())),
            ("--chunk", Some(steps.chunk.to_string())),
            ("--rows", Some(steps.rows.to_string())),
        ];
        let said = said.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?])).flatten();
        said.chain(self.placement.arguments()).collect()
    }

    /// The size of the device's team.
    pub(crate) fn team(&self) -> u32 {
        let usable = || std::thread::available_parallelism().map_or(1, |n| n.get().min(1024) as u32);
        self.threads.unwrap_or_else(usable)
    }
}

/// How the next token is chosen, and when an answer ends.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Generation")]
pub(crate) struct Generation {
    /// Most tokens of an answer [default: until it ends, or the context is full]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) tokens: Option<u32>,
    /// Higher is more surprising; 0 always takes the likeliest token
    #[arg(long, value_name = "T", default_value_t = 0.8, value_parser = temperature, allow_negative_numbers = true)]
    temperature: f32,
    /// Choose among the K likeliest; 0 is all
    #[arg(long, value_name = "K", default_value_t = 40, allow_negative_numbers = true)]
    top_k: usize,
    /// Choose among the likeliest that together have this probability; 1 is all
    #[arg(long, value_name = "P", default_value_t = 0.95, value_parser = fraction, allow_negative_numbers = true)]
    top_p: f32,
    /// Choose among those at least P times as likely as the likeliest; 0 is all
    #[arg(long, value_name = "P", default_value_t = 0.05, value_parser = fraction, allow_negative_numbers = true)]
    min_p: f32,
    /// Above 1, what was said lately becomes less likely
    #[arg(long, value_name = "R", default_value_t = 1.0, value_parser = penalty, allow_negative_numbers = true)]
    repeat_penalty: f32,
    /// The same seed gives the same answer [default: from the clock]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    seed: Option<u64>,
    /// Always take the likeliest token
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p", "min_p", "seed"])]
    greedy: bool,
    /// End the answer before this text; may be given several times
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) stop: Vec<String>,
    /// Go on where the model would end its answer
    #[arg(long)]
    pub(crate) ignore_eos: bool,
    /// Cut a prompt that is longer than the context: it loses its beginning, but neither the chat template nor
    /// --system; room is left for --tokens, else for a quarter of the context, at most for half
    #[arg(long)]
    pub(crate) cut: bool,
}

impl Generation {
    /// So many tokens, of which each is the likeliest.
    pub(crate) fn greedy(tokens: u32) -> Generation {
        Generation {
            tokens: Some(tokens),
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            seed: Some(0),
            greedy: true,
            stop: vec![],
            ignore_eos: false,
            cut: false,
        }
    }

    /// How many tokens a cut leaves for the answer.
    pub(crate) fn room(&self, context: usize) -> usize {
        self.tokens.map_or(context / 4, |tokens| tokens as usize).min(context / 2)
    }

    /// What the sampler needs.
    pub(crate) fn sampler(&self) -> SamplerOptions {
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
        SamplerOptions {
            temperature: if self.greedy { 0.0 } else { self.temperature },
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
            seed: self.seed.unwrap_or_else(clock),
            ..SamplerOptions::default()
        }
    }
}

fn temperature(text: &str) -> Result<f32, String> {
    number(text, |t| t.is_finite() && t >= 0.0, "0 or more")
}

fn fraction(text: &str) -> Result<f32, String> {
    number(text, |p| (0.0..=1.0).contains(&p), "a fraction from 0 to 1")
}

fn penalty(text: &str) -> Result<f32, String> {
    number(text, |r| r.is_finite() && r > 0.0, "more than 0")
}

fn number(text: &str, is_sound: fn(f32) -> bool, expected: &str) -> Result<f32, String> {
    let number = text.parse().ok().filter(|number| is_sound(*number));
    number.ok_or_else(|| format!("expected {expected}"))
}

/// Reads `4096`, `512MiB`, `1.5 GB`.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return Err(format!("unknown unit `{unit}`, expected e.g. MB, MiB, GB, GiB")),
    };
    let number: f64 = number.parse().map_err(|_| format!("expected bytes, e.g. 512MiB; found `{text}`"))?;
    Ok((number * factor) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use clap::error::ErrorKind;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        compilation: Batched,
        #[command(flatten)]
        generation: Generation,
    }

    fn line(args: &str) -> Result<Line, clap::Error> {
        Line::try_parse_from(["heddle"].into_iter().chain(args.split_whitespace()))
    }

    #[test]
    fn bytes_come_with_and_without_units() {
        assert_eq!(bytes("4096"), Ok(4096));
        assert_eq!(bytes("512MiB"), Ok(512 << 20));
        assert_eq!(bytes("1.5 gb"), Ok(1_500_000_000));
        for bad in ["", "MB", "1..2", "-1", "3 parsecs", "1e9"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn room_is_made_where_nobody_said_how_much_there_is() {
        let room = |args, batch, tokens| {
            let mut compilation = line(args).unwrap().compilation.compilation();
            compilation.make_room(batch, tokens);
            (compilation.context, compilation.max_batch)
        };
        assert_eq!(room("", 1, 640), (None, None));
        assert_eq!(room("", 1, 8000), (Some(8000), None));
        assert_eq!(room("", 8, 96), (Some(96), Some(8)));
        assert_eq!(room("--context 64 --max-batch 2", 8, 96), (Some(64), Some(2)));
    }

    #[test]
    fn compilation_has_defaults_and_bounds() {
        let options = |args| line(args).unwrap().compilation.compilation().options(8192, Steps::GENERATION).0;
        let plain = options("");
        assert_eq!((plain.context, plain.max_batch, plain.rows, plain.memory), (4096, 1, 1, None));
        assert_eq!((plain.kv, plain.activations), (DType::F16, plan::Activations::Int8));
        let full = options("--context 512 --max-batch 2 --memory 1GB --activations f32");
        assert_eq!((full.context, full.max_batch, full.rows), (512, 2, 2));
        assert_eq!((full.memory, full.kv), (Some(1_000_000_000), DType::F32));
        assert_eq!(options("--activations f32 --kv f16").kv, DType::F16);
        assert_eq!(line("--threads 3").unwrap().compilation.compilation().team(), 3);
        for bad in [
            "--context 0",
            "--threads 0",
            "--max-batch 0",
            "--max-batch 4097",
            "--memory much",
            "--activations f64",
        ] {
            assert!(line(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn greedy_is_temperature_zero_and_excludes_the_rest() {
        assert_eq!(line("--greedy").unwrap().generation.sampler().temperature, 0.0);
        assert!(line("--greedy --temperature 1").is_err());
    }

    #[test]
    fn the_sampler_gets_what_was_typed() {
        let generation = line(
            "--temperature 0.5 --top-k 7 --top-p 0.9 --min-p 0.1 --repeat-penalty 1.1 --seed 42 --stop a --stop b",
        )
        .unwrap()
        .generation;
        let sampler = generation.sampler();
        assert_eq!((sampler.temperature, sampler.top_k, sampler.top_p), (0.5, 7, 0.9));
        assert_eq!((sampler.min_p, sampler.repeat_penalty, sampler.seed), (0.1, 1.1, 42));
        assert_eq!(generation.stop, ["a", "b"]);
        let bad = [
            "--top-p 2",
            "--top-p -0.5",
            "--min-p -1",
            "--temperature -1",
            "--temperature nan",
            "--temperature inf",
            "--repeat-penalty 0",
            "--repeat-penalty -1",
            "--top-k -1",
            "--stop=",
        ];
        for bad in bad {
            let Err(refused) = line(bad) else { panic!("{bad} is accepted") };
            let (name, _) = bad.split_once([' ', '=']).unwrap();
            let is_value = [ErrorKind::ValueValidation, ErrorKind::InvalidValue].contains(&refused.kind());
            assert!(is_value && refused.to_string().contains(name), "{bad}: {refused}");
        }
    }
}
