"""Sources of a model's files: a local path, the Hugging Face hub, or ModelScope. The entry point is `find.py`."""
