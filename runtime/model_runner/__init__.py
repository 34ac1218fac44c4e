"""Executors: a step plan in, sampled token ids out."""
