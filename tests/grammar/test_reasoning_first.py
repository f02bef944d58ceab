"""A form begins where the answer's reasoning ends."""

from __future__ import annotations

import pytest
from byte_grammars import next_ids

from weft.grammar.compiler import Compiler
from weft.grammar.read import read_constraint
from weft.grammar.vocabulary import pack_vocabulary
from weft.structured_outputs import ReasoningPart
from weft.structured_outputs import StructuredOutputsParams as Form

EOS, THINK, END = 256, 257, 258
COMPILER = Compiler(pack_vocabulary([bytes([i]) for i in range(256)] + [b"<end>", b"<think>", b"</think>"],
                                    special_ids=[EOS, THINK, END], eos_token_ids=[EOS]))
FORMS = {
    "json": ({"json": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}}, '{"x":1}'),
    "regex": ({"regex": "a+b"}, "aab"), "choice": ({"choice": ["yes", "no"]}, "yes"),
    "grammar": ({"grammar": 'root ::= "a" [0-9]'}, "a1"),
    "structural_tag": ({"structural_tag": {"format": {"type": "tag", "begin": "<a>", "end": "</a>", "content": {
        "type": "json_schema", "json_schema": {"type": "integer"}}}}}, "<a>1</a>"),
}
SPECIAL = {"starts": ("<think>",), "ends": ("</think>",)}
TEXTS = {"starts": ("Thought:",), "ends": ("Answer:", "So:")}
MIXED = {"starts": ("<think>a",), "ends": ("</think><think>b",)}


def is_whole(form: dict, part: ReasoningPart, *pieces: str | int) -> bool:
    """Whether texts and token ids are an answer that may end, and each token is allowed."""
    constraint = COMPILER.compile(read_constraint(Form(**form, reasoning=part)))
    for token_id in (one for piece in pieces for one in ([piece] if isinstance(piece, int) else piece.encode())):
        if token_id not in next_ids(constraint):
            return False
        constraint.accept(token_id)
    return constraint.is_complete


@pytest.mark.parametrize(("form", "answer"), FORMS.values(), ids=FORMS)
def test_behind_reasoning_of_any_text_comes_every_kind_of_form(form, answer):
    part = ReasoningPart(**SPECIAL, is_optional=True)

    assert is_whole(form, part, THINK, 'Hm {"x": "¡no!"\n', END, answer)
    assert is_whole(form, part, THINK, END, "\n\n" + answer)
    assert is_whole(form, part, answer)
    assert not is_whole(form, part, "Hm", END, answer)
    assert not is_whole(form, part, THINK, "Hm", EOS)
    assert not is_whole(form, part, THINK, "Hm", END, "Hm")


def test_reasoning_that_the_prompt_began_ends_before_the_form():
    part = ReasoningPart(**SPECIAL, is_open=True)

    assert is_whole({"regex": "a+b"}, part, "Hm", END, "ab")
    assert is_whole({"regex": "a+b"}, part, THINK, "Hm", END, "ab")
    assert not is_whole({"regex": "a+b"}, part, "ab")


@pytest.mark.parametrize("answer", ["Thought: 1 Answer:ab", "Thought: 1 So: ab", "Thought:So:ab"])
def test_marks_may_be_text_and_there_may_be_several(answer):
    part = ReasoningPart(**TEXTS, is_optional=True)

    assert is_whole({"regex": "a+b"}, part, answer) and is_whole({"regex": "a+b"}, part, "ab")
    assert not is_whole({"regex": "a+b"}, part, answer.replace("ab", "x"))


def test_marks_may_be_special_tokens_and_text_together():
    part = ReasoningPart(**MIXED)

    assert is_whole({"regex": "a+b"}, part, THINK, "aHm", END, THINK, "bab")
    assert not is_whole({"regex": "a+b"}, part, "ab") and not is_whole({"regex": "a+b"}, part, THINK, "x")
    assert not is_whole({"regex": "a+b"}, part, THINK, "aHm", END, "ab")
