//! The device engine on the emulator against the CPU engine and the reference, and the kernels by themselves.

mod attention;
mod kernels;
mod parity;
mod rows;
