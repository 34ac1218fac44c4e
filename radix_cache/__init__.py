"""The prefix cache: a radix tree of token ids over KV slots. Integers only, no torch."""
