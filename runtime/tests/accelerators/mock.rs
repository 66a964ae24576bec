//! An accelerator that is none: a memory of its own, and a queue in which everything waits until somebody asks for what
//! comes of it.
use crate::plans::{Built, Deed, WIDTH, top_k};
use ir::plan::{Arg, BufferId, Plan, Step, Thread, WeightId};
use runtime::{Accelerator, DeviceError};
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Computes a kernel: its number, its inputs, its output, the symbols' values.
type Compute = Box<dyn FnMut(usize, &[&[u8]], &mut [u8], &[i64]) + Send>;

/// What a mock was asked, in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Asked {
    Load,
    Write(BufferId, usize),
    Run(Range<usize>, Vec<i64>),
    Read(BufferId, usize),
    Wait,
    /// It was dropped.
    Leave,
}

/// What befalls a mock, and when.
pub(crate) enum Trouble {
    Load(DeviceError),
    PanicInLoad,
    /// When it is asked to run steps for the so manieth time, from 0.
    Run(usize, DeviceError),
    PanicInRun(usize),
    /// A run that seemed to go well fails when it is its turn.
    Late(usize, DeviceError),
    PanicInRead,
    /// It does not return until there is nobody left to say more.
    Block(Receiver<()>),
}

pub(crate) struct Mock {
    compute: Compute,
    trouble: Option<Trouble>,
    asked: Arc<Mutex<Vec<Asked>>>,
    runs: usize,
    held_bytes: u64,
    steps: Vec<Step>,
    weights: HashMap<WeightId, Vec<u8>>,
    buffers: HashMap<BufferId, Vec<u8>>,
    queue: VecDeque<Task>,
}

/// What waits in the queue.
enum Task {
    Write(BufferId, Vec<u8>),
    Run(Range<usize>, Vec<i64>),
    Fail(DeviceError),
}

impl Mock {
    /// A mock for a plan's kernels, each of which takes some time; and what it will have been asked.
    pub(crate) fn new(
        built: &Built,
        delay: Duration,
        trouble: Option<Trouble>,
    ) -> (Box<Mock>, Arc<Mutex<Vec<Asked>>>) {
        let (asked, deeds) = (Arc::new(Mutex::new(vec![])), built.deeds.clone());
        let compute = move |kernel: usize, inputs: &[&[u8]], output: &mut [u8], syms: &[i64]| {
            std::thread::sleep(delay);
            compute(deeds[kernel], inputs, output, syms);
        };
        let mock = Mock {
            compute: Box::new(compute),
            trouble,
            asked: asked.clone(),
            runs: 0,
            held_bytes: 0,
            steps: vec![],
            weights: HashMap::new(),
            buffers: HashMap::new(),
            queue: VecDeque::new(),
        };
        (Box::new(mock), asked)
    }

    fn is_asked(&self, asked: Asked) {
        self.asked.lock().expect("nobody panics with it").push(asked);
    }

    /// Does what waits in the queue.
    fn drain(&mut self) -> Result<(), DeviceError> {
        while let Some(task) = self.queue.pop_front() {
            match task {
                Task::Write(to, bytes) => {
                    self.buffers.get_mut(&to).expect("a buffer of its own")[..bytes.len()]
                        .copy_from_slice(&bytes);
                }
                Task::Run(steps, syms) => steps.for_each(|step| self.step(step, &syms)),
                Task::Fail(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn step(&mut self, step: usize, syms: &[i64]) {
        let Step::Run { kernel, args, .. } = &self.steps[step] else { panic!("step {step} runs nothing") };
        let Some((Arg::B(output), inputs)) = args.split_last() else { panic!("step {step} has no output") };
        let mut result = self.buffers.remove(output).expect("a buffer of its own");
        let inputs: Vec<&[u8]> = inputs
            .iter()
            .map(|arg| match arg {
                Arg::W(id) => &self.weights[id][..],
                Arg::B(id) => &self.buffers[id],
                Arg::S(_) => unreachable!("there are no states"),
            })
            .collect();
        (self.compute)(kernel.0 as usize, &inputs, &mut result, syms);
        self.buffers.insert(*output, result);
    }
}

impl Accelerator for Mock {
    fn load(&mut self, plan: &Plan, thread: &Thread, weights: &[u8]) -> Result<(), DeviceError> {
        self.is_asked(Asked::Load);
        match self.trouble.take_if(|t| matches!(t, Trouble::Load(_) | Trouble::PanicInLoad)) {
            Some(Trouble::Load(error)) => return Err(error),
            Some(_) => panic!("on purpose"),
            None => {}
        }
        let device = thread.device;
        for weight in plan.weights.iter().filter(|w| w.device == device) {
            let bytes = &weights[weight.offset as usize..][..weight.bytes as usize];
            self.weights.insert(weight.id, bytes.to_vec());
            self.held_bytes += weight.bytes;
        }
        // What nobody has written is no number.
        let own = plan.buffers.iter().filter(|b| b.device == device);
        self.buffers = own.map(|b| (b.id, vec![0xff; b.bytes as usize])).collect();
        self.steps = thread.steps.clone();
        self.held_bytes += thread.arena_bytes;
        Ok(())
    }

    fn write(&mut self, to: BufferId, bytes: &[u8]) -> Result<(), DeviceError> {
        self.is_asked(Asked::Write(to, bytes.len()));
        self.queue.push_back(Task::Write(to, bytes.to_vec()));
        Ok(())
    }

    fn run(&mut self, steps: Range<usize>, syms: &[i64]) -> Result<(), DeviceError> {
        self.is_asked(Asked::Run(steps.clone(), syms.to_vec()));
        let run = self.runs;
        self.runs += 1;
        match &self.trouble {
            Some(Trouble::Run(at, error)) if *at == run => return Err(error.clone()),
            Some(Trouble::PanicInRun(at)) if *at == run => panic!("on purpose"),
            Some(Trouble::Late(at, error)) if *at == run => {
                self.queue.push_back(Task::Fail(error.clone()));
            }
            Some(Trouble::Block(released)) => drop(released.recv()),
            _ => {}
        }
        self.queue.push_back(Task::Run(steps, syms.to_vec()));
        Ok(())
    }

    fn read(&mut self, from: Arg, into: &mut [u8]) -> Result<(), DeviceError> {
        let Arg::B(from) = from else { panic!("{from:?} is not read in a run") };
        self.is_asked(Asked::Read(from, into.len()));
        if let Some(Trouble::PanicInRead) = self.trouble {
            panic!("on purpose");
        }
        self.drain()?;
        into.copy_from_slice(&self.buffers[&from][..into.len()]);
        Ok(())
    }

    fn wait(&mut self) -> Result<(), DeviceError> {
        self.is_asked(Asked::Wait);
        self.drain()
    }

    fn held_bytes(&self) -> u64 {
        self.held_bytes
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.is_asked(Asked::Leave);
    }
}

fn compute(deed: Deed, inputs: &[&[u8]], output: &mut [u8], syms: &[i64]) {
    const ROW: usize = WIDTH * 4;
    let units = syms[deed.symbol()] as usize;
    let number =
        |input: usize, at: usize| -> [u8; 4] { inputs[input][at * 4..][..4].try_into().expect("four bytes") };
    let put = |row: &mut [u8], values: [f32; WIDTH]| {
        row.as_chunks_mut().0.iter_mut().zip(values).for_each(|(to, value)| *to = value.to_le_bytes());
    };
    for unit in 0..units {
        let own = |input: usize| -> [f32; WIDTH] {
            std::array::from_fn(|i| f32::from_le_bytes(number(input, unit * WIDTH + i)))
        };
        let row = &mut output[unit * ROW..][..ROW];
        match deed {
            Deed::Gather(_) => {
                let from = i32::from_le_bytes(number(1, unit)) as usize;
                row.copy_from_slice(&inputs[0][from * ROW..][..ROW]);
            }
            Deed::Add => {
                let [a, b] = [0, 1].map(own);
                put(row, std::array::from_fn(|i| a[i] + b[i]));
            }
            Deed::Peaks => put(row, own(0)),
            Deed::TopK => put(row, top_k(own(0))),
        }
    }
}
