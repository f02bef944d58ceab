"""Calls of tools whose format's marks are special tokens follow their schemas, and the text around them is free."""

from __future__ import annotations

import pytest
from byte_grammars import next_ids

from weft.errors import RequestError
from weft.grammar.compiler import Compiler
from weft.grammar.read import read_constraint
from weft.grammar.tool_calls import ToolSchema, tagged_form
from weft.grammar.vocabulary import pack_vocabulary
from weft.structured_outputs import StructuredOutputsParams as Form

EOS, CALL, ARGS, END, OTHER = range(256, 261)
SPECIAL = {"[CALL]": CALL, "[ARGS]": ARGS, "[END]": END}
COMPILER = Compiler(pack_vocabulary(
    [bytes([i]) for i in range(256)] + [b"<end>", b"[CALL]", b"[ARGS]", b"[END]", b"[OTHER]"],
    special_ids=[EOS, CALL, ARGS, END, OTHER], eos_token_ids=[EOS]))
TOOLS = [ToolSchema("at", {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"],
                           "additionalProperties": False}), ToolSchema("stop", {})]


def calls(**options) -> Form:
    return tagged_form(TOOLS, lambda name: f"[CALL]{name}[ARGS]", "", trigger="[CALL]", special=SPECIAL, **options)


def is_whole(form: Form, *pieces: str | int) -> bool:
    constraint = COMPILER.compile(read_constraint(form))
    for token_id in (one for piece in pieces for one in ([piece] if isinstance(piece, int) else piece.encode())):
        if token_id not in next_ids(constraint):
            return False
        constraint.accept(token_id)
    return constraint.is_complete


def test_a_special_token_begins_a_call_whose_arguments_follow_the_schema():
    assert is_whole(calls(), "Hm. ", CALL, "at", ARGS, '{"x": 1}', CALL, "stop", ARGS, "{}")
    assert is_whole(calls(), "no call") and is_whole(calls(), "[CALL] as text")
    assert not is_whole(calls(), CALL, "at", ARGS, '{"y"')
    for wrong in ([CALL, "other"], [CALL, "at[ARGS]"], [OTHER]):
        assert not is_whole(calls(), *wrong)


def test_a_call_may_have_a_number_between_its_name_and_a_special_token():
    form = tagged_form(TOOLS, lambda name: f"[CALL]functions.{name}:{{INDEX}}[ARGS]", "[END]", trigger="[CALL]",
                       special=SPECIAL)

    first = ("Hm", CALL, "functions.at:0", ARGS, '{"x": 1}', END)
    assert is_whole(form, *first, CALL, "functions.stop:1", ARGS, "{}", END)
    for wrong in ([CALL, "functions.at", ARGS], [CALL, "functions.at:0[ARGS]"], [CALL, "functions.at:0", ARGS, "{}"]):
        assert not is_whole(form, *wrong)


def test_marks_around_calls_may_stand_in_the_text():
    form = calls(text_marks=("[END]", "not a token"))

    assert is_whole(form, "Hm", END, CALL, "at", ARGS, '{"x": 1}', END, END, "so")
    assert not is_whole(form, END, OTHER)
    assert not is_whole(calls(), END)


def test_one_call_ends_the_answer_without_parallel_calls():
    form = calls(parallel=False)

    assert is_whole(form, "a", CALL, "at", ARGS, '{"x": 1}') and is_whole(form, "a")
    assert not is_whole(form, CALL, "at", ARGS, '{"x": 1}', CALL)


@pytest.mark.parametrize("begin", [[], [True], [1.5], [["a"]]])
def test_a_begin_that_is_neither_text_nor_a_list_of_texts_and_ids_is_refused(begin):
    with pytest.raises(RequestError, match=r"tags\[0\].begin"):
        read_constraint(Form(structural_tag={"format": {"type": "triggered_tags", "triggers": ["a"], "tags": [
            {"begin": begin, "content": {"type": "any_text"}, "end": "b"}]}}))
