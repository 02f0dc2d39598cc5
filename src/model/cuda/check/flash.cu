// Attention of one query a row over row-owned pages, by the published kernels of candle-flash-attn (FlashAttention 2), to
// be compared with ours. Compiled by scripts/flash-attn against that crate's headers; no part of the server.
#include "kernels.h"
#include "kernel_helpers.h"
#include "flash_fwd_launch_template.h"

// Twin of `Call` in flash.rs. Pages are [rows][heads][page][head_dim], queries and results [batch][heads][head_dim], bf16.
struct Call {
  const void *q, *keys, *values;
  void* out;
  float* lse;              // [heads][batch], written
  const int *starts;       // [batch + 1]: 0, 1, 2, ...
  const int *ends;         // [batch + 1]: sums of the rows' lengths
  const int *pages;        // [batch]: the row of each
  cudaStream_t stream;
  uint32_t batch, heads, head_dim, page, longest;
  float scale;
};

// As that crate launches it: tiles of 64 queries by 32 keys, one split. Only what one query without a mask needs is built.
template <int HEAD>
static cudaError_t launch(Flash_fwd_params& p, cudaStream_t stream) {
  using Traits = Flash_fwd_kernel_traits<HEAD, 64, 32, 4, false, false, cutlass::bfloat16_t>;
  auto kernel = &flash_fwd_splitkv_kernel<Traits, false, false, false, false, true, false, false, false>;
  if (Traits::kSmemSize >= 48 * 1024) {
    const cudaError_t failed =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Traits::kSmemSize);
    if (failed != cudaSuccess) return failed;
  }
  kernel<<<dim3(1, p.b, p.h), Traits::kNThreads, Traits::kSmemSize, stream>>>(p);
  return cudaGetLastError();
}

// 0, CUDA's error, or -1 for a size of heads that was not built.
extern "C" __attribute__((visibility("default"))) int flash_attend(const Call* call) {
  Flash_fwd_params p;
  memset(&p, 0, sizeof(p));
  const uint32_t h = call->heads, d = call->head_dim;
  p.q_ptr = const_cast<void*>(call->q);
  p.k_ptr = const_cast<void*>(call->keys);
  p.v_ptr = const_cast<void*>(call->values);
  p.o_ptr = call->out;
  p.softmax_lse_ptr = call->lse;
  p.q_row_stride = p.o_row_stride = h * d;
  p.q_head_stride = p.o_head_stride = d;
  p.k_row_stride = p.v_row_stride = d;
  p.k_head_stride = p.v_head_stride = call->page * d;
  p.k_batch_stride = p.v_batch_stride = h * call->page * d;
  p.b = call->batch;
  p.h = p.h_k = h;
  p.h_h_k_ratio = 1;
  p.seqlen_q = 1;
  p.seqlen_k = call->longest;
  p.seqlen_q_rounded = 128;
  p.seqlen_k_rounded = (call->longest + 127) / 128 * 128;
  p.total_q = call->batch;
  p.d = p.d_rounded = d;
  p.scale_softmax = call->scale;
  p.scale_softmax_log2 = call->scale * M_LOG2E;
  p.p_dropout = p.rp_dropout = 1.0f;
  p.p_dropout_in_uint8_t = 255;
  p.scale_softmax_rp_dropout = call->scale;
  p.is_bf16 = true;
  p.cu_seqlens_q = const_cast<int*>(call->starts);
  p.cu_seqlens_k = const_cast<int*>(call->ends);
  p.is_seqlens_k_cumulative = true;
  p.block_table = const_cast<int*>(call->pages);
  p.block_table_batch_stride = 1;
  p.page_block_size = call->page;
  p.window_size_left = p.window_size_right = -1;
  p.num_splits = 1;
  p.unpadded_lse = true;
  if (d == 64) return launch<64>(p, call->stream);
  if (d == 128) return launch<128>(p, call->stream);
  return -1;
}
