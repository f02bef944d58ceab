"""Hugging Face's format: config.json, and config classes from Transformers, from checkpoints and from weft itself."""
