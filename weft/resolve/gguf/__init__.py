"""Models in GGUF files: names of files, headers, and the config that a file's metadata make."""
