//! A model compiled for devices as somebody chose them, or for the best there is, with what memory they have free now.
use crate::choices::{Compilation, Steps};
use crate::chosen::{self, Made};
use crate::devices::{self, Candidate};
use crate::placement::Cut;
use crate::{calibrate, spill};
use anyhow::anyhow;
use compiler::import::Checkpoint;
use compiler::{Aim, CompileError, Compiled};
use ir::plan::{Device, Options, Partition, Plan};
use passes::simulate::Load;

impl Compilation {
    /// Compiles a checkpoint so; where nobody says on what, for the best device that has room for it.
    pub(crate) fn compile(&self, checkpoint: &Checkpoint, steps: Steps) -> anyhow::Result<Compiled> {
        let gpus = if self.is_open() { devices::candidates()? } else { vec![] };
        if gpus.is_empty() {
            return self.compile_as_said(checkpoint, steps);
        }
        let kept = devices::calibration();
        let is_known = |name: &str| kept.is_some_and(|known| known.device(name).is_some());
        let measured = is_known("cpu:0") && gpus.iter().all(|gpu| is_known(&gpu.device.name));
        let mut make = |gpu: Option<&Candidate>| {
            let own = match gpu {
                Some(gpu) => self.on(gpu.device.clone()),
                None => self.clone(),
            };
            let (options, devices, cut) = own.options(checkpoint.config.context_length, steps);
            let made = own.compile_on(checkpoint, &options, &devices, cut)?;
            let token_ns = if measured { token_ns(&made.plan) } else { None };
            Ok(Made { needed_bytes: chosen::needed_bytes(&made.plan), token_ns, what: made })
        };
        let (compiled, why) = chosen::choose(&gpus, measured, &mut make)?;
        Ok(chosen::noted(compiled, why))
    }

    /// Compiles a checkpoint for the devices that are named, of which GPUs have what is free of their memory now.
    fn compile_as_said(&self, checkpoint: &Checkpoint, steps: Steps) -> anyhow::Result<Compiled> {
        let (options, mut devices, cut) = self.options(checkpoint.config.context_length, steps);
        if self.placement.file().is_none() {
            devices = devices::described(devices);
        }
        let compiled = match self.compile_on(checkpoint, &options, &devices, cut) {
            Ok(compiled) if self.is_roomy(&compiled.plan, &devices) => compiled,
            // What is free now is a limit like one that somebody states; only where it is one is it in the plan.
            Ok(_) => {
                let bounded = |d: &Device| d.memory.into_iter().chain(devices::free_bytes(d, &devices)).min();
                let bounded = devices.iter().map(|d| Device { memory: bounded(d), ..d.clone() });
                devices = bounded.collect();
                let compiled = self.compile_on(checkpoint, &options, &devices, cut);
                compiled.map_err(|error| self.with_advice(error, checkpoint, &options, &devices))?
            }
            Err(error) => return Err(self.with_advice(error, checkpoint, &options, &devices)),
        };
        Ok(spill::noted(compiled, checkpoint, &devices, self.placement.topology()))
    }

    /// Whether GPUs of this machine have the memory free that a plan takes there.
    fn is_roomy(&self, plan: &Plan, devices: &[Device]) -> bool {
        self.placement.file().is_some()
            || plan.memory.iter().all(|proof| {
                let device = plan.devices.get(proof.device.0 as usize);
                let free = device.and_then(|device| devices::free_bytes(device, devices));
                free.is_none_or(|free| plan.on_device(proof) <= free)
            })
    }

    /// Whether a plan that was kept for the devices that are named still suits the memory that GPUs have free now: it
    /// has room, and nothing is elsewhere that would have room again.
    pub(crate) fn still_suits(&self, plan: &Plan) -> bool {
        if self.is_open() || self.placement.file().is_some() {
            return true;
        }
        let (devices, _) = self.placement.decide(self.team());
        let gpu = devices.iter().find(|device| !device.kind.is_cpu());
        let gpu = gpu.filter(|gpu| gpu.memory.or(self.memory).is_none());
        let free = gpu.and_then(|gpu| devices::free_bytes(gpu, &devices));
        let has_room_again = free.zip(spill::needed_bytes(plan)).is_some_and(|(free, needed)| needed <= free);
        self.is_roomy(plan, &devices) && !has_room_again
    }

    /// The error; where one GPU alone has no room, with devices that together have it.
    fn with_advice(
        &self,
        error: anyhow::Error,
        checkpoint: &Checkpoint,
        options: &Options,
        devices: &[Device],
    ) -> anyhow::Error {
        let [gpu] = devices else { return error };
        let lacks = matches!(error.downcast_ref(), Some(CompileError::Budget { .. }));
        if !lacks || gpu.kind.is_cpu() || self.placement.file().is_some() {
            return error;
        }
        let threads = self.team();
        let beside = [gpu.clone(), Device::cpu(1, threads)];
        let partition = Partition { pipeline: 2, ..Partition::WHOLE };
        let cut = Options { partition, micro_batches: 2, ..options.clone() };
        match compiler::compile(checkpoint, cut, &beside) {
            Ok(_) => anyhow!(
                "{error}; or --devices \"{},cpu:0[threads={threads}]\", which places there what fits, and the rest on the \
                 processor",
                self.placement.listed().unwrap_or_else(|| gpu.name.clone())
            ),
            Err(_) => error,
        }
    }

    fn compile_on(
        &self,
        checkpoint: &Checkpoint,
        options: &Options,
        devices: &[Device],
        cut: Cut,
    ) -> anyhow::Result<Compiled> {
        if let Cut::Named(_) = cut {
            let file = self.placement.file();
            let compiled = match file {
                Some((_, topology)) => compiler::compile_over(checkpoint, options.clone(), devices, topology),
                None => compiler::compile(checkpoint, options.clone(), devices),
            };
            let compiled = compiled.map_err(|e| self.placement.explain(e))?;
            // Devices that nothing joins would never hear of one another.
            if let Some((path, topology)) = file {
                calibrate::for_plan(topology.clone(), Some(path), &compiled.plan)?;
            }
            return Ok(compiled);
        }
        let topology = self.topology(devices)?;
        let aim = Aim { topology: &topology, objective: self.placement.objective(options.max_batch) };
        compiler::compile_auto(checkpoint, options, devices, aim).map_err(|e| self.placement.explain(e))
    }
}

/// What a token is predicted to take, behind half the context or what is much for a conversation.
fn token_ns(plan: &Plan) -> Option<u64> {
    let topology = calibrate::for_plan(devices::calibration()?.clone(), None, plan).ok()?;
    let load = Load { sequences: plan.options.max_batch, prompt: (plan.options.context / 2).min(512) };
    Some(load.predict(plan, &topology).ok()?.token_ns as u64)
}
