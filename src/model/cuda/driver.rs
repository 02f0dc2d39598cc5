//! A GPU behind [`Backend`]: memory, launches, products and graphs by the CUDA driver and cuBLAS.
//!
//! Nothing here may be called before [`super::presence`] said yes, for cudarc panics where a library is missing. All work
//! goes through one stream, in order.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CString, c_int, c_void};
use std::time::Duration;

use cudarc::cublas::{result as blas, sys as blas_sys};
use cudarc::driver::{result as cu, sys};

use super::args::{Args, Kernel};
use super::backend::{Backend, GpuError, Part, Pinned, Product, Ptr, Real, Stage};

/// What cuBLAS may use for its own; given once, for it must not allocate while a graph is captured.
const WORKSPACE: usize = 64 << 20;

const MODULES: [(&str, &str); 4] = [
    ("attention", include_str!("kernels/ptx/attention.ptx")),
    ("conv", include_str!("kernels/ptx/conv.ptx")),
    ("dense", include_str!("kernels/ptx/dense.ptx")),
    ("tokens", include_str!("kernels/ptx/tokens.ptx")),
];

fn failed(what: &str) -> impl Fn(cu::DriverError) -> GpuError {
    move |e| GpuError(format!("{what}: {e:?}"))
}

fn blas_failed(what: &str) -> impl Fn(blas::CublasError) -> GpuError {
    move |e| GpuError(format!("{what}: {e:?}"))
}

/// One GPU, its memory, kernels and graphs.
pub(super) struct Driver {
    device: sys::CUdevice,
    context: sys::CUcontext,
    pub(super) stream: sys::CUstream,
    blas: blas_sys::cublasHandle_t,
    modules: Vec<sys::CUmodule>,
    /// By `Kernel as usize`.
    functions: Vec<sys::CUfunction>,
    graphs: HashMap<(Part, usize), sys::CUgraphExec>,
    memory: Vec<sys::CUdeviceptr>,
    pinned: Vec<*mut c_void>,
    /// Before the codec, before the language model, after it.
    events: [sys::CUevent; 3],
    error: Option<GpuError>,
    profile: Option<Profile>,
}

// SAFETY: handles of the driver, which may be used from any thread in which the context is current; `bind` makes it so,
// and `&mut self` makes it one thread at a time.
unsafe impl Send for Driver {}

/// Time by stage, taken launch by launch.
#[derive(Default)]
struct Profile {
    events: Vec<sys::CUevent>,
    marks: Vec<Stage>,
    seconds: BTreeMap<Stage, f64>,
}

fn event() -> Result<sys::CUevent, GpuError> {
    cu::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).map_err(failed("an event"))
}

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
        let stream = cu::stream::create(cu::stream::StreamKind::NonBlocking).map_err(failed("a stream"))?;
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
        let blas = blas::create_handle().map_err(blas_failed("cuBLAS"))?;
        let mut driver = Self {
            device,
            context,
            stream,
            blas,
            modules: modules.into_values().collect(),
            functions,
            graphs: HashMap::new(),
            memory: Vec::new(),
            pinned: Vec::new(),
            events: [event()?, event()?, event()?],
            error: None,
            profile: None,
        };
        let workspace = driver.alloc(WORKSPACE)?;
        // SAFETY: handle and stream live; the workspace as long as the handle. The stream must be set first.
        unsafe {
            blas::set_stream(driver.blas, driver.stream.cast()).map_err(blas_failed("cuBLAS's stream"))?;
            blas_sys::cublasSetWorkspace_v2(driver.blas, workspace.0 as *mut c_void, WORKSPACE)
                .result()
                .map_err(blas_failed("cuBLAS's workspace"))?;
        }
        Ok(driver)
    }

    /// Name of the GPU.
    pub(super) fn name(&self) -> String {
        cu::device::get_name(self.device).unwrap_or_else(|_| "unknown".to_owned())
    }

    /// Takes times by stage from now on, launch by launch instead of by graphs; or stops and returns seconds by stage.
    pub(super) fn profile(&mut self, on: bool) -> BTreeMap<Stage, f64> {
        let profile = std::mem::replace(&mut self.profile, on.then(Profile::default));
        let Some(profile) = profile else {
            return BTreeMap::new();
        };
        for event in profile.events {
            // SAFETY: made by `mark`, used nowhere else.
            let _ = unsafe { cu::event::destroy(event) };
        }
        profile.seconds
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
        // SAFETY: event and stream live.
        let result = unsafe { cu::event::record(event, self.stream) };
        self.keep(result.map_err(failed("an event")));
    }

    fn capture(&mut self, issue: &dyn Fn(&mut Self)) -> Result<sys::CUgraphExec, GpuError> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives; what `issue` queues is captured until the end below, whatever it meets.
        unsafe { cu::stream::begin_capture(self.stream, mode) }.map_err(failed("capture"))?;
        issue(self);
        // SAFETY: begun above.
        let graph = unsafe { cu::stream::end_capture(self.stream) };
        if let Some(e) = self.error.take() {
            return Err(e);
        }
        let graph = graph.map_err(failed("capture"))?;
        // SAFETY: a graph just captured; the executable form does not need it any more.
        unsafe {
            let ready = cu::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0));
            let _ = cu::graph::destroy(graph);
            let ready = ready.map_err(failed("a graph"))?;
            cu::graph::upload(ready, self.stream).map_err(failed("a graph"))?;
            Ok(ready)
        }
    }

    // Adds the times between the marks of a finished step.
    fn settle(&mut self) -> Result<(), GpuError> {
        let Some(profile) = &mut self.profile else {
            return Ok(());
        };
        for (stage, ends) in profile
            .marks
            .iter()
            .zip(profile.events[..profile.marks.len()].windows(2))
        {
            // SAFETY: both were recorded and the stream is done.
            let ms = unsafe { cu::event::elapsed(ends[0], ends[1]) }.map_err(failed("a time"))?;
            *profile.seconds.entry(*stage).or_default() += f64::from(ms) / 1e3;
        }
        profile.marks.clear();
        Ok(())
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
            cu::memset_d8_async(at, 0, bytes, self.stream).map_err(failed(&what))?;
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
        unsafe { cu::memcpy_htod_async(to.0, bytes, self.stream) }.map_err(failed("upload"))?;
        self.finish()
    }

    fn read(&mut self, from: Ptr, bytes: &mut [u8]) -> Result<(), GpuError> {
        self.finish()?;
        // SAFETY: within an allocation, by the caller; nothing is queued.
        unsafe { cu::memcpy_dtoh_async(bytes, from.0, self.stream) }.map_err(failed("download"))?;
        self.finish()
    }

    fn send(&mut self, to: Ptr, from: &Pinned, at: usize, len: usize) {
        let bound = self.bind();
        self.keep(bound);
        debug_assert!(at + len <= from.len);
        // SAFETY: within the buffer, which nobody changes before `finish`.
        let bytes = unsafe { std::slice::from_raw_parts(from.at.add(at), len) };
        // SAFETY: the place is as large as the buffer's part.
        let result = unsafe { cu::memcpy_htod_async(to.0, bytes, self.stream) };
        self.keep(result.map_err(failed("upload")));
    }

    fn fetch(&mut self, to: &mut Pinned, from: Ptr) {
        // SAFETY: the place is as large as the buffer, which nobody reads before `finish`.
        let result = unsafe { cu::memcpy_dtoh_async(to.bytes(), from.0, self.stream) };
        self.keep(result.map_err(failed("download")));
    }

    fn launch<A: Args>(&mut self, kernel: Kernel, grid: [usize; 3], args: A) {
        let function = self.functions[kernel as usize];
        let grid = (grid[0] as u32, grid[1] as u32, grid[2] as u32);
        let block = (kernel.threads() as u32, 1, 1);
        let mut params = [(&raw const args).cast_mut().cast::<c_void>()];
        // SAFETY: the kernel's only parameter is the struct `A`, copied by the call.
        let result = unsafe { cu::launch_kernel(function, grid, block, 0, self.stream, &mut params) };
        self.keep(result.map_err(failed(kernel.name())));
    }

    fn product(&mut self, p: Product) {
        let real = |real| match real {
            Real::F32 => blas_sys::cudaDataType::CUDA_R_32F,
            Real::Bf16 => blas_sys::cudaDataType::CUDA_R_16BF,
        };
        let compute = if p.w.real == Real::F32 && !p.exact {
            blas_sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32
        } else {
            blas_sys::cublasComputeType_t::CUBLAS_COMPUTE_32F
        };
        let (m, n, k) = (p.m as c_int, p.w.n as c_int, p.w.k as c_int);
        let (one, beta) = (1.0f32, if p.add { 1.0f32 } else { 0.0 });
        // cuBLAS counts columns first: in its eyes this is yᵀ (n × m) = w (k × n, transposed) · xᵀ (k × m).
        // SAFETY: addresses and sizes are the engine's, which the tests run; alpha and beta are read by the call.
        let result = unsafe {
            blas::gemm_ex(
                self.blas,
                blas_sys::cublasOperation_t::CUBLAS_OP_T,
                blas_sys::cublasOperation_t::CUBLAS_OP_N,
                n,
                m,
                k,
                (&raw const one).cast(),
                p.w.at.0 as *const c_void,
                real(p.w.real),
                k,
                p.x.0 as *const c_void,
                real(p.w.real),
                k,
                (&raw const beta).cast(),
                p.y.0 as *mut c_void,
                blas_sys::cudaDataType::CUDA_R_32F,
                n,
                compute,
                blas_sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        };
        self.keep(result.map_err(blas_failed("a product")));
    }

    fn mark(&mut self, stage: Stage) {
        let Some(profile) = &mut self.profile else { return };
        let at = profile.marks.len();
        if profile.events.len() == at {
            match event() {
                Ok(event) => profile.events.push(event),
                Err(e) => return self.keep(Err(e)),
            }
        }
        profile.marks.push(stage);
        let event = profile.events[at];
        self.record(event);
    }

    fn prepare(&mut self, part: Part, bucket: usize, issue: &dyn Fn(&mut Self)) -> Result<(), GpuError> {
        self.bind()?;
        // Launch by launch first: libraries load and choose their kernels now, which a capture would not allow.
        issue(self);
        self.finish()?;
        match self.capture(issue) {
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

    fn run(&mut self, part: Part, bucket: usize, issue: &dyn Fn(&mut Self)) {
        let [begin, between, end] = self.events;
        self.record(if part == Part::Codec { begin } else { between });
        match self.graphs.get(&(part, bucket)) {
            Some(graph) if self.profile.is_none() => {
                // SAFETY: graph and stream live.
                let result = unsafe { cu::graph::launch(*graph, self.stream) };
                self.keep(result.map_err(failed("a graph")));
            }
            _ => issue(self),
        }
        if part == Part::Lm {
            self.mark(Stage::Head);
            self.record(end);
        }
    }

    fn finish(&mut self) -> Result<(), GpuError> {
        self.bind()?;
        // SAFETY: the stream lives.
        let waited = unsafe { cu::stream::synchronize(self.stream) };
        self.keep(waited.map_err(failed("the device")));
        match self.error.take() {
            Some(e) => Err(e),
            None => self.settle(),
        }
    }

    fn took(&self, part: Part) -> Option<Duration> {
        let [begin, between, end] = self.events;
        let (from, to) = match part {
            Part::Codec => (begin, between),
            Part::Lm => (between, end),
        };
        // SAFETY: the events live; where one was never recorded the driver says so.
        let ms = unsafe { cu::event::elapsed(from, to) }.ok()?;
        Some(Duration::from_secs_f64(f64::from(ms.max(0.0)) / 1e3))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.bind();
        // SAFETY: everything was made by this driver and is used by nobody any more. Errors cannot be helped here.
        unsafe {
            let _ = cu::stream::synchronize(self.stream);
            self.graphs.values().for_each(|g| _ = cu::graph::exec_destroy(*g));
            self.events.iter().for_each(|e| _ = cu::event::destroy(*e));
            let _ = blas::destroy_handle(self.blas);
            self.memory.iter().for_each(|at| _ = cu::free_sync(*at));
            self.pinned.iter().for_each(|at| _ = cu::free_host(*at));
            self.modules.iter().for_each(|m| _ = cu::module::unload(*m));
            let _ = cu::stream::destroy(self.stream);
            let _ = cu::primary_ctx::release(self.device);
        }
    }
}
