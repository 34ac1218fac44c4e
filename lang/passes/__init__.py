"""Rewrites of a program's graph: each makes it cheaper to run, and none changes what it gives at temperature 0."""
