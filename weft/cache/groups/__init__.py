"""Cache groups: layers that store the same kind of data for the same tokens, and the rules for their blocks."""

from __future__ import annotations

from weft.cache.groups.encoder import EncoderGroup
from weft.cache.groups.full import FullGroup
from weft.cache.groups.group import FREED, UNLIMITED, CacheGroup
from weft.cache.groups.state import StateGroup
from weft.cache.groups.window import WindowGroup

__all__ = ["FREED", "UNLIMITED", "CacheGroup", "EncoderGroup", "FullGroup", "StateGroup", "WindowGroup"]
