// The kernels' built-in names, for running them on a CPU: one fiber a GPU thread, one block at a time.
//
// It shows wrong indices, missing barriers and barriers that not all threads reach. It cannot show what only hardware
// has: real concurrency of blocks, alignment faults, register and shared-memory limits, the last bits of its functions.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

struct uint3 {
  unsigned x, y, z;
};
struct float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

extern uint3 threadIdx, blockIdx, blockDim;

// Yields until all threads of the block (or warp) have come here too.
void __syncthreads();
std::uint32_t emulate_exchange(std::uint32_t mine, unsigned with);
// The block's memory behind one SHARED line, filled with NaN before the block starts.
void* emulate_shared(const void* line, std::size_t bytes);

inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline float __uint_as_float(unsigned bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
inline unsigned __float_as_uint(float x) {
  unsigned bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}
inline float __shfl_xor_sync(unsigned, float v, unsigned lanes) {
  return __uint_as_float(emulate_exchange(__float_as_uint(v), lanes));
}
using std::min;

#define DEVICE static inline
#define SHARED(type, name, count)                                 \
  static const char name##_line = 0;                              \
  type* const name = static_cast<type*>(emulate_shared(&name##_line, sizeof(type) * (count)))
// Beside the kernel: the size of its argument, which must be that of the struct in Rust.
#define KERNEL(name, Args, threads)                                                               \
  static void name##_body(const Args a);                                                          \
  extern "C" void name(const void* args) { name##_body(*static_cast<const Args*>(args)); }        \
  extern "C" unsigned name##_size() { return sizeof(Args); }                                      \
  extern "C" unsigned name##_threads() { return threads; }                                        \
  static void name##_body(const Args a)
