"""Backends: what executes a program's streams. Module names follow SGLang's, existing programs import them."""
