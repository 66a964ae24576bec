//! What it costs that a model does not fit the GPU that is named first, and layers of it are elsewhere.
use crate::inspect::layers;
use crate::{calibrate, devices, output};
use compiler::import::Checkpoint;
use compiler::{Compiled, Source, compile_from};
use ir::plan::{Device, DeviceId, Driver, Instead, Options, Partition, Plan, Why};
use ir::topology::Topology;
use passes::simulate::Load;

/// What a plan's decision is about.
const ABOUT: &str = "spill";
/// Tokens that the token is behind that is predicted.
const CACHED: u32 = 512;

/// The plan with what the rest costs that a GPU of `all` has no room for, where a processor has it; in time where the
/// devices were measured.
pub(crate) fn noted(
    mut compiled: Compiled,
    checkpoint: &Checkpoint,
    all: &[Device],
    topology: Option<&Topology>,
) -> Compiled {
    let plan = &compiled.plan;
    let is_bounded = |device: &&Device| device.memory.or(plan.options.memory).is_some();
    let gpu = all.iter().filter(|device| !device.kind.is_cpu()).find(is_bounded);
    if let (Some(gpu), true) = (gpu, plan.devices.iter().any(|device| device.kind.is_cpu())) {
        let topology = if topology.is_some() { topology } else { devices::calibration() };
        let why = Whole { checkpoint, plan, topology }.why(gpu, all.iter().find(|d| d.kind.is_cpu()));
        // It could have been there, and is not for another reason.
        if why.instead.iter().any(|other| other.needed_bytes.is_some()) {
            compiled.plan.why.push(why);
        }
    }
    compiled
}

/// A plan over several devices beside those of one.
struct Whole<'a> {
    checkpoint: &'a Checkpoint,
    plan: &'a Plan,
    topology: Option<&'a Topology>,
}

impl Whole<'_> {
    fn why(&self, gpu: &Device, cpu: Option<&Device>) -> Why {
        let load = Load { sequences: 1, prompt: CACHED.min(self.plan.options.context / 2) };
        let shares = self.shares(load);
        let chosen = self.plan.threads.iter().enumerate().map(|(at, thread)| {
            let device = &self.plan.devices[thread.device.0 as usize];
            let of = match layers(thread) {
                Some((first, last)) if first < last => format!("layers {first} to {last}"),
                Some((only, _)) => format!("layer {only}"),
                None => "no layer".to_owned(),
            };
            let time = shares.as_ref().and_then(|all| all.get(at)).map(|ns| format!(" in {}", time(*ns)));
            format!("{} with {of}{}", device.name, time.unwrap_or_default())
        });
        let token_ns = self.token_ns(self.plan, load);
        let measure = match token_ns {
            Some(_) => format!("a token behind {} others", load.prompt),
            None => String::new(),
        };
        let mut instead: Vec<Instead> =
            [Some(gpu), cpu].into_iter().flatten().filter_map(|device| self.alone(device, load)).collect();
        instead.sort_by_key(|other| other.predicted_ns.unwrap_or(u64::MAX));
        let chosen = chosen.collect::<Vec<_>>().join(", ");
        Why { about: ABOUT.into(), chosen, predicted_ns: token_ns.unwrap_or(0), measure, instead }
    }

    /// What each thread works for a token.
    fn shares(&self, load: Load) -> Option<Vec<u64>> {
        let topology = calibrate::for_plan(self.topology?.clone(), None, self.plan).ok()?;
        let predicted = load.predict(self.plan, &topology).ok()?;
        let of =
            |run: &passes::simulate::ThreadUse| (run.busy_ns / f64::from(predicted.tokens.max(1))) as u64;
        Some(predicted.decode.threads.iter().map(of).collect())
    }

    fn token_ns(&self, plan: &Plan, load: Load) -> Option<u64> {
        let topology = calibrate::for_plan(self.topology?.clone(), None, plan).ok()?;
        Some(load.predict(plan, &topology).ok()?.token_ns as u64)
    }

    /// All of it on one of the devices, if that had the room.
    fn alone(&self, device: &Device, load: Load) -> Option<Instead> {
        let driver = Driver { value_bytes: None, ..device.driver };
        let alone = Device { id: DeviceId(0), memory: None, driver, ..device.clone() };
        let options = Options {
            partition: Partition::WHOLE,
            micro_batches: 1,
            memory: None,
            hints: vec![],
            ..self.plan.options.clone()
        };
        let source = Source::of_plan(self.checkpoint, self.plan);
        let made = compile_from(&source, options, &[alone], self.topology).ok()?.plan;
        let needed = made.memory.iter().map(|proof| made.on_device(proof)).max().unwrap_or(0);
        let room = self.plan.options.memory.into_iter().chain(device.memory).min();
        let lacks = room.map_or(0, |room| needed.saturating_sub(room));
        let predicted_ns = self.token_ns(&made, load);
        let needed_bytes = (lacks > 0).then_some(needed);
        let all = format!("all of it on {}", device.name);
        let (what, reason) = match (predicted_ns, lacks) {
            (_, 0) => (all, String::new()),
            (Some(_), _) => (format!("{all}, if that had {lacks} bytes more,"), String::new()),
            (None, _) => (all, format!("that lacks {lacks} bytes")),
        };
        let is_told = predicted_ns.is_some() || lacks > 0;
        is_told.then_some(Instead { what, predicted_ns, reason, needed_bytes })
    }
}

/// Bytes that a GPU would have to have for what is elsewhere now.
pub(crate) fn needed_bytes(plan: &Plan) -> Option<u64> {
    let why = plan.why.iter().find(|why| why.about == ABOUT)?;
    why.instead.iter().find_map(|other| other.needed_bytes)
}

/// Says what the rest costs, where a plan has one.
pub(crate) fn say(plan: &Plan) {
    let Some(why) = plan.why.iter().find(|why| why.about == ABOUT) else { return };
    let clause = |other: &Instead| match other.predicted_ns {
        Some(ns) => format!("; {} would take {}", other.what, time(ns)),
        None => format!("; not {}: {}", other.what, other.reason),
    };
    let others: String = why.instead.iter().map(clause).collect();
    let cost = match why.measure.is_empty() {
        true => "what that costs `heddle devices --calibrate` must measure".to_owned(),
        false => format!("{} is predicted to take {}", why.measure, time(why.predicted_ns)),
    };
    note!("what does not fit is elsewhere: {}; {cost}{}", output::plain(&why.chosen), output::plain(&others));
}

fn time(ns: u64) -> String {
    format!("{:.3} ms", ns as f64 / 1e6)
}
