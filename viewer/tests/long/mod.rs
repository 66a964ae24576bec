//! A plan of any length and a run of it: the steps of a short one, again and again.
use ir::plan::{Arg, Buffer, BufferId, Plan, Step};
use serde_json::{Value, json};

/// The steps of a plan, so many times, in buffers and layers of their own; and `rounds` rounds as `heddle trace` writes
/// them.
pub(crate) fn plan_and_trace(short: &Plan, times: u32, rounds: u32) -> (Plan, String) {
    let mut long = short.clone();
    let own = short.buffers.len() as u32;
    let moved = |id: BufferId, copy: u32| BufferId(id.0 + copy * own);
    let buffers = |copy: u32| {
        short.buffers.iter().map(move |buffer| Buffer { id: moved(buffer.id, copy), ..buffer.clone() })
    };
    long.buffers = (0..times).flat_map(buffers).collect();
    for (thread, of) in long.threads.iter_mut().zip(&short.threads) {
        let steps = |copy: u32| {
            of.steps.iter().map(move |step| match step {
                Step::Recv { edge, to } => Step::Recv { edge: *edge, to: moved(*to, copy) },
                Step::Send { edge, from } => Step::Send { edge: *edge, from: moved(*from, copy) },
                Step::Run { kernel, args, node } => {
                    let shift =
                        |arg: &Arg| if let Arg::B(id) = arg { Arg::B(moved(*id, copy)) } else { *arg };
                    Step::Run {
                        kernel: *kernel,
                        args: args.iter().map(shift).collect(),
                        node: again(node, copy),
                    }
                }
            })
        };
        thread.steps = (0..times).flat_map(steps).collect();
    }
    let trace = trace(&long, rounds);
    (long, trace)
}

/// A path in the layers of a copy, of which each has a hundred.
fn again(path: &str, copy: u32) -> String {
    let layer = path.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
    let number = layer.and_then(|(number, rest)| Some((number.parse::<u32>().ok()?, rest)));
    number.map_or_else(|| path.to_owned(), |(number, rest)| format!("blk.{}.{rest}", number + 100 * copy))
}

fn trace(plan: &Plan, rounds: u32) -> String {
    let mut events: Vec<Value> = vec![];
    for (thread, of) in plan.threads.iter().enumerate() {
        let row = |cat: &str, name: &str, ts: f64, dur: f64, args: Value| json!({"ph":"X","pid":1,"tid":thread + 1,"ts":ts,"dur":dur,"name":name,"cat":cat,"args":args});
        for round in 0..rounds {
            let begin = f64::from(round) * of.steps.len() as f64;
            events.push(row("round", "decode", begin, of.steps.len() as f64, json!({})));
            for (at, step) in of.steps.iter().enumerate() {
                let (cat, name) = match step {
                    Step::Run { node, .. } => ("kernel", node.as_str()),
                    Step::Send { .. } => ("send", "send"),
                    Step::Recv { .. } => ("receive", "receive"),
                };
                let args = json!({"step":at,"predicted_us":0.5});
                events.push(row(cat, name, begin + at as f64, 0.9, args));
            }
        }
    }
    json!({"traceEvents":events,"otherData":{"plan":plan.hash(),"predictions":""}}).to_string()
}
