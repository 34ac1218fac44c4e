"""The native CPU step: packed weights, one call from token ids to sampled ids."""
