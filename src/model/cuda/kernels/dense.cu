// Norms and activations between the matrix products. Inputs are f32, outputs what the next product reads.
#include "common.cuh"

struct NormArgs {
  const float* x;       // [tokens][d]
  const float* weight;  // [d]
  const float* bias;    // [d]; null for RMSNorm
  void* out;            // [tokens][d]
  u32 d;
  float eps;
};

// One block a token. RMSNorm without a bias, LayerNorm with one.
template <typename T>
DEVICE void norm(const NormArgs& a) {
  const float* x = a.x + static_cast<u64>(blockIdx.x) * a.d;
  T* out = static_cast<T*>(a.out) + static_cast<u64>(blockIdx.x) * a.d;
  float mean = 0.0f;
  if (a.bias) {
    float sum = 0.0f;
    for (u32 c = threadIdx.x; c < a.d; c += BLOCK) sum += x[c];
    mean = block_sum(sum) / static_cast<float>(a.d);
  }
  float squares = 0.0f;
  for (u32 c = threadIdx.x; c < a.d; c += BLOCK) {
    const float v = x[c] - mean;
    squares = fmaf(v, v, squares);
  }
  const float scale = 1.0f / sqrtf(block_sum(squares) / static_cast<float>(a.d) + a.eps);
  for (u32 c = threadIdx.x; c < a.d; c += BLOCK) {
    const float y = (x[c] - mean) * scale * a.weight[c];
    put(out + c, a.bias ? y + a.bias[c] : y);
  }
}

KERNEL(norm_f32, NormArgs, 256) { norm<float>(a); }
KERNEL(norm_bf16, NormArgs, 256) { norm<bf16>(a); }

struct ActivateArgs {
  const float* x;  // [tokens][2 * width] for SwiGLU, [tokens][width] for GELU
  void* out;       // [tokens][width]
  u32 width;
  u32 unused;
};

// Grid: (width / BLOCK, tokens).
template <typename T>
DEVICE void swiglu(const ActivateArgs& a) {
  const u32 c = blockIdx.x * BLOCK + threadIdx.x;
  if (c >= a.width) return;
  const float* x = a.x + static_cast<u64>(blockIdx.y) * 2 * a.width;
  const float gate = x[c];
  const float y = gate * (1.0f / (1.0f + expf(-gate))) * x[a.width + c];
  put(static_cast<T*>(a.out) + static_cast<u64>(blockIdx.y) * a.width + c, y);
}

KERNEL(swiglu_f32, ActivateArgs, 256) { swiglu<float>(a); }
KERNEL(swiglu_bf16, ActivateArgs, 256) { swiglu<bf16>(a); }

// Grid: (width / BLOCK, tokens). With the error function, as the codec was trained.
template <typename T>
DEVICE void gelu(const ActivateArgs& a) {
  const u32 c = blockIdx.x * BLOCK + threadIdx.x;
  if (c >= a.width) return;
  const u64 at = static_cast<u64>(blockIdx.y) * a.width + c;
  const float v = a.x[at];
  put(static_cast<T*>(a.out) + at, 0.5f * v * (1.0f + erff(v * 0.70710678f)));
}

KERNEL(gelu_f32, ActivateArgs, 256) { gelu<float>(a); }
KERNEL(gelu_bf16, ActivateArgs, 256) { gelu<bf16>(a); }
