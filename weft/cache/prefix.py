"""Content keys of full blocks (prefix hashes): equal keys mean equal keys and values.

A content key is the sha256 of the previous block's key, the block's token ids and its extras. Extras are other inputs
that change the content: a cache salt, or prompt embeddings. So one key identifies the whole prefix.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from hashlib import sha256

_TOKEN_BYTES = 8       # int64
_ROOT = bytes(32)      # as long as a digest, so that no first block can be taken for a later one


def extend_block_keys(keys: list[bytes], token_ids: list[int], block_size: int, num_blocks: int,
                      extras: Callable[[int, int], bytes]) -> None:
    """Appends content keys to `keys` until it holds the keys of the first `num_blocks` blocks.

    token_ids: at least all tokens of these blocks. block_size: tokens in a block.
    extras(start, end): bytes that stand for all other inputs of tokens `start` to `end` - 1.
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
