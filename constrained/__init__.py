"""Constrained decoding: what may be generated, guaranteed. Integers and bytes only, no torch."""
