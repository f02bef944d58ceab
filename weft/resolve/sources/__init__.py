"""Where a model's files come from: a local path, the Hugging Face hub, or ModelScope. `find.py` is the way in."""
