"""The runtime: scheduler, executors, engine and servers."""
