//! [`Backend`] by a GPU.

use std::ffi::c_void;
use std::time::Duration;

use cudarc::driver::result as cu;

use super::profile::Profile;
use super::{Driver, failed};
use crate::model::Part;
use crate::model::cuda::backend::{Backend, GpuError, Pinned, Product, ProfileSpan, Ptr};
use crate::model::cuda::kernels::{Args, Kernel};
use crate::model::cuda::schedule::{Task, chains};

impl Backend for Driver {
    fn alloc(&mut self, bytes: usize) -> Result<Ptr, GpuError> {
        self.bind()?;
        let what = format!("{} MiB of device memory", bytes >> 20);
        // SAFETY: freed in `drop`; zeroed before anything else sees it.
        unsafe {
            let at = cu::malloc_sync(bytes.max(1)).map_err(failed(&what))?;
            self.memory.push(at);
            cu::memset_d8_async(at, 0, bytes.max(1), self.queue.stream).map_err(failed(&what))?;
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
        unsafe { cu::memcpy_htod_async(to.0, bytes, self.queue.stream) }.map_err(failed("upload"))?;
        self.finish()
    }

    fn read(&mut self, from: Ptr, bytes: &mut [u8]) -> Result<(), GpuError> {
        self.finish()?;
        // SAFETY: within an allocation, by the caller; nothing is queued.
        unsafe { cu::memcpy_dtoh_async(bytes, from.0, self.queue.stream) }.map_err(failed("download"))?;
        self.finish()
    }

    fn send(&mut self, to: Ptr, from: &Pinned, at: usize, len: usize) {
        let bound = self.bind();
        self.keep(bound);
        debug_assert!(at + len <= from.len);
        // SAFETY: within the buffer, which nobody changes before `finish`.
        let bytes = unsafe { std::slice::from_raw_parts(from.at.add(at), len) };
        // SAFETY: the place is as large as the buffer's part.
        let result = unsafe { cu::memcpy_htod_async(to.0, bytes, self.queue.stream) };
        self.keep(result.map_err(failed("upload")));
    }

    fn fetch(&mut self, to: &mut Pinned, from: Ptr) {
        // SAFETY: the place is as large as the buffer, which nobody reads before `finish`.
        let result = unsafe { cu::memcpy_dtoh_async(to.bytes(), from.0, self.queue.stream) };
        self.keep(result.map_err(failed("download")));
    }

    fn launch<A: Args>(&mut self, kernel: Kernel, grid: [usize; 3], args: A) {
        let function = self.functions[kernel as usize];
        let grid = (grid[0] as u32, grid[1] as u32, grid[2] as u32);
        let block = (kernel.threads() as u32, 1, 1);
        let mut params = [(&raw const args).cast_mut().cast::<c_void>()];
        // SAFETY: the kernel's only parameter is the struct `A`, copied by the call.
        let result = unsafe { cu::launch_kernel(function, grid, block, 0, self.queue.stream, &mut params) };
        self.keep(result.map_err(failed(kernel.name())));
    }

    fn product(&mut self, product: Product) {
        let result = self.queue.product(product);
        self.keep(result);
    }

    fn mark(&mut self, span: ProfileSpan) {
        let queue = self.queue;
        let result = self
            .profile
            .as_mut()
            .map_or(Ok(()), |profile| profile.mark(span, queue));
        self.keep(result);
    }

    fn prepare(&mut self, bucket: usize, schedule: &[Task<'_, Self>]) -> Result<(), GpuError> {
        for (task, chain) in schedule.iter().zip(chains(schedule)) {
            self.finish()?;
            // A graph keeps the workspace of the queue that it was captured on, so it must be the one it will run on.
            self.queue = self.queue_of(chain);
            let prepared = self.prepare_task(task, bucket);
            self.queue = self.queues[0];
            prepared?;
        }
        self.finish()
    }

    fn run(&mut self, bucket: usize, schedule: &[Task<'_, Self>]) {
        let abreast = self.abreast && self.profile.is_none();
        self.record(self.begin);
        for (task, chain) in schedule.iter().zip(chains(schedule)) {
            if abreast && self.queue_of(chain).stream != self.queues[0].stream {
                self.queue = self.queue_of(chain);
                self.follow(self.begin);
            }
            for part in task.after {
                self.follow(self.ends[*part as usize]);
            }
            self.submit(task, bucket);
            self.record(self.ends[task.part as usize]);
            self.queue = self.queues[0];
        }
        self.mark(ProfileSpan::Head);
        for task in schedule {
            self.follow(self.ends[task.part as usize]);
        }
    }

    fn finish(&mut self) -> Result<(), GpuError> {
        self.bind()?;
        self.wait()?;
        self.profile.as_mut().map_or(Ok(()), Profile::settle)
    }

    fn took(&self, part: Part) -> Option<Duration> {
        // SAFETY: the events live; where one was never recorded the driver says so.
        let ms = unsafe { cu::event::elapsed(self.begin, self.ends[part as usize]) }.ok()?;
        Some(Duration::from_secs_f64(f64::from(ms.max(0.0)) / 1e3))
    }
}
