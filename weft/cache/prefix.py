"""Block keys: the name of a full block's content, equal when all that its keys and values depend on is equal.

A key is a sha256 over the key before it, the block's token ids and its extras (what else changes the content: a salt,
embeddings given instead of ids), so that one key stands for the whole prefix. Knows no block and no pool.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from hashlib import sha256

_TOKEN_BYTES = 8       # int64
_ROOT = bytes(32)      # as long as a digest, so that no first block can be taken for a later one


def extend_block_keys(keys: list[bytes], token_ids: list[int], block_size: int, num_blocks: int,
                      extras: Callable[[int, int], bytes]) -> None:
    """Appends to `keys`, which holds those of the first blocks, until there are `num_blocks`.

    `token_ids` must have all tokens of these blocks. extras(start, end): what the content of tokens `start` to
    `end` - 1 depends on besides their ids and what came before them.
    """
    first = len(keys)
    if first >= num_blocks:
        return
    content = array("q", token_ids[first * block_size : num_blocks * block_size]).tobytes()
    key = keys[-1] if keys else _ROOT
    size = block_size * _TOKEN_BYTES
    for number in range(first, num_blocks):
        start = (number - first) * size
        more = extras(number * block_size, (number + 1) * block_size)
        key = sha256(key + content[start : start + size] + more).digest()
        keys.append(key)
