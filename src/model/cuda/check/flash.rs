//! Our attention of one query a row beside FlashAttention's as candle-flash-attn publishes it, on the same keys and values.
//!
//! Its kernels are called through `flash.cu`, which `scripts/flash-attn` compiles into a library of its own: the server
//! neither links nor needs it. Rows own one page each, in our order of dimensions, which its strides allow; only the ring
//! is rounded up to a multiple of its tile.

use std::ffi::{c_int, c_void};
use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use half::bf16;
use libloading::Library;

use super::distance::far;
use super::measure::{DIM, MODELS, Model, ROWS, bytes_of, noise};
use super::{Attention, Check, Report};
use crate::model::cuda::backend::{Backend, GpuError, Ptr};
use crate::model::cuda::driver::Driver;
use crate::model::cuda::driver::presence::presence;
use crate::model::cuda::kernels::{AttendArgs, CombineArgs, Kernel};
use crate::model::layout::dtype::{Cache, Real};
use crate::model::layout::memory::SPLIT;

/// Keys in a tile of its kernel; pages are multiples of it.
const TILE: usize = 32;
const WARM: usize = 5;
const TIMES: usize = 50;

/// Twin of `Call` in `flash.cu`.
#[repr(C)]
struct Call {
    q: Ptr,
    keys: Ptr,
    values: Ptr,
    out: Ptr,
    lse: Ptr,
    starts: Ptr,
    ends: Ptr,
    pages: Ptr,
    stream: *mut c_void,
    batch: u32,
    heads: u32,
    head_dim: u32,
    page: u32,
    longest: u32,
    scale: f32,
}

type Attend = unsafe extern "C" fn(*const Call) -> c_int;

/// One layer's attention, as both sides get it.
struct AttentionLayer {
    heads: usize,
    head_dim: usize,
    /// Places of a row's ring, and how many of them are live.
    page: usize,
    live: usize,
    keys: Ptr,
    values: Ptr,
    slots: Ptr,
    /// The same queries in f32, where ours finds them, and in bf16.
    qkv: Ptr,
    q: Ptr,
    partial: Ptr,
    ours: Ptr,
    theirs: Ptr,
    lse: Ptr,
    starts: Ptr,
    ends: Ptr,
    pages: Ptr,
}

/// Measures both on the models' shapes at every size, full rings, with the library at `path`.
///
/// # Errors
/// There is no GPU, the library cannot be used, or the device failed.
pub(super) fn compare(path: &Path, report: &mut Report) -> anyhow::Result<()> {
    presence(0).map_err(anyhow::Error::msg)?;
    // SAFETY: a library of ours; loading it registers kernels and does nothing else.
    let library = unsafe { Library::new(path) }.with_context(|| path.display().to_string())?;
    // SAFETY: the function is the one in `flash.cu`.
    let attend = unsafe { library.get::<Attend>(b"flash_attend") }.context("no flash_attend in it")?;
    // FlashAttention's knows no eight bits.
    let plain = |model: &&Model| model.cache != Cache::Fp8;
    for model in MODELS.iter().filter(plain) {
        let mut driver = Driver::open(0)?;
        let most = ROWS[ROWS.len() - 1];
        let layer = AttentionLayer::new(&mut driver, model, most).context("a layer's keys and values")?;
        for rows in ROWS {
            layer.place(&mut driver, rows)?;
            let ours_ms = timed(&mut driver, |driver| {
                layer.launch(driver, rows);
                Ok(())
            })?;
            let call = layer.call(&driver, rows);
            // SAFETY: addresses and sizes are the layer's; the stream is the driver's and outlives what is queued.
            let flash_ms = timed(&mut driver, |_| match unsafe { attend(&raw const call) } {
                0 => Ok(()),
                error => Err(GpuError(format!("FlashAttention: CUDA error {error}"))),
            })?;
            let n = rows * DIM;
            let apart = far(
                &read(&mut driver, layer.theirs, n)?,
                &read(&mut driver, layer.ours, n)?,
            );
            report.add(Check {
                name: format!("{} attention, {rows} rows", model.name),
                passed: apart < 2e-2,
                detail: format!("FlashAttention's within {apart:.1e} of ours"),
            });
            report.attention.push(Attention {
                model: model.name,
                rows,
                ours_ms,
                flash_ms,
            });
        }
    }
    Ok(())
}

/// Milliseconds of one call of `queue`, which queues the work.
fn timed(
    driver: &mut Driver,
    mut queue: impl FnMut(&mut Driver) -> Result<(), GpuError>,
) -> Result<f64, GpuError> {
    for _ in 0..WARM {
        queue(driver)?;
    }
    driver.finish()?;
    let start = Instant::now();
    for _ in 0..TIMES {
        queue(driver)?;
    }
    driver.finish()?;
    Ok(start.elapsed().as_secs_f64() * 1e3 / TIMES as f64)
}

fn read(driver: &mut Driver, at: Ptr, n: usize) -> Result<Vec<f32>, GpuError> {
    let mut bytes = vec![0; n * 2];
    driver.read(at, &mut bytes)?;
    let value = |b: &[u8]| bf16::from_le_bytes([b[0], b[1]]).to_f32();
    Ok(bytes.chunks_exact(2).map(value).collect())
}

impl AttentionLayer {
    fn new(b: &mut Driver, model: &Model, rows: usize) -> Result<Self, GpuError> {
        let (heads, head_dim) = (model.heads, DIM / model.heads);
        let page = model.context.next_multiple_of(TILE);
        let ring = rows * page * DIM * 2;
        let splits = page.div_ceil(SPLIT);
        let layer = Self {
            heads,
            head_dim,
            page,
            live: model.context,
            keys: b.alloc(ring)?,
            values: b.alloc(ring)?,
            slots: b.alloc(rows * 24)?,
            qkv: b.alloc(rows * 3 * DIM * 4)?,
            q: b.alloc(rows * DIM * 2)?,
            partial: b.alloc(rows * heads * splits * (head_dim + 2) * 4)?,
            ours: b.alloc(rows * DIM * 2)?,
            theirs: b.alloc(rows * DIM * 2)?,
            lse: b.alloc(rows * heads * 4)?,
            starts: b.alloc((rows + 1) * 4)?,
            ends: b.alloc((rows + 1) * 4)?,
            pages: b.alloc(rows * 4)?,
        };
        let piece = bytes_of(&noise(1_048_573));
        for at in [layer.keys, layer.values] {
            b.fill(at, ring, &piece)?;
        }
        let queries = noise(rows * DIM);
        for (row, q) in queries.chunks_exact(DIM).enumerate() {
            let wide: Vec<u8> = q.iter().flat_map(|x| x.to_f32().to_le_bytes()).collect();
            b.write(layer.qkv.plus(row * 3 * DIM * 4), &wide)?;
            b.write(layer.q.plus(row * DIM * 2), &bytes_of(q))?;
        }
        Ok(layer)
    }

    // Slots in the reverse order of rows, each at full context.
    fn place(&self, b: &mut Driver, rows: usize) -> Result<(), GpuError> {
        let words = |of: &dyn Fn(usize) -> usize, n: usize| -> Vec<u8> {
            (0..n).flat_map(|i| (of(i) as u32).to_le_bytes()).collect()
        };
        let slot = |i: usize| {
            let mut bytes = Vec::with_capacity(24);
            bytes.extend((self.live as u64 - 1).to_le_bytes());
            bytes.extend(0u64.to_le_bytes());
            bytes.extend(((rows - 1 - i) as u32).to_le_bytes());
            bytes.extend(0u32.to_le_bytes());
            bytes
        };
        b.write(self.slots, &(0..rows).flat_map(slot).collect::<Vec<u8>>())?;
        b.write(self.starts, &words(&|i| i, rows + 1))?;
        b.write(self.ends, &words(&|i| i * self.live, rows + 1))?;
        b.write(self.pages, &words(&|i| rows - 1 - i, rows))
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    fn launch(&self, b: &mut Driver, rows: usize) {
        let splits = self.page.div_ceil(SPLIT);
        let attend = AttendArgs {
            slots: self.slots,
            qkv: self.qkv,
            keys: self.keys,
            values: self.values,
            key_factors: Ptr::NULL,
            value_factors: Ptr::NULL,
            out: self.ours,
            partial: self.partial,
            tokens: 1,
            heads: self.heads as u32,
            context: self.page as u32,
            splits: splits as u32,
            scale: self.scale(),
            unused: 0,
        };
        if let Some(kernel) = Kernel::attend(Cache::Plain(Real::Bf16), self.head_dim) {
            b.launch(kernel, [splits, self.heads, rows], attend);
        }
        let combine = CombineArgs {
            slots: self.slots,
            partial: self.partial,
            out: self.ours,
            tokens: 1,
            heads: self.heads as u32,
            head_dim: self.head_dim as u32,
            context: self.page as u32,
            splits: splits as u32,
            unused: 0,
        };
        b.launch(Kernel::CombineBf16, [self.heads, rows, 1], combine);
    }

    fn call(&self, b: &Driver, rows: usize) -> Call {
        Call {
            q: self.q,
            keys: self.keys,
            values: self.values,
            out: self.theirs,
            lse: self.lse,
            starts: self.starts,
            ends: self.ends,
            pages: self.pages,
            stream: b.stream().cast(),
            batch: rows as u32,
            heads: self.heads as u32,
            head_dim: self.head_dim as u32,
            page: self.page as u32,
            longest: self.live as u32,
            scale: self.scale(),
        }
    }
}
