//! A device that runs the steps of a plan's thread, whatever drives it.
use crate::lower::lower;
use crate::program::{Bound, CUBES_MAX, Cubes, Program};
use ir::plan::{Arg, BufferId, Kernel, KernelId, Plan, Step, Thread};
use runtime::{Accelerator, DeviceError};
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

/// What a machine asks of a driver. All is done in order.
pub(crate) trait Driver: Send {
    /// Memory of the device, zeros at first.
    type Memory: Send;
    /// A kernel that was compiled.
    type Kernel: Send;
    /// A kernel with what it is given.
    type Ready: Send;

    /// The most bytes that can be had at once.
    fn largest_bytes(&self) -> u64;
    /// All the memory that the device has.
    fn memory_bytes(&self) -> u64;
    fn allocate(&self, what: &str, bytes: u64) -> Result<Self::Memory, DeviceError>;
    fn write(&self, to: &Self::Memory, offset: u64, bytes: &[u8]) -> Result<(), DeviceError>;
    fn read(&self, from: &Self::Memory, offset: u64, into: &mut [u8]) -> Result<(), DeviceError>;
    fn compile(&self, program: Program) -> Result<Self::Kernel, DeviceError>;
    fn bind(
        &self,
        kernel: &Self::Kernel,
        views: &[View<'_, Self::Memory>],
    ) -> Result<Self::Ready, DeviceError>;
    /// Launches kernels one behind the other, each with so many cubes along x and y.
    fn launch(&self, list: &[(&Self::Ready, [u32; 2])]) -> Result<(), DeviceError>;
    fn wait(&self) -> Result<(), DeviceError>;
}

/// A part of a device's memory.
pub(crate) struct View<'a, M> {
    pub(crate) memory: &'a M,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// Bytes of the symbols' values.
const SYMBOLS_BYTES: u64 = 256;
/// Bytes of one allocation of weights at most, for a device that gives more at once.
const WEIGHTS_BYTES: u64 = 1 << 30;

/// A device thread's device.
pub(crate) struct Machine<D: Driver> {
    loaded: Option<Loaded<D>>,
    held_bytes: u64,
    driver: D,
}

/// What there is once a plan is loaded.
struct Loaded<D: Driver> {
    /// What each of the thread's steps launches; nothing for messages.
    steps: Vec<Vec<Launch<D>>>,
    blocks: Vec<D::Memory>,
    places: Places,
    symbols: D::Memory,
}

/// One launch of a step: the versions that it may take, those for fewer rows first.
struct Launch<D: Driver> {
    versions: Vec<(Cubes, D::Ready)>,
}

/// Where what arguments name lies: in which block of memory, where in it, and how many bytes.
struct Places {
    found: HashMap<Arg, (usize, u64, u64)>,
    /// What each block is for, and its bytes.
    blocks: Vec<(&'static str, u64)>,
}

const ARENA: usize = 0;

impl<D: Driver> Machine<D> {
    pub(crate) fn new(driver: D) -> Machine<D> {
        Machine { loaded: None, held_bytes: 0, driver }
    }

    fn loaded(&self) -> Result<&Loaded<D>, DeviceError> {
        self.loaded.as_ref().ok_or_else(|| DeviceError::Other("no plan is loaded".into()))
    }

    fn allocate(&mut self, what: &str, bytes: u64) -> Result<D::Memory, DeviceError> {
        let bytes = bytes.max(SYMBOLS_BYTES).next_multiple_of(4);
        let memory = self.driver.allocate(what, bytes)?;
        self.held_bytes += bytes;
        Ok(memory)
    }
}

impl Places {
    /// Places of a thread's values: the arena is one block; states and weights lie one behind the other in others, of
    /// `largest` bytes at most, or of one value that is larger.
    fn of(plan: &Plan, thread: &Thread, largest: u64) -> Places {
        let mut places = Places { found: HashMap::new(), blocks: vec![("the arena", thread.arena_bytes)] };
        for buffer in plan.buffers.iter().filter(|buffer| buffer.device == thread.device) {
            places.found.insert(Arg::B(buffer.id), (ARENA, buffer.offset, buffer.bytes));
        }
        let states = plan.states.iter().filter(|state| state.device == thread.device);
        places.pack("states", states.map(|state| (Arg::S(state.id), state.bytes)), largest);
        let weights = plan.weights.iter().filter(|weight| weight.device == thread.device);
        places.pack("weights", weights.map(|weight| (Arg::W(weight.id), weight.bytes)), largest);
        places
    }

    fn pack(&mut self, what: &'static str, values: impl Iterator<Item = (Arg, u64)>, largest: u64) {
        let mut is_open = false;
        for (arg, bytes) in values {
            let aligned = bytes.next_multiple_of(ir::plan::ALIGNMENT);
            match self.blocks.last() {
                Some((_, filled)) if is_open && filled + aligned <= largest => {}
                _ => self.blocks.push((what, 0)),
            }
            is_open = true;
            let block = self.blocks.len() - 1;
            self.found.insert(arg, (block, self.blocks[block].1, bytes));
            self.blocks[block].1 += aligned;
        }
    }

    fn find(&self, arg: Arg) -> Result<(usize, u64, u64), DeviceError> {
        let found = self.found.get(&arg).copied();
        found.ok_or_else(|| DeviceError::Other(format!("a step names {arg:?}, which is not this device's")))
    }
}

impl<D: Driver> Accelerator for Machine<D> {
    fn load(&mut self, plan: &Plan, thread: &Thread, weights: &[u8]) -> Result<(), DeviceError> {
        let largest = self.driver.largest_bytes().min(WEIGHTS_BYTES);
        let places = Places::of(plan, thread, largest);
        let needed = places.blocks.iter().map(|(_, bytes)| bytes).sum();
        if needed > self.driver.memory_bytes() {
            return Err(DeviceError::OutOfMemory {
                what: "the plan".into(),
                bytes: needed,
                free_bytes: None,
            });
        }
        if plan.symbols.len() as u64 * 4 > SYMBOLS_BYTES {
            return Err(DeviceError::Other(format!("found {} symbols, expected fewer", plan.symbols.len())));
        }
        let blocks = places.blocks.iter().map(|(what, bytes)| self.allocate(what, *bytes));
        let blocks = blocks.collect::<Result<Vec<_>, _>>()?;
        let symbols = self.allocate("symbols", SYMBOLS_BYTES)?;
        for weight in plan.weights.iter().filter(|weight| weight.device == thread.device) {
            let (block, at, bytes) = places.find(Arg::W(weight.id))?;
            let missing = || DeviceError::Other(format!("the packed file ends before {}", weight.name));
            let end = weight.offset.checked_add(bytes).ok_or_else(missing)?;
            let packed = weights.get(weight.offset as usize..end as usize).ok_or_else(missing)?;
            self.driver.write(&blocks[block], at, packed)?;
        }
        let names: Vec<String> = plan.symbols.iter().map(|symbol| symbol.name.clone()).collect();
        let mut compiled: HashMap<KernelId, Rc<Vec<Versions<D>>>> = HashMap::new();
        let mut steps = Vec::with_capacity(thread.steps.len());
        for step in &thread.steps {
            let Step::Run { kernel: id, args, .. } = step else {
                steps.push(vec![]);
                continue;
            };
            let kernel = &plan.kernels[id.0 as usize];
            let launches = match compiled.get(id) {
                Some(known) => known.clone(),
                None => {
                    let made = Rc::new(compile(&self.driver, kernel, &names)?);
                    compiled.insert(*id, made.clone());
                    made
                }
            };
            let views = args.iter().map(|arg| {
                let (block, offset, bytes) = places.find(*arg)?;
                Ok(View { memory: &blocks[block], offset, bytes })
            });
            let views = views.collect::<Result<Vec<_>, DeviceError>>()?;
            let bind = |(cubes, kernel, bindings): &(Cubes, D::Kernel, Vec<Bound>)| {
                let given = bindings.iter().map(|bound| match bound {
                    Bound::Arg(at) => View { ..views[*at] },
                    Bound::Symbols => View { memory: &symbols, offset: 0, bytes: SYMBOLS_BYTES },
                });
                Ok((cubes.clone(), self.driver.bind(kernel, &given.collect::<Vec<_>>())?))
            };
            let launch = |versions: &Versions<D>| {
                let versions = versions.iter().map(bind).collect::<Result<_, DeviceError>>()?;
                Ok(Launch { versions })
            };
            steps.push(launches.iter().map(launch).collect::<Result<_, DeviceError>>()?);
        }
        self.loaded = Some(Loaded { steps, blocks, places, symbols });
        self.driver.wait()
    }

    fn write(&mut self, to: BufferId, bytes: &[u8]) -> Result<(), DeviceError> {
        let loaded = self.loaded()?;
        let (block, at, _) = loaded.places.find(Arg::B(to))?;
        self.driver.write(&loaded.blocks[block], at, bytes)
    }

    fn run(&mut self, steps: Range<usize>, syms: &[i64]) -> Result<(), DeviceError> {
        let loaded = self.loaded()?;
        let mut bytes = Vec::with_capacity(SYMBOLS_BYTES as usize);
        for value in syms {
            let narrow = i32::try_from(*value);
            let narrow =
                narrow.map_err(|_| DeviceError::Other(format!("a symbol is {value}, which is too large")))?;
            bytes.extend(narrow.to_le_bytes());
        }
        self.driver.write(&loaded.symbols, 0, &bytes)?;
        let mut list = vec![];
        for launch in loaded.steps[steps].iter().flatten() {
            let fits = |(cubes, _): &&(Cubes, D::Ready)| cubes.takes_all_rows(syms);
            if let Some((cubes, ready)) = launch.versions.iter().find(fits).or(launch.versions.last()) {
                let Some(count) = cubes.count(syms) else { continue };
                if count.iter().any(|cubes| u64::from(*cubes) > CUBES_MAX) {
                    let what = format!("a grid of {} by {} cubes", count[0], count[1]);
                    let reason = format!("grids have {CUBES_MAX} at most each way");
                    return Err(DeviceError::Unsupported { what, reason });
                }
                list.push((ready, count));
            }
        }
        self.driver.launch(&list)
    }

    fn read(&mut self, from: Arg, into: &mut [u8]) -> Result<(), DeviceError> {
        if into.is_empty() {
            // Nothing is worth waiting for.
            return Ok(());
        }
        let loaded = self.loaded()?;
        let (block, at, _) = loaded.places.find(from)?;
        self.driver.read(&loaded.blocks[block], at, into)
    }

    fn wait(&mut self) -> Result<(), DeviceError> {
        self.driver.wait()
    }

    fn held_bytes(&self) -> u64 {
        self.held_bytes
    }
}

/// The versions of one launch, before it is known what they are given.
type Versions<D> = Vec<(Cubes, <D as Driver>::Kernel, Vec<Bound>)>;

fn compile<D: Driver>(
    driver: &D,
    kernel: &Kernel,
    names: &[String],
) -> Result<Vec<Versions<D>>, DeviceError> {
    let failed = |reason: String| DeviceError::Kernel { name: kernel.name.clone(), reason };
    let version = |program: Program| {
        let cubes = program.grid.cubes(names).map_err(failed)?;
        let bindings = program.bindings.clone();
        Ok((cubes, driver.compile(program)?, bindings))
    };
    let launches = lower(kernel, names).map_err(failed)?;
    launches.into_iter().map(|versions| versions.into_iter().map(version).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::plan::{StateId, WeightId};

    #[test]
    fn values_lie_in_blocks_that_a_device_gives_in_one_piece() {
        let mut places = Places { found: HashMap::new(), blocks: vec![("the arena", 10)] };
        let state = |id| Arg::S(StateId(id));
        places.pack("states", [(state(0), 100), (state(1), 60), (state(2), 64)].into_iter(), 192);
        places.pack("weights", [(Arg::W(WeightId(0)), 1000), (Arg::W(WeightId(1)), 1)].into_iter(), 192);
        let found = |arg| places.find(arg).unwrap();
        assert_eq!([state(0), state(1), state(2)].map(found), [(1, 0, 100), (1, 128, 60), (2, 0, 64)]);
        assert_eq!(found(Arg::W(WeightId(0))), (3, 0, 1000));
        assert_eq!(found(Arg::W(WeightId(1))), (4, 0, 1));
        let bytes: Vec<u64> = places.blocks.iter().map(|(_, bytes)| *bytes).collect();
        assert_eq!(bytes, [10, 192, 64, 1024, 64]);
        assert!(places.find(state(3)).is_err());
    }
}
