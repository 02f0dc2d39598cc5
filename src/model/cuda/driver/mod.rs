//! A GPU behind [`Backend`]: memory, launches, products and graphs by the CUDA driver and cuBLAS.
//!
//! Nothing here may be called before [`presence::presence`] has said yes, for cudarc panics where a library is missing.
//! Work goes through the main queue, in order; chains of a step's schedule that run beside each other have a queue each.

mod backend;
pub(super) mod presence;
mod profile;
mod queue;

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CString, c_int, c_void};

use cudarc::driver::{result as cu, sys};
use profile::Profile;
use queue::{Queue, event};

use super::backend::{Backend, GpuError, ProfileSpan, Ptr};
use super::kernels::Kernel;
use super::schedule::Task;
use crate::model::Part;

/// Workspace of cuBLAS per queue; given once, for it must not allocate while a graph is captured.
const WORKSPACE: usize = 64 << 20;

const MODULES: [(&str, &str); 4] = [
    ("attention", include_str!("../kernels/ptx/attention.ptx")),
    ("conv", include_str!("../kernels/ptx/conv.ptx")),
    ("dense", include_str!("../kernels/ptx/dense.ptx")),
    ("tokens", include_str!("../kernels/ptx/tokens.ptx")),
];

pub(super) fn failed(what: &str) -> impl Fn(cu::DriverError) -> GpuError {
    move |e| GpuError(format!("{what}: {e:?}"))
}

/// One GPU, its memory, kernels and graphs.
pub(super) struct Driver {
    device: sys::CUdevice,
    context: sys::CUcontext,
    /// The main queue, then one for each chain that can run beside it.
    queues: [Queue; 2],
    /// Where work is queued now.
    queue: Queue,
    /// Whether chains of a schedule run side by side.
    abreast: bool,
    modules: Vec<sys::CUmodule>,
    /// By `Kernel as usize`.
    functions: Vec<sys::CUfunction>,
    graphs: HashMap<(Part, usize), sys::CUgraphExec>,
    memory: Vec<sys::CUdeviceptr>,
    pinned: Vec<*mut c_void>,
    /// Recorded before a step's first part.
    begin: sys::CUevent,
    /// Recorded after each part, by `Part as usize`.
    ends: [sys::CUevent; Part::ALL.len()],
    error: Option<GpuError>,
    profile: Option<Profile>,
}

// SAFETY: handles of the driver, which may be used from any thread in which the context is current; `bind` makes it so,
// and `&mut self` makes it one thread at a time.
unsafe impl Send for Driver {}

impl Driver {
    /// Opens GPU `ordinal` and loads the kernels. `presence` has said that it is there.
    ///
    /// # Errors
    /// The GPU does not take the kernels, or the driver failed.
    pub(super) fn open(ordinal: usize) -> Result<Self, GpuError> {
        let device = cu::device::get(ordinal as c_int).map_err(failed("the device"))?;
        // SAFETY: the device exists. The flag makes the engine's thread sleep while the device works.
        unsafe {
            let flags = sys::CUctx_flags_enum::CU_CTX_SCHED_BLOCKING_SYNC as u32;
            let _ = sys::cuDevicePrimaryCtxSetFlags_v2(device, flags);
        }
        // SAFETY: the device exists; released in `drop`.
        let context = unsafe { cu::primary_ctx::retain(device) }.map_err(failed("a context"))?;
        // SAFETY: just made.
        unsafe { cu::ctx::set_current(context) }.map_err(failed("a context"))?;
        let mut modules = HashMap::new();
        for (file, ptx) in MODULES {
            let ptx = CString::new(ptx).map_err(|_| GpuError(format!("{file}.ptx holds a zero byte")))?;
            // SAFETY: a zero-terminated text.
            let module = unsafe { cu::module::load_data(ptx.as_ptr().cast()) };
            modules.insert(file, module.map_err(failed(&format!("loading kernels {file}")))?);
        }
        let mut functions = Vec::new();
        for kernel in Kernel::ALL {
            let name = CString::new(kernel.name()).map_err(|_| GpuError("a kernel's name".to_owned()))?;
            // SAFETY: the module is loaded and stays so.
            let function = unsafe { cu::module::get_function(modules[kernel.file()], name) };
            functions.push(function.map_err(failed(kernel.name()))?);
        }
        let queues = [Queue::new()?, Queue::new()?];
        let mut ends = [std::ptr::null_mut(); Part::ALL.len()];
        for end in &mut ends {
            *end = event()?;
        }
        let mut driver = Self {
            device,
            context,
            queues,
            queue: queues[0],
            abreast: true,
            modules: modules.into_values().collect(),
            functions,
            graphs: HashMap::new(),
            memory: Vec::new(),
            pinned: Vec::new(),
            begin: event()?,
            ends,
            error: None,
            profile: None,
        };
        for queue in queues {
            let workspace = driver.alloc(WORKSPACE)?;
            queue.lend(workspace, WORKSPACE)?;
        }
        Ok(driver)
    }

    /// Returns the name of the GPU.
    pub(super) fn name(&self) -> String {
        cu::device::get_name(self.device).unwrap_or_else(|_| "unknown".to_owned())
    }

    /// Returns the stream of the main queue.
    #[cfg(feature = "flash-attn")]
    pub(super) fn stream(&self) -> sys::CUstream {
        self.queues[0].stream
    }

    /// Lets chains of a schedule run side by side from now on, or one after the other.
    pub(super) fn set_abreast(&mut self, on: bool) {
        self.abreast = on;
    }

    /// Fills `bytes` bytes with repetitions of `piece`.
    ///
    /// # Errors
    /// A copy failed.
    pub(super) fn fill(&mut self, at: Ptr, bytes: usize, piece: &[u8]) -> Result<(), GpuError> {
        let mut done = piece.len().min(bytes);
        self.write(at, &piece[..done])?;
        while done < bytes {
            let next = done.min(bytes - done);
            // SAFETY: within an allocation, by the caller; what is there and what follows it do not overlap.
            unsafe { cu::memcpy_dtod_async(at.plus(done).0, at.0, next, self.queue.stream) }
                .map_err(failed("a copy"))?;
            done += next;
        }
        self.finish()
    }

    /// Profiles steps from now on, one part after the other and launch by launch instead of by graphs; or stops and
    /// returns seconds per span.
    pub(super) fn profile(&mut self, on: bool) -> BTreeMap<ProfileSpan, f64> {
        let profile = std::mem::replace(&mut self.profile, on.then(Profile::default));
        profile.map(Profile::seconds).unwrap_or_default()
    }

    // Waits for this queue, which after a step follows all others.
    fn wait(&mut self) -> Result<(), GpuError> {
        let waited = self.queue.wait();
        self.keep(waited);
        self.error.take().map_or(Ok(()), Err)
    }

    // Makes the context current: the engine's thread is not the one that loaded the model.
    fn bind(&self) -> Result<(), GpuError> {
        // SAFETY: retained until `drop`.
        unsafe { cu::ctx::set_current(self.context) }.map_err(failed("the context"))
    }

    fn keep(&mut self, result: Result<(), GpuError>) {
        if let Err(e) = result
            && self.error.is_none()
        {
            self.error = Some(e);
        }
    }

    fn record(&mut self, event: sys::CUevent) {
        let result = self.queue.record(event);
        self.keep(result);
    }

    fn follow(&mut self, event: sys::CUevent) {
        let result = self.queue.follow(event);
        self.keep(result);
    }

    // The queue of a chain. More chains than queues share them, which keeps the order and loses time.
    fn queue_of(&self, chain: usize) -> Queue {
        self.queues[chain % self.queues.len()]
    }

    // Queues one task on the current queue.
    fn submit(&mut self, task: &Task<'_, Self>, bucket: usize) {
        match self.graphs.get(&(task.part, bucket)) {
            Some(graph) if self.profile.is_none() => {
                // SAFETY: graph and stream live.
                let result = unsafe { cu::graph::launch(*graph, self.queue.stream) };
                self.keep(result.map_err(failed("a graph")));
            }
            _ => (task.issue)(self),
        }
    }

    // Runs one task launch by launch, then captures it as a graph.
    fn prepare_task(&mut self, task: &Task<'_, Self>, bucket: usize) -> Result<(), GpuError> {
        // Launch by launch first: libraries load and choose their kernels now, which a capture would not allow.
        (task.issue)(self);
        self.wait()?;
        // What does not run launch by launch does not run at all; only a capture can be done without.
        match self.capture(task.issue) {
            Ok(graph) => {
                if let Some(old) = self.graphs.insert((task.part, bucket), graph) {
                    // SAFETY: replaced, and not running: the stream was just waited for.
                    let _ = unsafe { cu::graph::exec_destroy(old) };
                }
            }
            Err(e) => tracing::warn!(bucket, part = ?task.part, "no graph, launching one by one: {e}"),
        }
        Ok(())
    }

    fn capture(&mut self, issue: &dyn Fn(&mut Self)) -> Result<sys::CUgraphExec, GpuError> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives; what `issue` queues is captured until the end below, whatever it meets.
        unsafe { cu::stream::begin_capture(self.queue.stream, mode) }.map_err(failed("capture"))?;
        issue(self);
        // SAFETY: begun above.
        let graph = unsafe { cu::stream::end_capture(self.queue.stream) };
        if let Some(e) = self.error.take() {
            return Err(e);
        }
        let graph = graph.map_err(failed("capture"))?;
        // SAFETY: a graph just captured; the executable form does not need it any more.
        unsafe {
            let ready = cu::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0));
            let _ = cu::graph::destroy(graph);
            let ready = ready.map_err(failed("a graph"))?;
            cu::graph::upload(ready, self.queue.stream).map_err(failed("a graph"))?;
            Ok(ready)
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.bind();
        // SAFETY: everything was made by this driver and is used by nobody any more. Errors cannot be helped here.
        unsafe {
            self.queues.iter().for_each(Queue::close);
            self.graphs.values().for_each(|g| _ = cu::graph::exec_destroy(*g));
            let _ = cu::event::destroy(self.begin);
            self.ends.iter().for_each(|e| _ = cu::event::destroy(*e));
            self.memory.iter().for_each(|at| _ = cu::free_sync(*at));
            self.pinned.iter().for_each(|at| _ = cu::free_host(*at));
            self.modules.iter().for_each(|m| _ = cu::module::unload(*m));
            let _ = cu::primary_ctx::release(self.device);
        }
    }
}
