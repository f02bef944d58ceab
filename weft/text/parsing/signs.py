"""Signs: texts by which a chat template tells the format of its model's answers."""

from __future__ import annotations

Signs = tuple[str | tuple[str, ...], ...]      # of several in one place one is enough


def has_signs(template: str, signs: Signs) -> bool:
    """True if the template has all signs, and there are any."""
    groups = [(sign,) if isinstance(sign, str) else sign for sign in signs]
    return bool(groups) and all(any(sign in template for sign in group) for group in groups)
