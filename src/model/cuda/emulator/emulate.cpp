// Fibers, barriers and launches for the emulator, and the matrix product that a library does on the device.
#include "emulate.h"

#include <ucontext.h>

#include <cstdio>
#include <vector>

uint3 threadIdx, blockIdx, blockDim;

namespace {

enum class State { Ready, AtBlock, AtWarp, Done };

struct Fiber {
#if defined(__x86_64__)
  void* stack_pointer = nullptr;
#else
  ucontext_t context;
#endif
  std::vector<char> stack;
  State state = State::Done;
  unsigned exchanges = 0;
};

typedef void (*Kernel)(const void*);

const std::size_t STACK = 64 * 1024;
const unsigned WARP_SIZE = 32;

std::vector<Fiber> fibers;
#if defined(__x86_64__)
void* scheduler_pointer = nullptr;
#else
ucontext_t scheduler_context;
#endif
unsigned current = 0;
Kernel kernel;
const void* arguments;

// Values on their way between the lanes of a warp; two of each, for a lane may be one exchange ahead of another.
std::uint32_t offered[2][1024];

struct Line {
  const void* line;
  std::size_t at, bytes;
};
alignas(16) char shared_memory[48 * 1024];
std::vector<Line> lines;
std::size_t shared_used;
bool failed;
char message[256];

void fail(const char* what) {
  if (!failed) std::snprintf(message, sizeof message, "%s (block %u,%u,%u)", what, blockIdx.x, blockIdx.y, blockIdx.z);
  failed = true;
}

#if defined(__x86_64__)
// Saves what the C calling convention says a callee keeps, changes stacks, and restores the same of the other side.
extern "C" void emulate_switch(void** save, void* load);
asm(R"(
.text
.globl emulate_switch
.type emulate_switch, @function
emulate_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
#endif

void to_scheduler(State state) {
  Fiber& fiber = fibers[current];
  fiber.state = state;
#if defined(__x86_64__)
  emulate_switch(&fiber.stack_pointer, scheduler_pointer);
#else
  swapcontext(&fiber.context, &scheduler_context);
#endif
}

void fiber_main() {
  kernel(arguments);
  to_scheduler(State::Done);
}

void prepare(Fiber& fiber) {
  fiber.stack.resize(STACK);
  fiber.state = State::Ready;
  fiber.exchanges = 0;
#if defined(__x86_64__)
  auto top = reinterpret_cast<std::uintptr_t>(fiber.stack.data() + STACK) & ~std::uintptr_t(15);
  auto frame = reinterpret_cast<void**>(top) - 8;
  for (int i = 0; i < 6; ++i) frame[i] = nullptr;
  frame[6] = reinterpret_cast<void*>(&fiber_main);  // where the first switch returns to, with the stack as after a call
  frame[7] = nullptr;
  fiber.stack_pointer = frame;
#else
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.data();
  fiber.context.uc_stack.ss_size = STACK;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, fiber_main, 0);
#endif
}

void resume(unsigned i) {
  current = i;
  threadIdx = {i, 0, 0};
#if defined(__x86_64__)
  emulate_switch(&scheduler_pointer, fibers[i].stack_pointer);
#else
  swapcontext(&scheduler_context, &fibers[i].context);
#endif
}

bool all(unsigned from, unsigned to, State state) {
  bool any = false;
  for (unsigned i = from; i < to; ++i) {
    if (fibers[i].state != state && fibers[i].state != State::Done) return false;
    any |= fibers[i].state == state;
  }
  return any;
}

void release(unsigned from, unsigned to) {
  for (unsigned i = from; i < to; ++i) {
    if (fibers[i].state != State::Done) fibers[i].state = State::Ready;
  }
}

// Runs one block. Between barriers threads run one after the other, backwards if asked: a result that depends on the
// order lacks a barrier.
void run_block(unsigned threads, bool backwards) {
  lines.clear();
  shared_used = 0;
  for (unsigned i = 0; i < threads; ++i) prepare(fibers[i]);
  for (;;) {
    bool ran = false;
    for (unsigned i = 0; i < threads; ++i) {
      const unsigned t = backwards ? threads - 1 - i : i;
      if (fibers[t].state != State::Ready) continue;
      resume(t);
      ran = true;
    }
    for (unsigned w = 0; w < threads; w += WARP_SIZE) {
      const unsigned end = std::min(w + WARP_SIZE, threads);
      if (!all(w, end, State::AtWarp)) continue;
      for (unsigned i = w; i < end; ++i) {
        if (fibers[i].state == State::Done) fail("a warp exchanges values after some of its threads have ended");
      }
      release(w, end);
      ran = true;
    }
    if (all(0, threads, State::AtBlock)) {
      release(0, threads);
      ran = true;
    }
    if (all(0, threads, State::Done)) return;
    if (!ran) return fail("threads wait at different barriers");
  }
}

float widen(std::uint16_t bits) { return __uint_as_float(static_cast<unsigned>(bits) << 16); }
float widen(float x) { return x; }

template <typename T>
void product(const T* w, const T* x, float* y, unsigned m, unsigned n, unsigned k, unsigned ldx, unsigned ldy, bool add) {
  for (unsigned i = 0; i < m; ++i) {
    for (unsigned j = 0; j < n; ++j) {
      float sums[8] = {};
      for (unsigned c = 0; c < k; c += 8) {
        for (unsigned e = 0; e < 8; ++e) {
          sums[e] += widen(w[std::size_t(j) * k + c + e]) * widen(x[std::size_t(i) * ldx + c + e]);
        }
      }
      float sum = 0;
      for (float s : sums) sum += s;
      float& to = y[std::size_t(i) * ldy + j];
      to = add ? to + sum : sum;
    }
  }
}

}  // namespace

void __syncthreads() { to_scheduler(State::AtBlock); }

std::uint32_t emulate_exchange(std::uint32_t mine, unsigned with) {
  const unsigned parity = fibers[current].exchanges++ & 1;
  offered[parity][current] = mine;
  to_scheduler(State::AtWarp);
  return offered[parity][current ^ with];
}

void* emulate_shared(const void* line, std::size_t bytes) {
  for (const Line& l : lines) {
    if (l.line == line) return shared_memory + l.at;
  }
  const std::size_t at = (shared_used + 15) / 16 * 16;
  if (at + bytes > sizeof shared_memory) {
    fail("more shared memory than a block has");
    return shared_memory;
  }
  lines.push_back({line, at, bytes});
  shared_used = at + bytes;
  std::memset(shared_memory + at, 0xff, bytes);
  return shared_memory + at;
}

// Null, or what went wrong.
extern "C" const char* emulate_launch(Kernel which, const unsigned* grid, unsigned threads, const void* args, int backwards) {
  kernel = which;
  arguments = args;
  failed = false;
  blockDim = {threads, 1, 1};
  if (fibers.size() < threads) fibers.resize(threads);
  const std::size_t blocks = std::size_t(grid[0]) * grid[1] * grid[2];
  for (std::size_t b = 0; b < blocks && !failed; ++b) {
    const std::size_t i = backwards ? blocks - 1 - b : b;
    blockIdx = {unsigned(i % grid[0]), unsigned(i / grid[0] % grid[1]), unsigned(i / grid[0] / grid[1])};
    run_block(threads, backwards != 0);
  }
  return failed ? message : nullptr;
}

// y[m][n] = (or +=) x[m][k] w[n][k]^T; k is a multiple of eight.
extern "C" void emulate_product(const void* w, const void* x, float* y, unsigned m, unsigned n, unsigned k, unsigned ldx,
                                unsigned ldy, int add, int bf16) {
  if (bf16) {
    product(static_cast<const std::uint16_t*>(w), static_cast<const std::uint16_t*>(x), y, m, n, k, ldx, ldy, add != 0);
  } else {
    product(static_cast<const float*>(w), static_cast<const float*>(x), y, m, n, k, ldx, ldy, add != 0);
  }
}
