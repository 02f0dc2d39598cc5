//! Arguments of the kernels: each struct is the twin of the one of the same name in the `.cu` files beside this one.
//!
//! Pointers come first, then words of four bytes, so that both compilers lay them out alike; the tests compare sizes.

use crate::model::cuda::backend::Ptr;

/// An argument that a kernel takes by value.
///
/// # Safety
/// The type is `repr(C)`, without padding, and has the layout of the kernel's struct.
pub(crate) unsafe trait Args: Copy {}

macro_rules! args {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $ty:ty),* $(,)? })*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        #[repr(C)]
        pub(crate) struct $name { $(pub(crate) $field: $ty),* }
        // SAFETY: fields of eight bytes come first, and there is an even number of words after them.
        unsafe impl Args for $name {}
    )* };
}

args! {
    /// A slot of a step: which row, and where in its stream. Uploaded every step.
    Slot { position: u64, seed: u64, row: u32, unused: u32 }
    NormArgs { x: Ptr, weight: Ptr, bias: Ptr, out: Ptr, d: u32, eps: f32 }
    ActivateArgs { x: Ptr, out: Ptr, width: u32, unused: u32 }
    UnfoldArgs {
        slots: Ptr, x: Ptr, history: Ptr, out: Ptr,
        channels: u32, kernel: u32, stride: u32, steps: u32, past: u32, width: u32, elu: u32, replicate: u32, bias: u32,
        unused: u32,
    }
    RememberArgs { slots: Ptr, x: Ptr, history: Ptr, channels: u32, steps: u32, past: u32, elu: u32 }
    NearestArgs {
        products: Ptr, half_norms: Ptr, entries: Ptr, residual: Ptr, codes: Ptr,
        bins: u32, width: u32, books: u32, book: u32,
    }
    EmbedArgs {
        slots: Ptr, text: Ptr, audio: Ptr, condition: Ptr, tokens: Ptr, previous: Ptr, x: Ptr,
        d: u32, books: u32, audio_vocabulary: u32, initial_token: u32, initial_code: u32, unused: u32,
    }
    HearArgs { slots: Ptr, codes: Ptr, previous: Ptr, books: u32, unused: u32 }
    ChooseArgs {
        slots: Ptr, logits: Ptr, tokens: Ptr, chosen: Ptr, pauses: Ptr, temperature: f64,
        vocabulary: u32, stride: u32, heads: u32, classes: u32,
    }
    TurnArgs { slots: Ptr, frequencies: Ptr, turns: Ptr, tokens: u32, pairs: u32 }
    AppendArgs {
        slots: Ptr, turns: Ptr, qkv: Ptr, keys: Ptr, values: Ptr, key_factors: Ptr, value_factors: Ptr,
        tokens: u32, heads: u32, head_dim: u32, context: u32,
    }
    AttendArgs {
        slots: Ptr, qkv: Ptr, keys: Ptr, values: Ptr, key_factors: Ptr, value_factors: Ptr, out: Ptr, partial: Ptr,
        tokens: u32, heads: u32, context: u32, splits: u32, scale: f32, unused: u32,
    }
    CombineArgs {
        slots: Ptr, partial: Ptr, out: Ptr,
        tokens: u32, heads: u32, head_dim: u32, context: u32, splits: u32, unused: u32,
    }
}

/// [`Slot::row`] of the slots that fill up a bucket.
pub(crate) const VACANT: u32 = u32::MAX;
