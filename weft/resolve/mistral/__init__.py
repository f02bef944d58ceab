"""Mistral's own format: a params.json under the keys of a config.json."""
