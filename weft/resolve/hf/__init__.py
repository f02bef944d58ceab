"""Hugging Face's format: config.json, and the config classes of Transformers, of checkpoints and of weft's own."""
