"""The language: programs, their state, and the backends that execute them. Imports neither torch nor the runtime."""
