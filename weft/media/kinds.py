"""Words about the kinds of media: of messages, and of Transformers' processors."""

from __future__ import annotations

from collections.abc import Sequence

SINGULARS = {"image": "an image", "audio": "a clip of audio"}
PLURALS = {"image": "images", "audio": "clips of audio"}
# The argument of processors that takes the items, and the attribute with the part that processes them.
ARGUMENTS = {"image": "images", "audio": "audio"}
PARTS = {"image": "image_processor", "audio": "feature_extractor"}


def taken(kinds: Sequence[str]) -> str:
    """What a model takes: "text alone", or such as "text and images"."""
    return " and ".join(["text", *(PLURALS[kind] for kind in kinds)]) if kinds else "text alone"


def count_of(kind: str, num: int) -> str:
    """Such as "2 images"."""
    return f"{num} {PLURALS[kind]}"
