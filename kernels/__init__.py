"""The kernels of radixlang. Imports nothing: transformers imports a PyPI package of this name."""
