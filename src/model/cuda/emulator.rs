//! A stand-in for a GPU in the tests: the same kernel sources, compiled for this processor, over the same addresses.
//!
//! `emulator/emulate.cpp` runs each GPU thread as a fiber. Memory starts as NaN, and lies between guard bands, so reading
//! what was never written and writing past an end show; running blocks and threads backwards shows missing barriers.

use std::collections::hash_map::DefaultHasher;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use libloading::{Library, Symbol};
use parking_lot::Mutex;

use super::backend::{Backend, GpuError, Pinned, Product, ProfileSpan, Ptr};
use super::kernels::{Args, Kernel};
use super::schedule::Task;
use crate::model::Part;
use crate::model::layout::dtype::Real;

const FLAGS: [&str; 8] = [
    "-std=c++17",
    "-O2",
    "-ffp-contract=off",
    "-fPIC",
    "-shared",
    "-DMOSHI_EMULATE",
    "-Wall",
    "-Wno-unknown-pragmas",
];
/// Bytes before and after each allocation that nothing may change. As numbers they are NaN, so reading them shows in results.
const GUARD: usize = 256;
const GUARD_BYTE: u8 = 0xff;

type Entry = unsafe extern "C" fn(*const c_void);
type Launch = unsafe extern "C" fn(Entry, *const u32, u32, *const c_void, c_int) -> *const c_char;
type Multiply = unsafe extern "C" fn(u64, u64, u64, u32, u32, u32, u32, u32, c_int, c_int);

/// The compiled kernels. Fibers and shared memory are global, so one launch runs at a time.
fn library() -> &'static Mutex<Library> {
    static LIBRARY: OnceLock<Mutex<Library>> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let path = compile();
        // SAFETY: our own library; it has no initialisers that do anything.
        Mutex::new(unsafe { Library::new(&path) }.expect("the emulator loads"))
    })
}

// Compiled once for each state of the sources; concurrent test processes put the same file in the same place.
fn compile() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/model/cuda");
    let mut hash = DefaultHasher::new();
    for dir in ["kernels", "emulator"] {
        let mut files: Vec<_> = std::fs::read_dir(here.join(dir))
            .expect("sources")
            .map(|f| f.expect("a file").path())
            .filter(|f| f.is_file())
            .collect();
        files.sort();
        files
            .iter()
            .for_each(|f| std::fs::read(f).expect("a source").hash(&mut hash));
    }
    FLAGS.hash(&mut hash);
    let target = std::env::temp_dir().join(format!("moshi-gpu-emulator-{:016x}.so", hash.finish()));
    if target.exists() {
        return target;
    }
    let part = target.with_extension(format!("{}.part", std::process::id()));
    let done = Command::new(std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned()))
        .args(FLAGS)
        .arg(here.join("emulator/all.cpp"))
        .arg("-o")
        .arg(&part)
        .output()
        .expect("a C++ compiler (c++, or what CXX names): the GPU kernels are tested with it");
    assert!(
        done.status.success(),
        "kernels do not compile:\n{}",
        String::from_utf8_lossy(&done.stderr)
    );
    std::fs::rename(&part, &target).expect("a place for the emulator");
    target
}

struct Block {
    /// Of u128, for the alignment of 16-byte accesses.
    memory: Vec<u128>,
    bytes: usize,
}

/// One emulated device.
pub(super) struct Emulator {
    /// Runs blocks and threads from the last to the first, and parts of a step as late first as their schedule allows.
    pub(super) backwards: bool,
    /// Bytes that [`Backend::alloc`] may give in all. None: no limit.
    pub(super) limit: Option<u64>,
    blocks: Vec<Block>,
    pinned: Vec<Vec<u8>>,
    error: Option<GpuError>,
    pub(super) launches: Vec<Kernel>,
}

impl Emulator {
    pub(super) fn new() -> Self {
        Self {
            backwards: false,
            limit: None,
            blocks: Vec::new(),
            pinned: Vec::new(),
            error: None,
            launches: Vec::new(),
        }
    }

    /// Returns the bytes that are allocated.
    pub(super) fn allocated(&self) -> usize {
        self.blocks.iter().map(|b| b.bytes).sum()
    }

    /// Returns the size of the arguments and the threads that the source of `kernel` states.
    pub(super) fn stated(kernel: Kernel) -> (usize, usize) {
        let library = library().lock();
        let get = |what: &str| {
            let name = format!("{}_{what}", kernel.name());
            // SAFETY: the KERNEL macro of `emulate.h` defines both with this type.
            let f: Symbol<'_, unsafe extern "C" fn() -> u32> =
                unsafe { library.get(name.as_bytes()) }.expect("the kernel is in the sources");
            // SAFETY: returns a constant.
            unsafe { f() as usize }
        };
        (get("size"), get("threads"))
    }

    fn check_guards(&self) -> Result<(), GpuError> {
        for (i, block) in self.blocks.iter().enumerate() {
            let all = block.memory.len() * 16;
            // SAFETY: plain bytes of a live vector.
            let bytes = unsafe { std::slice::from_raw_parts(block.memory.as_ptr().cast::<u8>(), all) };
            let outside = bytes[..GUARD].iter().chain(&bytes[GUARD + block.bytes..]);
            if outside.into_iter().any(|b| *b != GUARD_BYTE) {
                return Err(GpuError(format!(
                    "written outside of allocation {i} of {} bytes",
                    block.bytes
                )));
            }
        }
        Ok(())
    }

    // Every address that is copied must lie within one allocation.
    fn owned(&self, at: Ptr, len: usize) {
        let within = |b: &Block| {
            let from = b.memory.as_ptr() as u64 + GUARD as u64;
            at.0 >= from && at.0 + len as u64 <= from + b.bytes as u64
        };
        assert!(self.blocks.iter().any(within), "a copy outside of device memory");
    }
}

impl Backend for Emulator {
    fn alloc(&mut self, bytes: usize) -> Result<Ptr, GpuError> {
        let size = (2 * GUARD + bytes).div_ceil(16);
        let mut memory = vec![u128::from_ne_bytes([GUARD_BYTE; 16]); size];
        // SAFETY: within the vector. All ones is NaN in both formats: nothing may rely on memory being zero.
        unsafe {
            memory
                .as_mut_ptr()
                .cast::<u8>()
                .add(GUARD)
                .write_bytes(0xff, bytes)
        };
        let at = Ptr(memory.as_ptr() as u64 + GUARD as u64);
        self.blocks.push(Block { memory, bytes });
        Ok(at)
    }

    fn free_bytes(&self) -> Option<u64> {
        self.limit.map(|limit| limit - self.allocated() as u64)
    }

    fn pinned(&mut self, bytes: usize) -> Result<Pinned, GpuError> {
        self.pinned.push(vec![0; bytes]);
        let buffer = self.pinned.last_mut().expect("just pushed");
        Ok(Pinned {
            at: buffer.as_mut_ptr(),
            len: bytes,
        })
    }

    fn write(&mut self, to: Ptr, bytes: &[u8]) -> Result<(), GpuError> {
        self.owned(to, bytes.len());
        // SAFETY: checked above.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to.0 as *mut u8, bytes.len()) };
        Ok(())
    }

    fn read(&mut self, from: Ptr, bytes: &mut [u8]) -> Result<(), GpuError> {
        self.owned(from, bytes.len());
        // SAFETY: checked above.
        unsafe { std::ptr::copy_nonoverlapping(from.0 as *const u8, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    fn send(&mut self, to: Ptr, from: &Pinned, at: usize, len: usize) {
        assert!(at + len <= from.len, "a copy past the end of host memory");
        self.owned(to, len);
        // SAFETY: checked above.
        unsafe { std::ptr::copy_nonoverlapping(from.at.add(at), to.0 as *mut u8, len) };
    }

    fn fetch(&mut self, to: &mut Pinned, from: Ptr) {
        self.owned(from, to.len);
        // SAFETY: checked above.
        unsafe { std::ptr::copy_nonoverlapping(from.0 as *const u8, to.at, to.len) };
    }

    fn launch<A: Args>(&mut self, kernel: Kernel, grid: [usize; 3], args: A) {
        assert_eq!(
            size_of::<A>(),
            kernel.args_size(),
            "{kernel:?} gets another kernel's arguments"
        );
        assert!(
            grid.iter().all(|n| *n > 0) && grid[1] <= 65_535 && grid[2] <= 65_535,
            "{kernel:?}: grid {grid:?}"
        );
        self.launches.push(kernel);
        let library = library().lock();
        let grid = grid.map(|n| n as u32);
        // SAFETY: the library is ours and the types are those of `emulate.h` and `emulate.cpp`.
        let (entry, launch): (Symbol<'_, Entry>, Symbol<'_, Launch>) = unsafe {
            (
                library.get(kernel.name().as_bytes()).expect("a kernel"),
                library.get(b"emulate_launch").expect("the emulator"),
            )
        };
        let args = (&raw const args).cast();
        // SAFETY: `args` is the kernel's struct; what it points to is this emulator's memory, if the engine is right.
        let failed = unsafe {
            launch(
                *entry,
                grid.as_ptr(),
                kernel.threads() as u32,
                args,
                self.backwards.into(),
            )
        };
        if !failed.is_null() && self.error.is_none() {
            // SAFETY: a message in static memory, read under the lock.
            let message = unsafe { CStr::from_ptr(failed) }.to_string_lossy();
            self.error = Some(GpuError(format!("{}: {message}", kernel.name())));
        }
    }

    fn product(&mut self, p: Product) {
        assert!(p.w.k.is_multiple_of(8), "products are over multiples of eight");
        self.owned(p.x, p.m * p.w.k * p.w.real.bytes());
        self.owned(p.y, p.m * p.w.n * 4);
        // Sums are in full f32 here whatever is asked for.
        let _ = p.exact;
        let library = library().lock();
        // SAFETY: the type is that of `emulate.cpp`.
        let multiply: Symbol<'_, Multiply> =
            unsafe { library.get(b"emulate_product") }.expect("the emulator has a product");
        let (m, n, k) = (p.m as u32, p.w.n as u32, p.w.k as u32);
        let bf16 = c_int::from(p.w.real == Real::Bf16);
        // SAFETY: input and output were checked above; the weights are as large as the loader made them.
        unsafe { multiply(p.w.at.0, p.x.0, p.y.0, m, n, k, k, n, p.add.into(), bf16) };
    }

    fn mark(&mut self, _: ProfileSpan) {}

    fn prepare(&mut self, _: usize, schedule: &[Task<'_, Self>]) -> Result<(), GpuError> {
        schedule.iter().for_each(|task| (task.issue)(self));
        self.finish()
    }

    fn run(&mut self, _: usize, schedule: &[Task<'_, Self>]) {
        let mut left: Vec<&Task<'_, Self>> = schedule.iter().collect();
        while !left.is_empty() {
            let waits = |task: &Task<'_, Self>| left.iter().any(|other| task.after.contains(&other.part));
            let mut ready = (0..left.len()).filter(|i| !waits(left[*i]));
            let next = if self.backwards {
                ready.next_back()
            } else {
                ready.next()
            };
            let next = next.expect("a schedule is in an order in which it can be computed");
            (left.remove(next).issue)(self);
        }
    }

    fn finish(&mut self) -> Result<(), GpuError> {
        self.check_guards()?;
        self.error.take().map_or(Ok(()), Err)
    }

    fn took(&self, _: Part) -> Option<Duration> {
        None
    }
}
