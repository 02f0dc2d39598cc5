// Kernels and emulator as one library.
#include "emulate.cpp"

#include "../kernels/attention.cu"
#include "../kernels/conv.cu"
#include "../kernels/dense.cu"
#include "../kernels/tokens.cu"
