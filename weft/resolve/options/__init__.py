"""Resolves single options for a model: a module gives each automatic option its value from the model's files."""
