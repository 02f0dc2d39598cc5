//! A fork-join pool for the step: no allocation per job, and threads that sleep between steps.
//!
//! General pools queue boxed jobs. A model step has about a hundred short parallel regions with one caller, so one
//! shared job slot is enough: the caller publishes a task count and a closure, all threads draw task numbers from one
//! counter, and the caller returns when every thread has left the region.

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, Thread};

/// Turns of waiting before a worker parks or the caller yields: some tens of microseconds.
const SPINS: u32 = 4_000;

type Job = *const (dyn Fn(usize) + Sync);

struct Shared {
    job: UnsafeCell<Option<Job>>,
    tasks: AtomicUsize,
    next: AtomicUsize,
    inside: AtomicUsize,
    region: AtomicU32,
    panicked: AtomicBool,
    stop: AtomicBool,
}

// SAFETY: `job` is written only by the one caller while no worker is inside a region (`inside == 0`), and read by
// workers only after they have seen the `region` counter move, which happens after the write.
unsafe impl Sync for Shared {}
// SAFETY: the raw pointer in `job` is only followed during `Pool::run`, which outlives the closure it points to.
unsafe impl Send for Shared {}

/// Threads for parallel regions. The calling thread works too, so `Pool::new(1)` starts none.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<Thread>,
    handles: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts a pool that computes on `threads` threads, the caller's included.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(crate) fn new(threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            job: UnsafeCell::new(None),
            tasks: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            inside: AtomicUsize::new(0),
            region: AtomicU32::new(0),
            panicked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let mut handles = Vec::new();
        for i in 1..threads.max(1) {
            let shared = Arc::clone(&shared);
            handles.push(
                thread::Builder::new()
                    .name(format!("step-{i}"))
                    .spawn(move || work(&shared))?,
            );
        }
        let threads = handles.iter().map(|h| h.thread().clone()).collect();
        Ok(Self {
            shared,
            threads,
            handles,
        })
    }

    /// Returns the number of threads that compute, the caller's included.
    pub(crate) fn width(&self) -> usize {
        self.threads.len() + 1
    }

    /// Calls `f(0) … f(tasks - 1)`, each once, spread over the threads. Panics if a task panicked on another thread.
    ///
    /// Takes `&mut self`: one region at a time, and none inside another.
    pub(crate) fn run(&mut self, tasks: usize, f: &(dyn Fn(usize) + Sync)) {
        if self.threads.is_empty() || tasks <= 1 {
            (0..tasks).for_each(f);
            return;
        }
        let s = &*self.shared;
        // SAFETY: extends the closure's lifetime only until the wait loop below has seen every worker leave.
        let job = unsafe { std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), Job>(f) };
        // SAFETY: no worker is inside a region here, see `Shared`.
        unsafe { *s.job.get() = Some(job) };
        s.tasks.store(tasks, Ordering::Relaxed);
        s.next.store(0, Ordering::Relaxed);
        s.inside.store(self.threads.len(), Ordering::Relaxed);
        s.region.fetch_add(1, Ordering::Release);
        self.threads.iter().for_each(Thread::unpark);
        let mine = catch_unwind(AssertUnwindSafe(|| draw(s, f)));
        let mut spins = 0;
        while s.inside.load(Ordering::Acquire) != 0 {
            spins += 1;
            if spins < SPINS {
                std::hint::spin_loop()
            } else {
                thread::yield_now()
            }
        }
        if let Err(panic) = mine {
            std::panic::resume_unwind(panic);
        }
        assert!(!s.panicked.load(Ordering::Relaxed), "a compute thread panicked");
    }
}

fn draw(s: &Shared, f: &(dyn Fn(usize) + Sync)) {
    let tasks = s.tasks.load(Ordering::Relaxed);
    loop {
        let i = s.next.fetch_add(1, Ordering::Relaxed);
        if i >= tasks {
            return;
        }
        f(i);
    }
}

fn work(s: &Shared) {
    let mut seen = 0;
    loop {
        let mut spins = 0;
        while s.region.load(Ordering::Acquire) == seen {
            if s.stop.load(Ordering::Relaxed) {
                return;
            }
            spins += 1;
            if spins < SPINS {
                std::hint::spin_loop()
            } else {
                thread::park()
            }
        }
        seen = seen.wrapping_add(1);
        // SAFETY: the region counter moved, so the job was published; the caller waits for `inside` before it returns.
        let job = unsafe { (*s.job.get()).map(|job| &*job) };
        if let Some(f) = job
            && catch_unwind(AssertUnwindSafe(|| draw(s, f))).is_err()
        {
            s.panicked.store(true, Ordering::Relaxed);
        }
        s.inside.fetch_sub(1, Ordering::Release);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.threads.iter().for_each(Thread::unpark);
        for handle in self.handles.drain(..) {
            // A worker's panic was reported by `run`; there is nobody to tell here.
            let _ = handle.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_task_runs_exactly_once() {
        let mut pool = Pool::new(3).unwrap();
        for tasks in [0, 1, 2, 7, 500] {
            let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            pool.run(tasks, &|i| {
                counts[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn a_panic_in_a_task_reaches_the_caller() {
        let mut pool = Pool::new(2).unwrap();
        let result = catch_unwind(AssertUnwindSafe(|| pool.run(64, &|i| assert!(i != 63))));
        assert!(result.is_err());
    }
}
