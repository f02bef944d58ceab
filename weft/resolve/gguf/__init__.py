"""Models in GGUF files: names of files, headers, and the config made from a file's metadata."""
