"""Plain torch: the meaning of every kernel."""
