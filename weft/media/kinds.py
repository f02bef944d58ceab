"""Words about the kinds of media: of messages, and of Transformers' processors."""

from __future__ import annotations

PLURALS = {"image": "images", "audio": "clips of audio"}
# The argument of processors that takes the items, and the attribute with the part that processes them.
ARGUMENTS = {"image": "images", "audio": "audio"}
PARTS = {"image": "image_processor", "audio": "feature_extractor"}


def count_of(kind: str, num: int) -> str:
    """Such as "2 images"."""
    return f"{num} {PLURALS[kind]}"
