"""Speculation: cheap guesses at the next tokens, so that one step yields several. They change no output."""
