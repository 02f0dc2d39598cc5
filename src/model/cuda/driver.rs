//! A GPU behind [`Backend`]: memory, launches, products and graphs by the CUDA driver and cuBLAS.
//!
//! Nothing here may be called before [`super::presence`] said yes, for cudarc panics where a library is missing. Work goes
//! through one stream, in order, but for the codec, which has a stream of its own beside the language model's.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CString, c_int, c_void};
use std::time::Duration;

use cudarc::driver::{result as cu, sys};

use super::args::{Args, Kernel};
use super::backend::{Backend, GpuError, Part, Pinned, Product, Ptr, Stage};
use super::lane::{Lane, event};
use super::profile::Profile;

/// What cuBLAS may use for its own on a stream; given once, for it must not allocate while a graph is captured.
const WORKSPACE: usize = 64 << 20;

const MODULES: [(&str, &str); 4] = [
    ("attention", include_str!("kernels/ptx/attention.ptx")),
    ("conv", include_str!("kernels/ptx/conv.ptx")),
    ("dense", include_str!("kernels/ptx/dense.ptx")),
    ("tokens", include_str!("kernels/ptx/tokens.ptx")),
];

pub(super) fn failed(what: &str) -> impl Fn(cu::DriverError) -> GpuError {
    move |e| GpuError(format!("{what}: {e:?}"))
}

/// One GPU, its memory, kernels and graphs.
pub(super) struct Driver {
    device: sys::CUdevice,
    context: sys::CUcontext,
    main: Lane,
    /// The codec's in [`Backend::run`].
    side: Lane,
    /// Where work is queued now.
    lane: Lane,
    /// Whether `run` uses the side lane.
    abreast: bool,
    modules: Vec<sys::CUmodule>,
    /// By `Kernel as usize`.
    functions: Vec<sys::CUfunction>,
    graphs: HashMap<(Part, usize), sys::CUgraphExec>,
    memory: Vec<sys::CUdeviceptr>,
    pinned: Vec<*mut c_void>,
    /// Before both parts, after the codec, after the language model.
    events: [sys::CUevent; 3],
    error: Option<GpuError>,
    profile: Option<Profile>,
}

// SAFETY: handles of the driver, which may be used from any thread in which the context is current; `bind` makes it so,
// and `&mut self` makes it one thread at a time.
unsafe impl Send for Driver {}

impl Driver {
    /// Opens GPU `ordinal` and loads the kernels. `presence` has said that it is there.
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
        let (main, side) = (Lane::new()?, Lane::new()?);
        let mut driver = Self {
            device,
            context,
            main,
            side,
            lane: main,
            abreast: true,
            modules: modules.into_values().collect(),
            functions,
            graphs: HashMap::new(),
            memory: Vec::new(),
            pinned: Vec::new(),
            events: [event()?, event()?, event()?],
            error: None,
            profile: None,
        };
        for lane in [main, side] {
            let workspace = driver.alloc(WORKSPACE)?;
            lane.lend(workspace, WORKSPACE)?;
        }
        Ok(driver)
    }

    /// Name of the GPU.
    pub(super) fn name(&self) -> String {
        cu::device::get_name(self.device).unwrap_or_else(|_| "unknown".to_owned())
    }

    /// The stream of everything but the codec.
    #[cfg(feature = "flash-attn")]
    pub(super) fn stream(&self) -> sys::CUstream {
        self.main.stream
    }

    /// Whether codec and language model run side by side from now on, or one after the other.
    pub(super) fn set_abreast(&mut self, on: bool) {
        self.abreast = on;
    }

    /// Fills `bytes` bytes with repetitions of `piece`.
    pub(super) fn fill(&mut self, at: Ptr, bytes: usize, piece: &[u8]) -> Result<(), GpuError> {
        let mut done = piece.len().min(bytes);
        self.write(at, &piece[..done])?;
        while done < bytes {
            let next = done.min(bytes - done);
            // SAFETY: within an allocation, by the caller; what is there and what follows it do not overlap.
            unsafe { cu::memcpy_dtod_async(at.plus(done).0, at.0, next, self.lane.stream) }
                .map_err(failed("a copy"))?;
            done += next;
        }
        self.finish()
    }

    /// Takes times by stage from now on, one part after the other and launch by launch instead of by graphs; or stops and
    /// returns seconds by stage.
    pub(super) fn profile(&mut self, on: bool) -> BTreeMap<Stage, f64> {
        let profile = std::mem::replace(&mut self.profile, on.then(Profile::default));
        profile.map(Profile::seconds).unwrap_or_default()
    }

    // Waits for this lane, which in a step follows the other.
    fn wait(&mut self) -> Result<(), GpuError> {
        let waited = self.lane.wait();
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
        let result = self.lane.record(event);
        self.keep(result);
    }

    // Queues one part on this lane.
    fn queue(&mut self, part: Part, bucket: usize, issue: &dyn Fn(&mut Self)) {
        match self.graphs.get(&(part, bucket)) {
            Some(graph) if self.profile.is_none() => {
                // SAFETY: graph and stream live.
                let result = unsafe { cu::graph::launch(*graph, self.lane.stream) };
                self.keep(result.map_err(failed("a graph")));
            }
            _ => issue(self),
        }
    }

    fn capture(&mut self, issue: &dyn Fn(&mut Self)) -> Result<sys::CUgraphExec, GpuError> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives; what `issue` queues is captured until the end below, whatever it meets.
        unsafe { cu::stream::begin_capture(self.lane.stream, mode) }.map_err(failed("capture"))?;
        issue(self);
        // SAFETY: begun above.
        let graph = unsafe { cu::stream::end_capture(self.lane.stream) };
        if let Some(e) = self.error.take() {
            return Err(e);
        }
        let graph = graph.map_err(failed("capture"))?;
        // SAFETY: a graph just captured; the executable form does not need it any more.
        unsafe {
            let ready = cu::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0));
            let _ = cu::graph::destroy(graph);
            let ready = ready.map_err(failed("a graph"))?;
            cu::graph::upload(ready, self.lane.stream).map_err(failed("a graph"))?;
            Ok(ready)
        }
    }
}

impl Backend for Driver {
    fn alloc(&mut self, bytes: usize) -> Result<Ptr, GpuError> {
        self.bind()?;
        let what = format!("{} MiB of device memory", bytes >> 20);
        // SAFETY: freed in `drop`; zeroed before anything else sees it.
        unsafe {
            let at = cu::malloc_sync(bytes.max(1)).map_err(failed(&what))?;
            self.memory.push(at);
            cu::memset_d8_async(at, 0, bytes.max(1), self.lane.stream).map_err(failed(&what))?;
            Ok(Ptr(at))
        }
    }

    fn free_bytes(&self) -> Option<u64> {
        self.bind().ok()?;
        cu::mem_get_info().ok().map(|(free, _)| free as u64)
    }

    fn pinned(&mut self, bytes: usize) -> Result<Pinned, GpuError> {
        self.bind()?;
        // SAFETY: freed in `drop`, when the engine that uses it is gone.
        unsafe {
            let at = cu::malloc_host(bytes, 0).map_err(failed("pinned memory"))?;
            at.cast::<u8>().write_bytes(0, bytes);
            self.pinned.push(at);
            Ok(Pinned {
                at: at.cast(),
                len: bytes,
            })
        }
    }

    fn write(&mut self, to: Ptr, bytes: &[u8]) -> Result<(), GpuError> {
        self.finish()?;
        // SAFETY: within an allocation, by the caller; nothing is queued.
        unsafe { cu::memcpy_htod_async(to.0, bytes, self.lane.stream) }.map_err(failed("upload"))?;
        self.finish()
    }

    fn read(&mut self, from: Ptr, bytes: &mut [u8]) -> Result<(), GpuError> {
        self.finish()?;
        // SAFETY: within an allocation, by the caller; nothing is queued.
        unsafe { cu::memcpy_dtoh_async(bytes, from.0, self.lane.stream) }.map_err(failed("download"))?;
        self.finish()
    }

    fn send(&mut self, to: Ptr, from: &Pinned, at: usize, len: usize) {
        let bound = self.bind();
        self.keep(bound);
        debug_assert!(at + len <= from.len);
        // SAFETY: within the buffer, which nobody changes before `finish`.
        let bytes = unsafe { std::slice::from_raw_parts(from.at.add(at), len) };
        // SAFETY: the place is as large as the buffer's part.
        let result = unsafe { cu::memcpy_htod_async(to.0, bytes, self.lane.stream) };
        self.keep(result.map_err(failed("upload")));
    }

    fn fetch(&mut self, to: &mut Pinned, from: Ptr) {
        // SAFETY: the place is as large as the buffer, which nobody reads before `finish`.
        let result = unsafe { cu::memcpy_dtoh_async(to.bytes(), from.0, self.lane.stream) };
        self.keep(result.map_err(failed("download")));
    }

    fn launch<A: Args>(&mut self, kernel: Kernel, grid: [usize; 3], args: A) {
        let function = self.functions[kernel as usize];
        let grid = (grid[0] as u32, grid[1] as u32, grid[2] as u32);
        let block = (kernel.threads() as u32, 1, 1);
        let mut params = [(&raw const args).cast_mut().cast::<c_void>()];
        // SAFETY: the kernel's only parameter is the struct `A`, copied by the call.
        let result = unsafe { cu::launch_kernel(function, grid, block, 0, self.lane.stream, &mut params) };
        self.keep(result.map_err(failed(kernel.name())));
    }

    fn product(&mut self, product: Product) {
        let result = self.lane.product(product);
        self.keep(result);
    }

    fn mark(&mut self, stage: Stage) {
        let lane = self.lane;
        let result = self
            .profile
            .as_mut()
            .map_or(Ok(()), |profile| profile.mark(stage, lane));
        self.keep(result);
    }

    fn prepare(&mut self, part: Part, bucket: usize, issue: &dyn Fn(&mut Self)) -> Result<(), GpuError> {
        self.finish()?;
        if part == Part::Codec {
            self.lane = self.side;
        }
        // Launch by launch first: libraries load and choose their kernels now, which a capture would not allow.
        issue(self);
        let captured = self.wait().map(|()| self.capture(issue));
        self.lane = self.main;
        // What does not run launch by launch does not run at all; only a capture can be done without.
        match captured? {
            Ok(graph) => {
                if let Some(old) = self.graphs.insert((part, bucket), graph) {
                    // SAFETY: replaced, and not running: the stream was just waited for.
                    let _ = unsafe { cu::graph::exec_destroy(old) };
                }
            }
            Err(e) => tracing::warn!(bucket, ?part, "no graph, launching one by one: {e}"),
        }
        self.finish()
    }

    fn run(&mut self, bucket: usize, codec: &dyn Fn(&mut Self), lm: &dyn Fn(&mut Self)) {
        let [begin, coded, done] = self.events;
        self.record(begin);
        if self.abreast && self.profile.is_none() {
            self.lane = self.side;
            let result = self.lane.follow(begin);
            self.keep(result);
        }
        self.queue(Part::Codec, bucket, codec);
        self.record(coded);
        self.lane = self.main;
        self.queue(Part::Lm, bucket, lm);
        self.mark(Stage::Head);
        self.record(done);
        let result = self.lane.follow(coded);
        self.keep(result);
    }

    fn finish(&mut self) -> Result<(), GpuError> {
        self.bind()?;
        self.wait()?;
        self.profile.as_mut().map_or(Ok(()), Profile::settle)
    }

    fn took(&self, part: Part) -> Option<Duration> {
        let [begin, coded, done] = self.events;
        let end = if part == Part::Codec { coded } else { done };
        // SAFETY: the events live; where one was never recorded the driver says so.
        let ms = unsafe { cu::event::elapsed(begin, end) }.ok()?;
        Some(Duration::from_secs_f64(f64::from(ms.max(0.0)) / 1e3))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.bind();
        // SAFETY: everything was made by this driver and is used by nobody any more. Errors cannot be helped here.
        unsafe {
            [self.main, self.side].iter().for_each(Lane::close);
            self.graphs.values().for_each(|g| _ = cu::graph::exec_destroy(*g));
            self.events.iter().for_each(|e| _ = cu::event::destroy(*e));
            self.memory.iter().for_each(|at| _ = cu::free_sync(*at));
            self.pinned.iter().for_each(|at| _ = cu::free_host(*at));
            self.modules.iter().for_each(|m| _ = cu::module::unload(*m));
            let _ = cu::primary_ctx::release(self.device);
        }
    }
}
