"""`weft run MODEL [PROMPT]`: downloads a model if it is not there, loads it, and talks.

A model without a chat template continues the text instead.
"""

from __future__ import annotations

import argparse

from weft.cli.chat import talk
from weft.cli.complete import MAX_TOKENS, continue_texts
from weft.cli.conversation import Conversation
from weft.cli.parser import Parser
from weft.cli.talk import add_answer_options, own_engine, sampling_given


def add_arguments(parser: Parser) -> None:
    """The model, one message, and how to answer."""
    parser.usage = "weft run MODEL [PROMPT] [options]"
    parser.add_argument("positional_model", metavar="MODEL", help="checkpoint directory, .gguf file, hub name, or "
                                                                  "weft-embedded")
    parser.add_argument("prompt", metavar="PROMPT", nargs="?", help="answer this and end; none: a conversation")
    parser.add_argument("--system-prompt", metavar="TEXT", help="what the model is told first")
    add_answer_options(parser)


def run(options: argparse.Namespace) -> int:
    """Load the model and talk until the input ends."""
    endpoint = own_engine(options)
    try:
        if endpoint.has_chat:
            talk(Conversation(endpoint, sampling_given(options), system=options.system_prompt, stats=options.stats),
                 options.prompt)
        else:
            continue_texts(endpoint, options.prompt, sampling_given(options, max_tokens=MAX_TOKENS),
                           stats=options.stats)
    finally:
        endpoint.close()
    return 0
