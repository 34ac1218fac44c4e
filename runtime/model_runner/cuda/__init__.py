"""The executor for CUDA devices: Triton kernels, CUDA graphs, draws that stay on the device."""
