//! The device of a model that nobody named one for: the best single one that is here and whose memory the proof admits.
use crate::devices::{Candidate, candidates};
use crate::output;
use compiler::{CompileError, Compiled};
use ir::plan::{Instead, Plan, Why};

/// What a plan's decision is about.
const ABOUT: &str = "device";
/// Who is left where no GPU is taken.
const CPU: &str = "cpu:0";

/// What was made for one device, and what it is predicted to take for a token, if that can be said.
pub(crate) struct Made<T> {
    pub(crate) what: T,
    /// Bytes of the device's memory.
    pub(crate) needed_bytes: u64,
    pub(crate) token_ns: Option<u64>,
}

/// How something is made for a GPU, or for the processor.
type Make<'a, T> = &'a mut dyn FnMut(Option<&Candidate>) -> anyhow::Result<Made<T>>;

/// Makes something for the best of some GPUs, given the best first, that has room for it, else for the processor. Where
/// all that fit are `measured`, what is predicted to be fastest is the best. What was decided comes with it.
pub(crate) fn choose<T>(gpus: &[Candidate], measured: bool, make: Make<'_, T>) -> anyhow::Result<(T, Why)> {
    let mut instead = vec![];
    let mut fitting = vec![];
    for gpu in gpus {
        match fit(gpu, make) {
            Ok(made) => fitting.push((gpu.device.name.clone(), made)),
            Err(refused) => instead.push(refused),
        }
        if !measured && !fitting.is_empty() {
            break;
        }
    }
    if measured || fitting.is_empty() {
        match make(None) {
            Ok(made) => fitting.push((CPU.to_owned(), made)),
            Err(error) if fitting.is_empty() => return Err(with_refused(error, &instead, gpus)),
            Err(error) => {
                let (reason, what) = (output::explain(&error), CPU.to_owned());
                instead.push(Instead { what, predicted_ns: None, reason, needed_bytes: None });
            }
        }
    }
    let times: Option<Vec<u64>> = fitting.iter().map(|(_, made)| made.token_ns).collect();
    let best = times.as_ref().and_then(|times| (0..times.len()).min_by_key(|at| times[*at]));
    let (chosen, made) = fitting.remove(best.unwrap_or(0));
    if times.is_some() {
        let slower = |(what, made): (String, Made<T>)| {
            let (predicted_ns, reason) = (made.token_ns, String::new());
            Instead { what, predicted_ns, reason, needed_bytes: None }
        };
        instead.extend(fitting.into_iter().map(slower));
        instead.sort_by_key(|other| other.predicted_ns.unwrap_or(u64::MAX));
    }
    let measure = if times.is_some() { "a token" } else { "" };
    let predicted_ns = times.and(made.token_ns).unwrap_or(0);
    let why = Why { about: ABOUT.into(), chosen, predicted_ns, measure: measure.into(), instead };
    Ok((made.what, why))
}

/// An error of the processor, with why none of the GPUs before it was taken.
fn with_refused(error: anyhow::Error, instead: &[Instead], gpus: &[Candidate]) -> anyhow::Error {
    let refused: Vec<String> = instead.iter().filter_map(|other| refusal(other, gpus)).collect();
    match &refused[..] {
        [] => error,
        _ => error.context(format!("no device has room: {}", refused.join("; "))),
    }
}

/// Something for a GPU, or why it is not taken.
fn fit<T>(gpu: &Candidate, make: Make<'_, T>) -> Result<Made<T>, Instead> {
    let refused = |needed_bytes, reason| Instead {
        what: gpu.device.name.clone(),
        predicted_ns: None,
        reason,
        needed_bytes,
    };
    if let Some(obstacle) = &gpu.obstacle {
        return Err(refused(None, obstacle.clone()));
    }
    let made = make(Some(gpu)).map_err(|error| match error.downcast_ref() {
        Some(CompileError::Budget { needed, budget, .. }) => {
            refused(None, format!("the plan takes {} bytes more than it may there", needed - budget))
        }
        _ => refused(None, output::explain(&error)),
    })?;
    match made.needed_bytes > gpu.free_bytes {
        true => Err(refused(Some(made.needed_bytes), "it has too little room".into())),
        false => Ok(made),
    }
}

/// The most that a plan takes of the first device's own memory.
pub(crate) fn needed_bytes(plan: &Plan) -> u64 {
    let first = plan.memory.first().map(|proof| proof.device);
    let own = plan.memory.iter().filter(|proof| Some(proof.device) == first);
    own.map(|proof| plan.on_device(proof)).max().unwrap_or(0)
}

/// The plan with why it is on its device.
pub(crate) fn noted(mut compiled: Compiled, why: Why) -> Compiled {
    compiled.plan.why.push(why);
    compiled
}

fn decision(plan: &Plan) -> Option<&Why> {
    plan.why.iter().find(|why| why.about == ABOUT)
}

/// Whether a plan that was kept is on the device that would be taken now: what had no room for it may have it now, and
/// what had may not.
pub(crate) fn is_still_best(plan: &Plan, gpus: &[Candidate]) -> bool {
    let Some(why) = decision(plan) else { return gpus.is_empty() };
    let needed =
        |name: &str| why.instead.iter().find(|other| other.what == name).and_then(|o| o.needed_bytes);
    gpus.iter().all(|gpu| match gpu.device.name == why.chosen {
        true => needed_bytes(plan) <= gpu.free_bytes,
        false => needed(&gpu.device.name).is_none_or(|needed| needed > gpu.free_bytes),
    })
}

/// Says on which device a plan is that nobody named one for, and which GPUs were not taken, where there are any.
pub(crate) fn say(plan: &Plan) -> anyhow::Result<()> {
    if let Some(why) = decision(plan) {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        note!("{}", sentence(why, &candidates()?, threads));
    }
    Ok(())
}

/// What a GPU is called, or another device.
fn called(name: &str, gpus: &[Candidate]) -> String {
    match gpus.iter().find(|gpu| gpu.device.name == name) {
        Some(gpu) => format!("{name} ({})", output::plain(&gpu.model)),
        None => name.to_owned(),
    }
}

/// Why a device was not taken, unless another is only faster.
fn refusal(other: &Instead, gpus: &[Candidate]) -> Option<String> {
    let what = called(&other.what, gpus);
    let free = gpus.iter().find(|gpu| gpu.device.name == other.what).map(|gpu| gpu.free_bytes);
    Some(match (other.needed_bytes, free) {
        (Some(needed), Some(free)) => format!(
            "{what} lacks {} bytes: the plan takes {needed} there, {free} are free",
            needed.saturating_sub(free)
        ),
        _ if other.predicted_ns.is_some() => return None,
        _ => format!("{what} cannot be taken: {}", output::plain(&other.reason)),
    })
}

fn sentence(why: &Why, gpus: &[Candidate], threads: usize) -> String {
    let mut said: Vec<String> = why.instead.iter().filter_map(|other| refusal(other, gpus)).collect();
    let advice = match gpus.iter().find(|gpu| gpu.device.name == why.chosen) {
        Some(_) => format!("; --threads {threads} takes the processor"),
        None => String::new(),
    };
    said.push(format!("taking {}{advice}", called(&why.chosen, gpus)));
    said.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::plan::Device;
    use ir::topology::Kind;

    fn gpu(name: &str, free_bytes: u64) -> Candidate {
        let device = Device { name: name.into(), kind: Kind::Gpu, ..Device::cpu(0, 1) };
        Candidate { device, model: "a card".into(), free_bytes, obstacle: None }
    }

    /// Makes the name of the device, which takes 100 bytes there, and as many nanoseconds as `times` say.
    fn take(gpus: &[Candidate], times: Option<&[(&str, u64)]>) -> (String, String) {
        let (what, why) = choose(gpus, times.is_some(), &mut |gpu| {
            let what = gpu.map_or("cpu:0", |gpu| &gpu.device.name).to_owned();
            let time = times.and_then(|times| times.iter().find(|(name, _)| *name == what));
            Ok(Made { needed_bytes: 100, token_ns: time.map(|time| time.1), what })
        })
        .unwrap();
        assert_eq!(what, why.chosen);
        (what, sentence(&why, gpus, 4))
    }

    #[test]
    fn the_best_that_has_room_is_taken_and_what_has_none_is_told_with_what_it_lacks() {
        let (taken, said) = take(&[gpu("cuda:0", 100), gpu("vulkan:1", 900)], None);
        assert_eq!(taken, "cuda:0");
        assert_eq!(said, "taking cuda:0 (a card); --threads 4 takes the processor");
        let (taken, said) = take(&[gpu("cuda:0", 70), gpu("vulkan:1", 900)], None);
        assert_eq!(taken, "vulkan:1");
        assert_eq!(
            said,
            "cuda:0 (a card) lacks 30 bytes: the plan takes 100 there, 70 are free; \
             taking vulkan:1 (a card); --threads 4 takes the processor"
        );
        let broken = Candidate { obstacle: Some("NVRTC is missing".into()), ..gpu("cuda:0", 900) };
        let (taken, said) = take(&[broken, gpu("vulkan:1", 99)], None);
        assert_eq!(taken, "cpu:0");
        assert_eq!(
            said,
            "cuda:0 (a card) cannot be taken: NVRTC is missing; \
             vulkan:1 (a card) lacks 1 bytes: the plan takes 100 there, 99 are free; taking cpu:0"
        );
    }

    #[test]
    fn a_processor_without_room_is_no_fault_of_a_gpu_that_has_it() {
        let make = |fits: bool| {
            move |gpu: Option<&Candidate>| match gpu {
                Some(_) if fits => Ok(Made { what: (), needed_bytes: 100, token_ns: Some(7) }),
                Some(_) => Ok(Made { what: (), needed_bytes: 170, token_ns: Some(7) }),
                None => anyhow::bail!("the plan takes too much of cpu:0"),
            }
        };
        let gpus = [gpu("cuda:0", 100)];
        let (_, why) = choose(&gpus, true, &mut make(true)).unwrap();
        assert_eq!(
            sentence(&why, &gpus, 4),
            "cpu:0 cannot be taken: the plan takes too much of cpu:0; \
             taking cuda:0 (a card); --threads 4 takes the processor"
        );
        for measured in [true, false] {
            let nobody = choose(&gpus, measured, &mut make(false)).unwrap_err();
            assert_eq!(
                format!("{nobody:#}"),
                "no device has room: cuda:0 (a card) lacks 70 bytes: the plan takes 170 there, 100 are free: \
                 the plan takes too much of cpu:0"
            );
        }
    }

    #[test]
    fn of_those_that_were_measured_the_fastest_is_taken() {
        let gpus = [gpu("cuda:0", 100), gpu("vulkan:1", 100), gpu("vulkan:2", 10)];
        let times = [("cuda:0", 30), ("vulkan:1", 20), ("vulkan:2", 1), ("cpu:0", 25)];
        let (taken, said) = take(&gpus, Some(&times));
        assert_eq!(taken, "vulkan:1");
        assert!(said.starts_with("vulkan:2 (a card) lacks 90 bytes") && !said.contains("cuda:0"), "{said}");
        assert_eq!(take(&gpus, Some(&[("cuda:0", 30), ("vulkan:1", 20), ("cpu:0", 9)])).0, "cpu:0");
        // Where one of them was not, nothing can be compared.
        assert_eq!(take(&gpus, Some(&[("cuda:0", 30), ("cpu:0", 9)])).0, "cuda:0");
    }
}
