//! SEANet on the device: 24 kHz samples to latents at 25 Hz, a group of slots at a time.

use super::conv::{Conv, Io};
use crate::model::cuda::backend::{Backend, Ptr};
use crate::model::cuda::kernels::Slot;
use crate::model::cuda::source::Loader;
use crate::model::error::LoadError;
use crate::model::layout::conv::ConvLayout;
use crate::model::layout::memory::GPU_CONV_GROUP;
use crate::model::layout::mimi::{MimiConfig, STEPS};
use crate::model::layout::seanet::{BlockLayout, SeanetLayout};

enum Block {
    Residual { narrow: Conv, widen: Conv },
    Resample(Conv),
}

/// The encoder's convolutions, and f32 buffers of one group of slots.
pub(super) struct Seanet {
    first: Conv,
    blocks: Vec<Block>,
    last: Conv,
    trunk: Ptr,
    next: Ptr,
    narrow: Ptr,
    unfolded: Ptr,
    frame: usize,
    dimension: usize,
    exact: bool,
}

impl Seanet {
    /// Loads `encoder.model.*`, with state for `rows` rows.
    ///
    /// # Errors
    /// A tensor is missing or wrong, the kernels do not take a shape, or the device is full.
    pub(super) fn load<B: Backend>(
        l: &mut Loader<'_, B>,
        config: &MimiConfig,
        rows: usize,
        exact: bool,
    ) -> Result<Self, LoadError> {
        let layout = SeanetLayout::encoder(config);
        let mut unfolded = 0;
        let mut conv = |layout: &ConvLayout| {
            let conv = Conv::load(l, layout, rows)?;
            unfolded = unfolded.max(conv.unfolded_bytes());
            Ok::<_, LoadError>(conv)
        };
        let first = conv(&layout.first)?;
        let mut blocks = Vec::with_capacity(layout.blocks.len());
        for block in &layout.blocks {
            blocks.push(match block {
                BlockLayout::Residual { narrow, widen } => Block::Residual {
                    narrow: conv(narrow)?,
                    widen: conv(widen)?,
                },
                BlockLayout::Resample(layout) => Block::Resample(conv(layout)?),
            });
        }
        let last = conv(&layout.last)?;
        let group = rows.min(GPU_CONV_GROUP);
        let widest = group * layout.widest() * 4;
        Ok(Self {
            first,
            blocks,
            last,
            trunk: l.space(widest)?,
            next: l.space(widest)?,
            narrow: l.space(widest)?,
            unfolded: l.space(group * unfolded)?,
            frame: config.frame_samples(),
            dimension: config.dimension,
            exact,
        })
    }

    /// Queues one frame of each of `n` slots: `pcm` is `[n][samples]`, `out` gets `[n][2][dimension]`.
    pub(super) fn launch<B: Backend>(&self, b: &mut B, slots: Ptr, n: usize, pcm: Ptr, out: Ptr) {
        for from in (0..n).step_by(GPU_CONV_GROUP) {
            let group = GPU_CONV_GROUP.min(n - from);
            let slots = slots.plus(from * size_of::<Slot>());
            let pcm = pcm.plus(from * self.frame * 4);
            let out = out.plus(from * STEPS * self.dimension * 4);
            self.launch_group(b, slots, group, pcm, out);
        }
    }

    fn launch_group<B: Backend>(&self, b: &mut B, slots: Ptr, n: usize, pcm: Ptr, out: Ptr) {
        let io = |x, y, elu, add| Io {
            slots,
            n,
            x,
            unfolded: self.unfolded,
            y,
            elu,
            add,
            exact: self.exact,
        };
        let (mut trunk, mut next) = (self.trunk, self.next);
        self.first.launch(b, io(pcm, trunk, false, false));
        for block in &self.blocks {
            match block {
                Block::Residual { narrow, widen } => {
                    narrow.launch(b, io(trunk, self.narrow, true, false));
                    widen.launch(b, io(self.narrow, trunk, true, true));
                }
                Block::Resample(conv) => {
                    conv.launch(b, io(trunk, next, true, false));
                    std::mem::swap(&mut trunk, &mut next);
                }
            }
        }
        self.last.launch(b, io(trunk, out, true, false));
    }
}
