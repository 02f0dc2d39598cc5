// Rotary positions, ring caches, and attention of one step's queries over what each row's rings hold.
//
// Keys and values of a layer are [rows][heads][context][head_dim]; those held as fp8 have a factor for every head_dim of
// them, [rows][heads][context]. A row's ring is read through its slot's row number,
// so rows never move, idle rows cost nothing, and a young stream costs only what it has heard.
#include "common.cuh"

struct TurnArgs {
  const Slot* slots;
  const double* frequencies;  // [pairs]
  float2* turns;              // [slots][tokens][pairs]: cosine and sine
  u32 tokens, pairs;
};

// Angles in f64: after hours of audio an f32 angle has lost its fraction. One block a slot.
KERNEL(turn, TurnArgs, 256) {
  const u64 first = a.slots[blockIdx.x].position * a.tokens;
  for (u32 i = threadIdx.x; i < a.tokens * a.pairs; i += BLOCK) {
    double s, c;
    sincos(static_cast<double>(first + i / a.pairs) * a.frequencies[i % a.pairs], &s, &c);
    a.turns[static_cast<u64>(blockIdx.x) * a.tokens * a.pairs + i] =
        make_float2(static_cast<float>(c), static_cast<float>(s));
  }
}

struct AppendArgs {
  const Slot* slots;
  const float2* turns;
  float* qkv;    // [slots][tokens][3][heads][head_dim]; queries are rotated in place
  void* keys;    // [rows][heads][context][head_dim]
  void* values;  // likewise
  float* key_factors;    // [rows][heads][context], where they are fp8
  float* value_factors;  // likewise
  u32 tokens, heads, head_dim, context;
};

// Rotates queries and keys, writes keys and values into the rings. Grid: (tokens, slots); a thread turns pairs.
template <typename T>
DEVICE void append(const AppendArgs& a) {
  const Slot slot = a.slots[blockIdx.y];
  if (slot.row == VACANT) return;
  const u32 dim = a.heads * a.head_dim, pairs = a.head_dim / 2, t = blockIdx.x;
  const u64 token = static_cast<u64>(blockIdx.y) * a.tokens + t;
  const u64 place = (slot.position * a.tokens + t) % a.context;
  float* q = a.qkv + token * 3 * dim;
  const float* k = q + dim;
  const float* v = k + dim;
  for (u32 i = threadIdx.x; i < dim / 2; i += BLOCK) {
    const u32 head = i / pairs, pair = i % pairs;
    const float2 turn = a.turns[token * pairs + pair];
    const u64 at = ((static_cast<u64>(slot.row) * a.heads + head) * a.context + place) * a.head_dim + 2 * pair;
    const float q0 = q[2 * i], q1 = q[2 * i + 1];
    q[2 * i] = q0 * turn.x - q1 * turn.y;
    q[2 * i + 1] = q0 * turn.y + q1 * turn.x;
    const float k0 = k[2 * i], k1 = k[2 * i + 1];
    T* key = static_cast<T*>(a.keys) + at;
    put(key, k0 * turn.x - k1 * turn.y);
    put(key + 1, k0 * turn.y + k1 * turn.x);
    T* value = static_cast<T*>(a.values) + at;
    put(value, v[2 * i]);
    put(value + 1, v[2 * i + 1]);
  }
}

KERNEL(append_f32, AppendArgs, 256) { append<float>(a); }
KERNEL(append_bf16, AppendArgs, 256) { append<bf16>(a); }

// The factor by which a vector whose largest value is `top` becomes fp8, and the one that brings it back.
struct Factor {
  float there, back;
};

DEVICE Factor factor_of(float top) {
  for (u32 o = WARP / 2; o > 0; o /= 2) top = fmaxf(top, __shfl_xor_sync(FULL, top, o));
  Factor f;
  f.there = top > 0.0f ? FP8_MOST / top : 0.0f;
  f.back = top / FP8_MOST;
  return f;
}

// As `append`. A warp takes a head: its largest key and value first.
KERNEL(append_fp8, AppendArgs, 256) {
  const Slot slot = a.slots[blockIdx.y];
  if (slot.row == VACANT) return;
  const u32 dim = a.heads * a.head_dim, pairs = a.head_dim / 2, t = blockIdx.x, lane = threadIdx.x % WARP;
  const u64 token = static_cast<u64>(blockIdx.y) * a.tokens + t;
  const u64 place = (slot.position * a.tokens + t) % a.context;
  const float2* turns = a.turns + token * pairs;
  for (u32 head = threadIdx.x / WARP; head < a.heads; head += BLOCK / WARP) {
    float* q = a.qkv + token * 3 * dim + head * a.head_dim;
    const float* k = q + dim;
    const float* v = k + dim;
    float top_key = 0.0f, top_value = 0.0f;
    for (u32 pair = lane; pair < pairs; pair += WARP) {
      const float2 turn = turns[pair];
      const float k0 = k[2 * pair], k1 = k[2 * pair + 1];
      top_key = fmaxf(top_key, fmaxf(fabsf(k0 * turn.x - k1 * turn.y), fabsf(k0 * turn.y + k1 * turn.x)));
      top_value = fmaxf(top_value, fmaxf(fabsf(v[2 * pair]), fabsf(v[2 * pair + 1])));
    }
    const Factor of_key = factor_of(top_key), of_value = factor_of(top_value);
    const u64 vector = (static_cast<u64>(slot.row) * a.heads + head) * a.context + place;
    if (lane == 0) {
      a.key_factors[vector] = of_key.back;
      a.value_factors[vector] = of_value.back;
    }
    for (u32 pair = lane; pair < pairs; pair += WARP) {
      const float2 turn = turns[pair];
      const float q0 = q[2 * pair], q1 = q[2 * pair + 1], k0 = k[2 * pair], k1 = k[2 * pair + 1];
      q[2 * pair] = q0 * turn.x - q1 * turn.y;
      q[2 * pair + 1] = q0 * turn.y + q1 * turn.x;
      fp8* key = static_cast<fp8*>(a.keys) + vector * a.head_dim + 2 * pair;
      put(key, (k0 * turn.x - k1 * turn.y) * of_key.there);
      put(key + 1, (k0 * turn.y + k1 * turn.x) * of_key.there);
      fp8* value = static_cast<fp8*>(a.values) + vector * a.head_dim + 2 * pair;
      put(value, v[2 * pair] * of_value.there);
      put(value + 1, v[2 * pair + 1] * of_value.there);
    }
  }
}

static const u32 ATTEND = 128;  // threads of a block
static const u32 SPLIT = 256;   // ring places of a block: fixed, so that a row's sums do not depend on its company
static const u32 AHEAD = 4;     // keys whose loads are in flight at once

struct AttendArgs {
  const Slot* slots;
  const float* qkv;    // queries as `append` left them
  const void* keys;    // [rows][heads][context][head_dim]
  const void* values;  // likewise
  const float* key_factors;    // [rows][heads][context], where they are fp8
  const float* value_factors;  // likewise
  void* out;           // [slots][tokens][heads][head_dim]
  float* partial;      // [slots][tokens][heads][splits][head_dim + 2], where there is more than one split
  u32 tokens, heads, context, splits;
  float scale;  // 1 / sqrt(head_dim)
  u32 unused;
};

// What a query may see: `live` ring places from the start, less `hidden` places from `from` on, round the end.
struct View {
  u32 live, from, hidden;
};

// All tokens of a step are stored before any is attended: when the ring is full, the last of them stand in places whose
// old content the first may no longer see, and whose new content it may not see yet.
DEVICE View view(u64 step, u32 t, u32 tokens, u32 context) {
  const u64 position = step * tokens + t, end = (step + 1) * tokens;
  View v;
  v.live = end <= context ? static_cast<u32>(position) + 1 : context;
  v.from = static_cast<u32>((position + 1) % context);
  v.hidden = end <= context ? 0 : tokens - 1 - t;
  return v;
}

DEVICE bool sees(const View& v, u32 place, u32 context) {
  const u32 ahead = place >= v.from ? place - v.from : place + context - v.from;
  return ahead >= v.hidden;
}

// Eight neighbouring elements, 16-byte loads.
DEVICE void load8(const float* p, float* to) {
  const float4 a = *reinterpret_cast<const float4*>(p), b = *reinterpret_cast<const float4*>(p + 4);
  to[0] = a.x, to[1] = a.y, to[2] = a.z, to[3] = a.w;
  to[4] = b.x, to[5] = b.y, to[6] = b.z, to[7] = b.w;
}
DEVICE void load8(const bf16* p, float* to) {
  const uint4 a = *reinterpret_cast<const uint4*>(p);
  const u32 words[4] = {a.x, a.y, a.z, a.w};
#pragma unroll
  for (u32 i = 0; i < 4; ++i) {
    to[2 * i] = __uint_as_float(words[i] << 16);
    to[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
  }
}
DEVICE void load8(const fp8* p, float* to) {
  const uint2 a = *reinterpret_cast<const uint2*>(p);
#pragma unroll
  for (u32 i = 0; i < 8; ++i) {
    fp8 x;
    x.bits = static_cast<unsigned char>((i < 4 ? a.x : a.y) >> 8 * (i % 4));
    to[i] = to_float(x);
  }
}

// Whether a format needs factors.
DEVICE bool factored(const float*) { return false; }
DEVICE bool factored(const bf16*) { return false; }
DEVICE bool factored(const fp8*) { return true; }

// Block maximum, for every thread.
DEVICE float block_max(float v) {
  SHARED(float, part, WARP);
  for (u32 o = WARP / 2; o > 0; o /= 2) v = fmaxf(v, __shfl_xor_sync(FULL, v, o));
  __syncthreads();
  if (threadIdx.x % WARP == 0) part[threadIdx.x / WARP] = v;
  __syncthreads();
  float top = part[0];
  for (u32 w = 1; w < blockDim.x / WARP; ++w) top = fmaxf(top, part[w]);
  return top;
}

// One block for SPLIT ring places of one head and one query. LANES neighbouring threads share a key, eight elements
// each (head_dim = 8 * LANES), so a warp reads 32 / LANES keys with one 16-byte load a thread. Scores, then their
// exponentials, wait in shared memory; values are read the same way. Grid: (splits, heads, slots * tokens).
template <typename Ring, typename Out, u32 LANES>
DEVICE void attend(const AttendArgs& a) {
  const u32 GROUPS = ATTEND / LANES, HEAD = 8 * LANES;
  SHARED(float, weights, SPLIT);
  SHARED(float, sums, ATTEND * 8);
  const u64 token = blockIdx.z;
  const Slot slot = a.slots[token / a.tokens];
  if (slot.row == VACANT) return;
  const View see = view(slot.position, static_cast<u32>(token % a.tokens), a.tokens, a.context);
  const u32 first = blockIdx.x * SPLIT, head = blockIdx.y;
  if (first >= see.live) return;
  const u32 count = min(SPLIT, see.live - first);
  const u32 group = threadIdx.x / LANES, lane = threadIdx.x % LANES;
  const u64 vector = (static_cast<u64>(slot.row) * a.heads + head) * a.context + first;
  const Ring* keys = static_cast<const Ring*>(a.keys) + vector * HEAD + lane * 8;
  const Ring* values = static_cast<const Ring*>(a.values) + vector * HEAD + lane * 8;

  float q[8];
  load8(a.qkv + (token * 3 * a.heads + head) * HEAD + lane * 8, q);
  float top = -INFINITY;
  for (u32 base = 0; base < count; base += AHEAD * GROUPS) {
    float k[AHEAD][8];
#pragma unroll
    for (u32 u = 0; u < AHEAD; ++u) {
      // Past the end the last key is read once more: every thread of a warp takes part in the sums below.
      load8(keys + static_cast<u64>(min(base + u * GROUPS + group, count - 1)) * HEAD, k[u]);
    }
#pragma unroll
    for (u32 u = 0; u < AHEAD; ++u) {
      const u32 j = base + u * GROUPS + group;
      float dot = 0.0f;
#pragma unroll
      for (u32 e = 0; e < 8; ++e) dot = fmaf(q[e], k[u][e], dot);
#pragma unroll
      for (u32 o = LANES / 2; o > 0; o /= 2) dot += __shfl_xor_sync(FULL, dot, o);
      if (j < count) {
        if (factored(keys)) dot *= a.key_factors[vector + j];
        const float score = sees(see, first + j, a.context) ? dot * a.scale : -INFINITY;
        top = fmaxf(top, score);
        if (lane == 0) weights[j] = score;
      }
    }
  }
  top = block_max(top);
  // A split may hold nothing but hidden places; its weights are zero then, not NaN.
  const float level = top == -INFINITY ? 0.0f : top;
  float sum = 0.0f;
  for (u32 j = threadIdx.x; j < count; j += ATTEND) {
    const float w = expf(weights[j] - level);
    weights[j] = factored(values) ? w * a.value_factors[vector + j] : w;
    sum += w;
  }
  sum = block_sum(sum);  // and a barrier: all weights are written

  float acc[8] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
  for (u32 base = group; base < count; base += AHEAD * GROUPS) {
    float v[AHEAD][8];
#pragma unroll
    for (u32 u = 0; u < AHEAD; ++u) {
      load8(values + static_cast<u64>(min(base + u * GROUPS, count - 1)) * HEAD, v[u]);
    }
#pragma unroll
    for (u32 u = 0; u < AHEAD; ++u) {
      const u32 j = base + u * GROUPS;
      const float w = j < count ? weights[j] : 0.0f;
#pragma unroll
      for (u32 e = 0; e < 8; ++e) acc[e] = fmaf(w, v[u][e], acc[e]);
    }
  }
#pragma unroll
  for (u32 e = 0; e < 8; ++e) sums[group * HEAD + lane * 8 + e] = acc[e];
  __syncthreads();
  if (threadIdx.x >= HEAD) return;
  float total = 0.0f;
  for (u32 g = 0; g < GROUPS; ++g) total += sums[g * HEAD + threadIdx.x];
  const u64 at = token * a.heads + head;
  if (a.splits == 1) {
    put(static_cast<Out*>(a.out) + at * HEAD + threadIdx.x, total / sum);
    return;
  }
  float* partial = a.partial + (at * a.splits + blockIdx.x) * (HEAD + 2);
  partial[2 + threadIdx.x] = total;
  if (threadIdx.x == 0) {
    partial[0] = top;
    partial[1] = sum;
  }
}

KERNEL(attend8_f32, AttendArgs, 128) { attend<float, float, 1>(a); }
KERNEL(attend16_f32, AttendArgs, 128) { attend<float, float, 2>(a); }
KERNEL(attend32_f32, AttendArgs, 128) { attend<float, float, 4>(a); }
KERNEL(attend64_f32, AttendArgs, 128) { attend<float, float, 8>(a); }
KERNEL(attend128_f32, AttendArgs, 128) { attend<float, float, 16>(a); }
KERNEL(attend8_bf16, AttendArgs, 128) { attend<bf16, bf16, 1>(a); }
KERNEL(attend16_bf16, AttendArgs, 128) { attend<bf16, bf16, 2>(a); }
KERNEL(attend32_bf16, AttendArgs, 128) { attend<bf16, bf16, 4>(a); }
KERNEL(attend64_bf16, AttendArgs, 128) { attend<bf16, bf16, 8>(a); }
KERNEL(attend128_bf16, AttendArgs, 128) { attend<bf16, bf16, 16>(a); }
KERNEL(attend8_fp8, AttendArgs, 128) { attend<fp8, bf16, 1>(a); }
KERNEL(attend16_fp8, AttendArgs, 128) { attend<fp8, bf16, 2>(a); }
KERNEL(attend32_fp8, AttendArgs, 128) { attend<fp8, bf16, 4>(a); }
KERNEL(attend64_fp8, AttendArgs, 128) { attend<fp8, bf16, 8>(a); }
KERNEL(attend128_fp8, AttendArgs, 128) { attend<fp8, bf16, 16>(a); }

struct CombineArgs {
  const Slot* slots;
  const float* partial;  // as `attend` left it
  void* out;             // [slots][tokens][heads][head_dim]
  u32 tokens, heads, head_dim, context;
  u32 splits, unused;
};

// Joins the splits of a query, as many as its view has. Grid: (heads, slots * tokens).
template <typename T>
DEVICE void combine(const CombineArgs& a) {
  const u64 token = blockIdx.y;
  const Slot slot = a.slots[token / a.tokens];
  if (slot.row == VACANT || threadIdx.x >= a.head_dim) return;
  const View see = view(slot.position, static_cast<u32>(token % a.tokens), a.tokens, a.context);
  const u32 splits = (see.live + SPLIT - 1) / SPLIT, size = a.head_dim + 2;
  const u64 at = token * a.heads + blockIdx.x;
  const float* partial = a.partial + at * a.splits * size;
  float top = -INFINITY;
  for (u32 s = 0; s < splits; ++s) top = fmaxf(top, partial[s * size]);
  float sum = 0.0f, total = 0.0f;
  for (u32 s = 0; s < splits; ++s) {
    const float weight = expf(partial[s * size] - top);
    sum = fmaf(weight, partial[s * size + 1], sum);
    total = fmaf(weight, partial[s * size + 2 + threadIdx.x], total);
  }
  put(static_cast<T*>(a.out) + at * a.head_dim + threadIdx.x, total / sum);
}

KERNEL(combine_f32, CombineArgs, 128) { combine<float>(a); }
KERNEL(combine_bf16, CombineArgs, 128) { combine<bf16>(a); }
