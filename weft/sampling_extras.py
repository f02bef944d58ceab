"""`SamplingExtras`: the samplers that vLLM does not have, under llama.cpp's names. Fields of `SamplingParams`."""

from __future__ import annotations

import msgspec

from weft.errors import RequestError
from weft.field_checks import MAX_COUNT, check_number, check_strings, check_whole

MAX_BREAKERS = 64
BREAKERS = ("\n", ":", '"', "*")      # ends of what DRY compares, unless a request says otherwise


class SamplingExtras(msgspec.Struct, kw_only=True, omit_defaults=True):
    """All are off by default. They change the logits after penalties and before the temperature, in this order.

    Attributes:
        dry_multiplier, dry_base, dry_allowed_length, dry_penalty_last_n: a token that would make the text's end repeat
            an earlier passage for more than dry_allowed_length tokens loses multiplier * base ** (the tokens that
            already repeat - dry_allowed_length). Looked at are the last dry_penalty_last_n tokens of prompt and answer;
            -1: all. dry_multiplier 0 is off.
        dry_sequence_breakers: texts whose last token ends a passage.
        top_n_sigma: keep tokens whose logits are at most so many standard deviations below the largest; 0 (or -1) is
            off. Source: arXiv:2411.07641.
        typical_p: in (0, 1]; keep the tokens whose surprise is nearest to the expected one, up to this probability.
            Source: arXiv:2202.00666.
        xtc_probability, xtc_threshold: with this probability, leave out all tokens of at least this probability but the
            least likely of them.
        dynatemp_range, dynatemp_exponent: temperature - range where the model is sure, + range where it is not:
            min + (max - min) * (entropy / largest entropy) ** exponent.
        mirostat, mirostat_tau, mirostat_eta: 1 or 2 keeps the surprise of tokens near tau bits, learning at the rate
            eta. It takes the place of all other filters. Source: arXiv:2007.14966. 0 is off.
    """

    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = -1
    dry_sequence_breakers: list[str] | None = None
    top_n_sigma: float = 0.0
    typical_p: float = 1.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    dynatemp_range: float = 0.0
    dynatemp_exponent: float = 1.0
    mirostat: int = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1

    @property
    def has_filters(self) -> bool:
        """True if one of the filters before the temperature is on, or the temperature is not fixed."""
        return bool(self.top_n_sigma or self.typical_p < 1 or self.xtc_probability or self.dynatemp_range
                    or self.mirostat)

    def check_extras(self) -> None:
        """RequestError for a wrong value; numbers become floats."""
        for name, low, high in (("dry_multiplier", 0, 100), ("dry_base", 1, 100), ("typical_p", 0, 1),
                                ("xtc_probability", 0, 1), ("xtc_threshold", 0, 1), ("dynatemp_range", 0, 2),
                                ("dynatemp_exponent", 0, 100), ("mirostat_tau", 0, 100), ("mirostat_eta", 0, 1)):
            setattr(self, name, check_number(name, getattr(self, name), low, high))
        self.top_n_sigma = max(check_number("top_n_sigma", self.top_n_sigma, -1, 1000), 0.0)
        if self.typical_p == 0:
            raise RequestError("typical_p", self.typical_p, expected="a number above 0, up to 1")
        check_whole("dry_allowed_length", self.dry_allowed_length, 0, MAX_COUNT)
        check_whole("dry_penalty_last_n", self.dry_penalty_last_n, -1, MAX_COUNT)
        check_whole("mirostat", self.mirostat, 0, 2)
        if self.dry_sequence_breakers is not None:
            self.dry_sequence_breakers = check_strings("dry_sequence_breakers", self.dry_sequence_breakers)
            if len(self.dry_sequence_breakers) > MAX_BREAKERS:
                raise RequestError("dry_sequence_breakers", len(self.dry_sequence_breakers),
                                   expected=f"at most {MAX_BREAKERS} texts")

    def drop_filters(self) -> None:
        """Switches the filters off, for a request that draws nothing."""
        self.top_n_sigma = self.xtc_probability = self.dynatemp_range = 0.0
        self.typical_p, self.mirostat = 1.0, 0
