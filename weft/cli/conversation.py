"""`Conversation`: a chat in the terminal, with what the user set and the commands that begin with a slash."""

from __future__ import annotations

import sys
from typing import Any

from weft.cli.endpoint import Endpoint
from weft.cli.talk import SAMPLING, print_stats, show
from weft.cli.typed import QUOTES, edit_lines, read_message
from weft.config.flags import json_or_text
from weft.errors import RequestError, WeftError, nearest
from weft.sampling_params import SamplingParams

COMMANDS = {
    "help": "shows this",
    "clear": "forgets what was said",
    "system": "TEXT tells the model TEXT first from now on, and forgets what was said; without TEXT: nothing",
    "set": "NAME VALUE sets a sampling option (/set temperature 0.2); no VALUE: the default; no NAME: shows all",
    "exit": "ends the conversation, as Ctrl-D does",
}


class Conversation:
    """Messages to and from a model.

    settings: sampling fields of each request. system: what the model is told first. stats: print each answer's times.
    """

    def __init__(self, endpoint: Endpoint, settings: dict[str, Any], *, system: str | None = None,
                 stats: bool = False) -> None:
        self.endpoint, self.settings, self.stats = endpoint, settings, stats
        self.messages: list[dict[str, Any]] = []
        self._begin(system)

    def say(self, text: str) -> None:
        """Send a message and print the answer. A message that gets no answer is forgotten."""
        self.messages.append({"role": "user", "content": text})
        try:
            answer = show(self.endpoint.chat(self.messages, self.settings))
        except BaseException:
            self.messages.pop()
            raise
        self.messages.append({"role": "assistant", "content": answer})
        print_stats(self.endpoint, self.stats)

    def run(self) -> None:
        """Talk with the user until the input ends or a message is /exit."""
        edit_lines()
        print(f"{self.endpoint.name}. Ctrl-C stops an answer, Ctrl-D ends, /help shows what else there is.")
        goes_on = True
        while goes_on and (text := read_message("> ")) is not None:
            try:
                if text.startswith("/") and not text.startswith("//"):
                    goes_on = self._obey(text)
                elif text.strip():
                    self.say(text.removeprefix("/"))
            except KeyboardInterrupt:
                print()
            except (WeftError, OSError) as error:
                print(f"weft: error: {error}", file=sys.stderr)

    def _begin(self, system: str | None) -> None:
        self.messages = [{"role": "system", "content": system}] if system else []

    def _obey(self, line: str) -> bool:
        """Carry out a command. False if it ends the conversation."""
        name, _, rest = line[1:].strip().partition(" ")
        rest = rest.strip()
        if name == "help":
            print("\n".join(f"  /{command:<8}{text}" for command, text in COMMANDS.items()))
            print(f"  {QUOTES} begins and ends a message of several lines; pasted lines are one message anyway.\n"
                  "  // begins a message with a slash.")
        elif name == "clear":
            self.messages = [message for message in self.messages[:1] if message["role"] == "system"]
        elif name == "system":
            self._begin(rest)
        elif name == "set":
            self._set(*rest.partition(" ")[::2])
        elif name != "exit":
            near = nearest(name, COMMANDS)
            raise RequestError("command", f"/{name}", expected=", ".join(f"/{command}" for command in COMMANDS),
                               hint=f"{f'Did you mean /{near[0]}? ' if near else ''}A message begins with // there.")
        return name != "exit"

    def _set(self, name: str, value: str) -> None:
        """Change a sampling field, if SamplingParams takes the value."""
        if not name:
            print("\n".join(f"  {key} = {self.settings[key]!r}" for key in self.settings) or "  nothing is set")
            return
        name = name.lstrip("-").replace("-", "_")
        if name not in SAMPLING:
            raise RequestError("/set", name, expected=f"one of {', '.join(SAMPLING)}")
        settings = {key: old for key, old in self.settings.items() if key != name}
        if value.strip():
            settings[name] = json_or_text(value.strip())
        SamplingParams(**settings)
        self.settings = settings
