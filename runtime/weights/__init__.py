"""Checkpoints on disk: GGUF and safetensors, mapped and never trusted."""
