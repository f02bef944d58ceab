"""`weft chat`: a conversation in the terminal, or one message from the command line or a pipe.

The command talks to a server. If none was named and none runs, it starts an engine with the model that comes with weft.
"""

from __future__ import annotations

import argparse
import sys

from weft.cli.conversation import Conversation
from weft.cli.parser import Parser
from weft.cli.talk import add_talk_options, one_text, open_endpoint, sampling_given


def add_arguments(parser: Parser) -> None:
    """The server or model, and the messages."""
    parser.usage = "weft chat [MESSAGE] [options]"
    parser.add_argument("message", metavar="MESSAGE", nargs="?", help="answer this one message and end")
    parser.add_argument("-q", "--quick", metavar="MESSAGE", help="the same as MESSAGE")
    parser.add_argument("--system-prompt", metavar="TEXT", help="what the model is told first")
    add_talk_options(parser)


def run(options: argparse.Namespace) -> int:
    """Talk until the input ends."""
    message = one_text("MESSAGE", options.message, options.quick)
    endpoint = open_endpoint(options)
    try:
        conversation = Conversation(endpoint, sampling_given(options), system=options.system_prompt,
                                    stats=options.stats)
        talk(conversation, message)
    finally:
        endpoint.close()
    return 0


def talk(conversation: Conversation, message: str | None) -> None:
    """Send one message, from the argument or a pipe, or talk with the user at the terminal."""
    if message is not None:
        conversation.say(message)
    elif not sys.stdin.isatty():
        conversation.say(sys.stdin.read().strip())
    else:
        conversation.run()
