"""The HTTP server: each API's routes on one front."""
