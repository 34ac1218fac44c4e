"""JSON schemas: normalised, checked, rewritten exactly to what the engine serves, or refused with the place."""
