"""Text to token ids and back, for Hugging Face and GGUF vocabularies."""
