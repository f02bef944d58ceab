"""Two mixers side by side in one block: attention and a state. `layers/pair.py` runs them."""

from __future__ import annotations

from weft.architectures.attention_spec import AttentionSpec
from weft.architectures.part import part
from weft.architectures.part_kinds import MixerSpec
from weft.architectures.position_spec import Alibi, Disentangled, RelativeBias, Rope
from weft.architectures.state_spec import StateSpec


@part
class PairSpec(MixerSpec):
    """attention(h) + state(h): both mixers read the block's normed input (Falcon-H1). Source: arXiv:2507.22448.

    attention, state: the two mixers.
    """

    attention: AttentionSpec
    state: StateSpec

    @property
    def positions(self) -> Rope | Alibi | RelativeBias | Disentangled | None:
        """Those of attention."""
        return self.attention.positions

    @property
    def window(self) -> int | None:
        """That of attention."""
        return self.attention.window

    def describe(self, *, sizes: bool = True) -> str:
        """`8 heads, 2 kv heads of 64 beside a state space …`."""
        return f"{self.attention.describe(sizes=sizes)} beside {self.state.describe(sizes=sizes)}"

    def features(self) -> list[str]:
        """As MixerSpec."""
        return self.attention.features()
