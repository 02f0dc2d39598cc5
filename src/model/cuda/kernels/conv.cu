// Causal streaming convolutions. A row remembers the last `kernel - stride` input steps of each; a step unfolds them
// and the new ones into one line of `kernel * channels` values per output step, and a matrix product does the rest.
#include "common.cuh"

struct UnfoldArgs {
  const Slot* slots;
  const float* x;        // [slots][steps][channels], as the layer before left it
  const float* history;  // [rows][past][channels], already activated
  float* out;            // [slots][steps / stride][width]
  u32 channels, kernel, stride, steps;
  u32 past;       // kernel - stride, at most steps
  u32 width;      // kernel * channels, plus a column of ones where there is a bias, up to a multiple of eight
  u32 elu;        // activate what is read from x
  u32 replicate;  // before a stream's first step stands that step, not silence
  u32 bias;       // column kernel * channels is one: the bias is that column of the weights
  u32 unused;
};

DEVICE float activate(float x, u32 elu) { return elu && x < 0.0f ? expf(x) - 1.0f : x; }

DEVICE float unfolded(const UnfoldArgs& a, const Slot& slot, u32 n, u32 step, u32 k) {
  const u32 taps = a.kernel * a.channels;
  if (k >= taps) return k == taps && a.bias ? 1.0f : 0.0f;
  const u32 tap = k / a.channels, channel = k % a.channels;
  const u32 at = step * a.stride + tap;  // counted from the oldest remembered step
  const float* x = a.x + static_cast<u64>(n) * a.steps * a.channels;
  if (at >= a.past) return activate(x[static_cast<u64>(at - a.past) * a.channels + channel], a.elu);
  if (slot.position == 0) return a.replicate ? activate(x[channel], a.elu) : 0.0f;
  return a.history[(static_cast<u64>(slot.row) * a.past + at) * a.channels + channel];
}

// Grid: (steps / stride * width / 4 / BLOCK, slots); four neighbouring values a thread.
KERNEL(unfold, UnfoldArgs, 256) {
  const u32 quads = a.width / 4, lines = a.steps / a.stride;
  const u32 i = blockIdx.x * BLOCK + threadIdx.x;
  if (i >= lines * quads) return;
  const Slot slot = a.slots[blockIdx.y];
  const u32 step = i / quads, k = i % quads * 4;
  float4 v = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  if (slot.row != VACANT) {
    v.x = unfolded(a, slot, blockIdx.y, step, k);
    v.y = unfolded(a, slot, blockIdx.y, step, k + 1);
    v.z = unfolded(a, slot, blockIdx.y, step, k + 2);
    v.w = unfolded(a, slot, blockIdx.y, step, k + 3);
  }
  float* out = a.out + (static_cast<u64>(blockIdx.y) * lines + step) * a.width + k;
  *reinterpret_cast<float4*>(out) = v;
}

struct RememberArgs {
  const Slot* slots;
  const float* x;  // [slots][steps][channels]
  float* history;  // [rows][past][channels]
  u32 channels, steps, past, elu;
};

// After the unfolding of the same step: the last `past` input steps, for the next. Grid: (past * channels / BLOCK, slots).
KERNEL(remember, RememberArgs, 256) {
  const u32 i = blockIdx.x * BLOCK + threadIdx.x, size = a.past * a.channels;
  const Slot slot = a.slots[blockIdx.y];
  if (i >= size || slot.row == VACANT) return;
  const u64 end = (static_cast<u64>(blockIdx.y) + 1) * a.steps * a.channels;
  a.history[static_cast<u64>(slot.row) * size + i] = activate(a.x[end - size + i], a.elu);
}
