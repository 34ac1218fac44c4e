"""Structural tags: free text with constrained parts, read, told apart by a lexer, and followed by a cursor."""
