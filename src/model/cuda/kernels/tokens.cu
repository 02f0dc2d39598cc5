// Where signals become symbols and back: nearest codes, embeddings, the choice of a token.
#include "common.cuh"

struct NearestArgs {
  const float* products;    // [slots][bins]: residual times entries
  const float* half_norms;  // [bins]: |entry|^2 / 2
  const float* entries;     // [bins][width]
  float* residual;          // [slots][width], less the chosen entry afterwards
  u32* codes;               // [slots][books]
  u32 bins, width, books, book;
};

// The smaller of two candidates; of equals the one with the lower index.
struct Candidate {
  double value;
  u32 index;
};

DEVICE bool better(double v, u32 i, const Candidate& than) {
  return v > than.value || (v == than.value && i < than.index);
}

// The best candidate of the block, for every thread.
DEVICE Candidate block_best(Candidate mine) {
  SHARED(double, values, BLOCK);
  SHARED(u32, indices, BLOCK);
  __syncthreads();
  values[threadIdx.x] = mine.value;
  indices[threadIdx.x] = mine.index;
  for (u32 half = BLOCK / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half && better(values[threadIdx.x + half], indices[threadIdx.x + half], mine)) {
      mine.value = values[threadIdx.x + half];
      mine.index = indices[threadIdx.x + half];
      values[threadIdx.x] = mine.value;
      indices[threadIdx.x] = mine.index;
    }
  }
  __syncthreads();
  mine.value = values[0];
  mine.index = indices[0];
  return mine;
}

DEVICE Candidate nobody() {
  Candidate c;
  c.value = -INFINITY;
  c.index = FULL;
  return c;
}

// argmin |x - e|^2 = argmax x.e - |e|^2 / 2. One block a slot.
KERNEL(nearest, NearestArgs, 256) {
  const float* products = a.products + static_cast<u64>(blockIdx.x) * a.bins;
  Candidate best = nobody();
  for (u32 i = threadIdx.x; i < a.bins; i += BLOCK) {
    const float distance = a.half_norms[i] - products[i];
    if (-static_cast<double>(distance) > best.value) {
      best.value = -static_cast<double>(distance);
      best.index = i;
    }
  }
  best = block_best(best);
  const u32 code = best.index == FULL ? 0 : best.index;
  if (threadIdx.x == 0) a.codes[static_cast<u64>(blockIdx.x) * a.books + a.book] = code;
  for (u32 c = threadIdx.x; c < a.width; c += BLOCK) {
    a.residual[static_cast<u64>(blockIdx.x) * a.width + c] -= a.entries[static_cast<u64>(code) * a.width + c];
  }
}

struct EmbedArgs {
  const Slot* slots;
  const void* text;        // [text vocabulary][d]
  const void* audio;       // [books][audio vocabulary][d]
  const float* condition;  // [d], or null
  const u32* tokens;       // [rows]: what each row said last
  const u32* previous;     // [rows][books]: codes of the frame before
  float* x;                // [slots][d]
  u32 d, books, audio_vocabulary, initial_token, initial_code;
  u32 unused;
};

static const u32 MAX_BOOKS = 64;

// One block a slot.
template <typename T>
DEVICE void embed(const EmbedArgs& a) {
  SHARED(u32, heard, MAX_BOOKS);
  const Slot slot = a.slots[blockIdx.x];
  float* x = a.x + static_cast<u64>(blockIdx.x) * a.d;
  if (slot.row == VACANT) {
    for (u32 c = threadIdx.x; c < a.d; c += BLOCK) x[c] = 0.0f;
    return;
  }
  const bool fresh = slot.position == 0;
  for (u32 i = threadIdx.x; i < a.books; i += BLOCK) {
    heard[i] = fresh ? a.initial_code : a.previous[static_cast<u64>(slot.row) * a.books + i];
  }
  __syncthreads();
  const u32 token = fresh ? a.initial_token : a.tokens[slot.row];
  const T* text = static_cast<const T*>(a.text) + static_cast<u64>(token) * a.d;
  const T* audio = static_cast<const T*>(a.audio);
  for (u32 c = threadIdx.x; c < a.d; c += BLOCK) {
    float sum = (a.condition ? a.condition[c] : 0.0f) + to_float(text[c]);
#pragma unroll 8
    for (u32 i = 0; i < a.books; ++i) {
      sum += to_float(audio[(static_cast<u64>(i) * a.audio_vocabulary + heard[i]) * a.d + c]);
    }
    x[c] = sum;
  }
}

KERNEL(embed_f32, EmbedArgs, 256) { embed<float>(a); }
KERNEL(embed_bf16, EmbedArgs, 256) { embed<bf16>(a); }

struct HearArgs {
  const Slot* slots;
  const u32* codes;  // [slots][books]: codes of this frame
  u32* previous;     // [rows][books]: where `embed` finds them at the next step
  u32 books, unused;
};

// One block a slot. After both halves of a step: until then the language model still hears the frame before.
KERNEL(hear, HearArgs, 256) {
  const Slot slot = a.slots[blockIdx.x];
  if (slot.row == VACANT) return;
  for (u32 i = threadIdx.x; i < a.books; i += BLOCK) {
    a.previous[static_cast<u64>(slot.row) * a.books + i] = a.codes[static_cast<u64>(blockIdx.x) * a.books + i];
  }
}

struct ChooseArgs {
  const Slot* slots;
  const float* logits;  // [slots][stride]: text, then the pause heads one after the other
  u32* tokens;          // [rows]
  u32* chosen;          // [slots]
  float* pauses;        // [slots][heads]
  double temperature;   // 0: greedy
  u32 vocabulary, stride, heads, classes;
};

// SplitMix64's step, as `sampling.rs`.
DEVICE u64 mix(u64 x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

DEVICE double noisy(float logit, double inverse, u64 stream, u32 token) {
  const double uniform = (static_cast<double>(mix(stream + token) >> 11) + 0.5) / 9007199254740992.0;
  return static_cast<double>(logit) * inverse - log(-log(uniform));
}

// One block a slot: the token, greedy or by Gumbel-max, and the probability of each pause head's first class.
KERNEL(choose, ChooseArgs, 256) {
  const Slot slot = a.slots[blockIdx.x];
  if (slot.row == VACANT) return;
  const float* logits = a.logits + static_cast<u64>(blockIdx.x) * a.stride;
  const bool greedy = !(a.temperature > 0.0);
  const double inverse = greedy ? 1.0 : 1.0 / a.temperature;
  const u64 stream = mix(slot.seed ^ mix(slot.position));
  Candidate best = nobody();
  for (u32 i = threadIdx.x; i < a.vocabulary; i += BLOCK) {
    const double v = greedy ? static_cast<double>(logits[i]) : noisy(logits[i], inverse, stream, i);
    if (v > best.value) {
      best.value = v;
      best.index = i;
    }
  }
  best = block_best(best);
  if (threadIdx.x == 0) {
    const u32 token = best.index == FULL ? 0 : best.index;
    a.tokens[slot.row] = token;
    a.chosen[blockIdx.x] = token;
  }
  if (threadIdx.x < a.heads) {
    const float* classes = logits + a.vocabulary + threadIdx.x * a.classes;
    float top = -INFINITY, total = 0.0f;
    for (u32 i = 0; i < a.classes; ++i) top = fmaxf(top, classes[i]);
    for (u32 i = 0; i < a.classes; ++i) total += expf(classes[i] - top);
    a.pauses[static_cast<u64>(blockIdx.x) * a.heads + threadIdx.x] = expf(classes[0] - top) / total;
  }
}
