"""The Transformers backend: any model class of Transformers, wired to weft's cache where the class allows it."""
