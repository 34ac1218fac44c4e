"""Models on this machine: fetch, verify, list."""
