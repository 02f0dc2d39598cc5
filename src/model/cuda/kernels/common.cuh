// What all kernels share: a row's place in the batch, the two number formats, sums over a block.
//
// Every kernel takes one struct by value. Its twin in Rust is in `args.rs`: same order, pointers first, then words.
// Nothing here needs a CUDA header, so the same files also compile as plain C++ for the emulator of the tests, which
// supplies DEVICE, KERNEL, SHARED, and the built-in names.
#pragma once

#ifdef MOSHI_EMULATE
#include "../emulator/emulate.h"
#else
#define DEVICE static __device__ __forceinline__
#define KERNEL(name, Args, threads) extern "C" __global__ void __launch_bounds__(threads) name(const Args a)
#define SHARED(type, name, count) __shared__ type name[count]
#endif

typedef unsigned int u32;
typedef unsigned long long u64;

// What the host tells of each slot of a step. A slot is a place in this step's batch, a row a place in the state.
struct Slot {
  u64 position;  // frames this row has had since its stream began; 0 makes the row fresh, whatever its state holds
  u64 seed;
  u32 row;  // VACANT in the slots that fill up a bucket
  u32 unused;
};

static const u32 VACANT = 0xffffffffu;
static const u32 BLOCK = 256;
static const u32 WARP = 32;
static const u32 FULL = 0xffffffffu;

// A bfloat16 is the upper half of a float.
struct bf16 {
  unsigned short bits;
};

// Four bits of exponent, three of mantissa, up to 448 ("E4M3", as NVIDIA, Arm and Intel define it in "FP8 Formats for
// Deep Learning", 2022). Whoever stores them keeps a factor beside.
struct fp8 {
  unsigned char bits;
};

static const float FP8_MOST = 448.0f;

DEVICE float to_float(float x) { return x; }
DEVICE float to_float(bf16 x) { return __uint_as_float(static_cast<u32>(x.bits) << 16); }

// Seven bits of exponent and mantissa lie where a float has them; the exponents' zeros are 120 apart.
DEVICE float to_float(fp8 x) {
  const u32 bits = x.bits;
  return __uint_as_float((bits & 0x80u) << 24 | (bits & 0x7fu) << 20) * __uint_as_float((127u + 120u) << 23);
}

DEVICE void put(float* at, float x) { *at = x; }
// To the nearest, ties to even, as the host does.
DEVICE void put(bf16* at, float x) {
  const u32 bits = __float_as_uint(x);
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  const u32 kept = nan ? bits >> 16 | 0x40u : (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
  at->bits = static_cast<unsigned short>(kept);
}

// To the nearest, ties to even; what is larger than the largest becomes that.
DEVICE void put(fp8* at, float x) {
  const u32 sign = __float_as_uint(x) >> 24 & 0x80u;
  const u32 bits = __float_as_uint(x * __uint_as_float((127u - 120u) << 23)) & 0x7fffffffu;
  const u32 kept = (bits + 0x7ffffu + (bits >> 20 & 1u)) >> 20;
  at->bits = static_cast<unsigned char>(sign | min(kept, 0x7eu));
}

// Sum over the block, in one fixed order, for every thread. All threads of a block of whole warps must call it.
DEVICE float block_sum(float v) {
  SHARED(float, part, WARP);
  for (u32 o = WARP / 2; o > 0; o /= 2) v += __shfl_xor_sync(FULL, v, o);
  __syncthreads();  // an earlier call's `part` has been read
  if (threadIdx.x % WARP == 0) part[threadIdx.x / WARP] = v;
  __syncthreads();
  float total = 0.0f;
  for (u32 w = 0; w < blockDim.x / WARP; ++w) total += part[w];
  return total;
}
