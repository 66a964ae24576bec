//! The published models that the references are about, compiled and run: SmolLM2 135M and Gemma 3 270M.
//!
//! They are fetched on first use, as a user's are. The references are in `fixtures/smollm2` and `fixtures/gemma3`.

use compiler::import::{Checkpoint, Config};
use compiler::models;
use compiler::tokenizer::SpecialTokens;
use ir::plan::{Activations, Device, Options, Partition};
use ir::{DType, Op};
use serde_json::Value;
use std::collections::BTreeMap;
use tests::examples;
use tests::fixtures::{self, Arrays};
use tests::running::{Running, best, exact};

/// Cuts two, three and four ways, of each kind and combined; the first add up nothing in another order.
const CUTS: [&str; 12] = [
    "pipeline:2",
    "pipeline:3",
    "pipeline:4",
    "data:2",
    "data:3",
    "data:4",
    "data:2,pipeline:2",
    "tensor:2",
    "tensor:3",
    "tensor:4",
    "pipeline:2,tensor:2",
    "data:2,tensor:2",
];
const EXACT: usize = 7;

/// By how much the best logit must lead for the greedy token to be certain.
const CERTAIN: f64 = 0.05;

macro_rules! models {
    ($($name:ident: $published:literal, $config:literal;)*) => { $(mod $name {
        use super::Published;

        fn model() -> Published {
            Published::open(stringify!($name), $published)
        }

        #[test]
        fn its_config_alone_has_the_same_shapes() {
            model().has_the_shapes_of($config);
        }

        #[test]
        fn logits_are_within_a_thousandth() {
            model().logits_agree();
        }

        #[test]
        fn greedy_tokens_are_equal_where_the_margin_is_wide() {
            model().greedy_agrees();
        }

        #[test]
        fn cuts_answer_as_the_whole() {
            model().cuts_agree();
        }

        #[test]
        fn exact_perplexity_is_within_a_thousandth() {
            model().exact_perplexity_agrees();
        }

        #[test]
        fn int8_activations_cost_half_a_percent_of_perplexity_at_most() {
            model().int8_perplexity_agrees();
        }

        #[test]
        fn a_prompt_beyond_the_window_is_read_right() {
            model().long_prompt_agrees();
        }
    })* };
}

models! {
    smollm2: "smollm2", "smollm2-135m";
    gemma3: "gemma3-270m", "gemma-3-270m";
}

struct Published {
    name: &'static str,
    checkpoint: Checkpoint,
}

fn int8(context: u32) -> Options {
    Options { activations: Activations::Int8, kv: DType::F16, ..exact(context) }
}

impl Published {
    fn open(name: &'static str, published: &str) -> Published {
        let checkpoint = Checkpoint::open(&fixtures::model(published)).unwrap_or_else(|e| panic!("{e}"));
        Published { name, checkpoint }
    }

    /// One thread: tests run side by side, and a team on a busy machine waits more than it computes.
    fn start(&self, options: Options) -> Running {
        Running::start(&self.checkpoint, options, 1)
    }

    fn json(&self, file: &str) -> Value {
        let path = fixtures::path(self.name).join(file);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    fn arrays(&self, file: &str) -> Arrays {
        Arrays::read(&format!("{}/{file}", self.name))
    }

    /// As one of the examples does, by which plans are made without the model.
    fn has_the_shapes_of(&self, config: &str) {
        let alone = examples::model(config);
        let shapes = |checkpoint: &Checkpoint| -> BTreeMap<String, String> {
            let made = models::step_graph(checkpoint, &exact(128)).unwrap_or_else(|e| panic!("{e}"));
            let shape = |n| match &made.graph[n].op {
                Op::Weight(weight) => Some((weight.name.clone(), format!("{:?}", weight.ty.shape))),
                _ => None,
            };
            made.graph.nodes().filter_map(shape).collect()
        };
        assert_eq!(shapes(&alone), shapes(&self.checkpoint));
        let rest = |config: &Config| {
            (config.context_length, config.rms_eps, config.rope.theta, config.window.clone())
        };
        assert_eq!(rest(&alone.config), rest(&self.checkpoint.config));
    }

    fn logits_agree(&self) {
        let known = self.arrays("logits.safetensors");
        let mut running = self.start(exact(64));
        let width = running.session.vocabulary();
        for prompt in ["p0", "p1"] {
            let ids = known.ints(&format!("{prompt}_ids"));
            let (at, values) =
                (known.ints(&format!("{prompt}_top_idx")), known.floats(&format!("{prompt}_top_val")));
            let sums = known.floats(&format!("{prompt}_lse"));
            let logits = running.step(0, 0, &ids);
            for (position, row) in logits.chunks(width).enumerate() {
                let largest = row.iter().fold(0f32, |m, v| m.max(v.abs()));
                let check = |what: &str, found: f64, expected: f32| {
                    let off = (found - f64::from(expected)).abs() / f64::from(largest);
                    assert!(
                        off < 1e-3,
                        "{prompt}, position {position}: {what} is {found}, expected {expected}"
                    );
                };
                for (token, expected) in at.iter().zip(&values).skip(64 * position).take(64) {
                    check(&format!("the logit of {token}"), row[*token as usize].into(), *expected);
                }
                check("the logarithm of the sum", log_sum(row), sums[position]);
            }
        }
    }

    /// Every token is fed from the reference, so that one step's difference is not all the next steps'.
    fn greedy_agrees(&self) {
        let greedy = self.json("greedy.json");
        let mut running = self.start(exact(128));
        let width = running.session.vocabulary();
        let mut certain = 0;
        for case in greedy["cases"].as_array().expect("cases") {
            let ints = |key: &str| -> Vec<i32> {
                let values = case[key].as_array().expect("ids").iter();
                values.map(|v| v.as_i64().expect("an id") as i32).collect()
            };
            let (prompt, expected) = (ints("prompt_ids"), ints("out_ids"));
            let margins = case["top1_minus_top2"].as_array().expect("margins");
            let mut logits = running.step(0, 0, &prompt);
            for (at, (token, margin)) in expected.iter().zip(margins).enumerate() {
                if margin.as_f64().expect("a margin") > CERTAIN {
                    certain += 1;
                    let found = best(&logits[logits.len() - width..]);
                    assert_eq!(found, *token, "token {at} after {}", case["prompt"]);
                }
                logits = running.step(0, prompt.len() + at, &[*token]);
            }
        }
        assert!(certain > 300, "only {certain} of the reference's tokens are certain");
    }

    fn cuts_agree(&self) {
        let greedy = self.json("greedy.json");
        let ids = greedy["cases"][0]["prompt_ids"].as_array().expect("ids").iter();
        let prompt: Vec<i32> = ids.map(|id| id.as_i64().expect("an id") as i32).collect();
        let (whole, expected) = self.answer("none", &prompt);
        for (at, cut) in CUTS.into_iter().enumerate() {
            let (tokens, logits) = self.answer(cut, &prompt);
            assert_eq!(tokens, whole, "cut by {cut}");
            for (found, expected) in logits.iter().zip(&expected) {
                let largest = expected.iter().fold(0f32, |most, v| most.max(v.abs()));
                let far = |(a, b): &(&f32, &f32)| match at < EXACT {
                    true => a.to_bits() != b.to_bits(),
                    false => (*a - *b).abs() > 1e-4 * largest,
                };
                assert_eq!(found.iter().zip(expected).find(far), None, "cut by {cut}");
            }
        }
    }

    /// Tokens behind a prompt of the second sequence, which is not the first replica's, and the logits of each.
    fn answer(&self, cut: &str, prompt: &[i32]) -> (Vec<i32>, Vec<Vec<f32>>) {
        let partition: Partition = cut.parse().expect("a cut");
        let options = Options { partition, micro_batches: partition.pipeline, max_batch: 4, ..exact(128) };
        let devices: Vec<Device> = (0..partition.devices()).map(|number| Device::cpu(number, 1)).collect();
        let mut running = Running::on(&self.checkpoint, options, &devices);
        let width = running.session.vocabulary();
        let mut row = |at, tokens: &[i32]| {
            let logits = running.step(1, at, tokens);
            logits[logits.len() - width..].to_vec()
        };
        let mut all = vec![row(0, prompt)];
        let mut tokens = vec![];
        for at in (prompt.len()..).take(8) {
            tokens.push(best(all.last().expect("the prompt's")));
            all.push(row(at, &tokens[tokens.len() - 1..]));
        }
        (tokens, all)
    }

    fn exact_perplexity_agrees(&self) {
        let (found, expected) = self.perplexity(exact(512));
        assert!((found / expected - 1.0).abs() < 1e-3, "perplexity is {found}, expected {expected}");
    }

    fn int8_perplexity_agrees(&self) {
        let (found, expected) = self.perplexity(int8(512));
        assert!(found / expected < 1.005, "perplexity is {found}, in f32 {expected}");
    }

    /// Perplexity by the reference's protocol, found and expected.
    fn perplexity(&self, options: Options) -> (f64, f64) {
        let known = self.json("ppl.json");
        let text = std::fs::read_to_string(fixtures::path("moby_dick_ch1.txt")).expect("the text");
        let tokenizer = self.checkpoint.tokenizer().unwrap_or_else(|e| panic!("{e}"));
        let ids = tokenizer.encode(&text, SpecialTokens::AsText).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(Some(ids.len() as u64), known["total_tokens_in_file"].as_u64(), "tokens in the text");
        let begin: Vec<i32> =
            tokenizer.bos().filter(|_| tokenizer.add_bos()).map(|b| b as i32).into_iter().collect();
        let ids: Vec<i32> = ids.into_iter().map(|id| id as i32).collect();
        let windows = known["windows"].as_u64().expect("a count") as usize;
        let mut running = self.start(options);
        let mut nll = 0.0;
        let mut scored = 0;
        for window in ids.chunks(512 - begin.len()).take(windows) {
            let window = [&begin[..], window].concat();
            let each = running.surprise(&window);
            nll += each.iter().sum::<f64>();
            scored += each.len();
        }
        assert_eq!(Some(scored as u64), known["tokens"].as_u64(), "scored tokens");
        ((nll / scored as f64).exp(), known["ppl"].as_f64().expect("a perplexity"))
    }

    fn long_prompt_agrees(&self) {
        let known = self.arrays("long.safetensors");
        let (ids, expected) = (known.ints("ids"), known.floats("nll"));
        let found = self.start(exact(ids.len() as u32)).surprise(&ids);
        assert_eq!(found.len(), expected.len());
        for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let off = (found - f64::from(*expected)).abs();
            assert!(off < 2e-2, "token {} costs {found} nats, expected {expected}", at + 1);
        }
    }
}

/// The logarithm of the sum of the exponentials.
fn log_sum(row: &[f32]) -> f64 {
    let most = row.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
    f64::from(most) + row.iter().map(|v| f64::from(v - most).exp()).sum::<f64>().ln()
}

trait Surprise {
    /// The negative logarithm of each token's probability, given those before it.
    fn surprise(&mut self, ids: &[i32]) -> Vec<f64>;
}

impl Surprise for Running {
    fn surprise(&mut self, ids: &[i32]) -> Vec<f64> {
        let width = self.session.vocabulary();
        let chunk = self.session.max("n").min(self.session.max("m"));
        let mut all = vec![];
        for (at, tokens) in ids.chunks(chunk).enumerate() {
            let logits = self.step(0, at * chunk, tokens);
            let next = ids[at * chunk + 1..].iter();
            all.extend(
                logits.chunks(width).zip(next).map(|(row, &id)| log_sum(row) - f64::from(row[id as usize])),
            );
        }
        all
    }
}
