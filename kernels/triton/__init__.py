"""Triton kernels: the same ops on a GPU. Under TRITON_INTERPRET=1 they run on CPU tensors, for tests."""
