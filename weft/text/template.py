"""`ChatTemplate`: one parsed Jinja chat template, with its keyword arguments and the form of content that it reads.

Knows no tokenizer and renders nothing; `chat.py` chooses a template and renders it.
"""

from __future__ import annotations

from pathlib import Path

from jinja2 import meta, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from weft.errors import ConfigError

# Names that every template is given: its inputs, and the functions of its environment.
GIVEN_NAMES = frozenset({"messages", "tools", "documents", "add_generation_prompt", "raise_exception", "strftime_now"})


class GenerationBlock(Extension):
    """The block `{% generation %}…{% endgeneration %}`: it marks an assistant's text for training; no effect here."""

    tags = {"generation"}   # noqa: RUF012 (Jinja's own protocol)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def is_template_text(text: str) -> bool:
    """True for a template's text, False for a string that can only be a name or a path."""
    return "{{" in text or "{%" in text


def read_template(text_or_path: str) -> str:
    """The text of a template given as text or as a file's path. ConfigError when the file cannot be read."""
    if is_template_text(text_or_path):
        return text_or_path
    try:
        return Path(text_or_path).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ConfigError("chat_template", text_or_path, expected="a Jinja template or the path of a readable file",
                          hint=f"({error})") from error


def sandbox() -> ImmutableSandboxedEnvironment:
    """The Jinja environment in which chat templates are parsed and run."""
    return ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                         extensions=[GenerationBlock, "jinja2.ext.loopcontrols"])


class ChatTemplate:
    """A parsed template.

    Attributes:
        text: the template.
        declared: keyword arguments that it reads, without those given to every template and the special tokens.
        takes_parts: it uses a message's content as a list: loops over it, indexes it or applies a list filter.
        tests_string: it tests whether a content is a string, so it takes strings too.
    """

    def __init__(self, text: str, *, special_token_names: frozenset[str] = frozenset()) -> None:
        """Raises jinja2.TemplateSyntaxError."""
        env = sandbox()
        tree = env.parse(text)
        self.text = text
        self._read = frozenset(meta.find_undeclared_variables(tree))
        self.declared = self._read - GIVEN_NAMES - special_token_names - env.globals.keys()
        use = _ContentUse(tree)
        self.takes_parts, self.tests_string = use.takes_parts, use.tests_string

    def reads(self, name: str) -> bool:
        """True when the template reads the variable `name`."""
        return name in self._read


# Filters that only make sense for a list of parts.
_LIST_FILTERS = frozenset({"first", "last", "map", "reject", "rejectattr", "select", "selectattr"})


class _ContentUse:
    """Finds how a template uses a message's content, by following `messages` through variables, loops and macros."""

    def __init__(self, tree: nodes.Template) -> None:
        self.takes_parts = self.tests_string = False
        self._roles: dict[str, set[str]] = {"list": {"messages"}, "message": set(), "content": set()}
        self._macros = {macro.name: macro for macro in tree.find_all(nodes.Macro)}
        before = -1
        while before != (before := self._num_known()):   # repeat: a macro's body comes before the calls
            for node in tree.find_all((nodes.Assign, nodes.For, nodes.Call, nodes.Test, nodes.Getitem, nodes.Filter)):
                self._learn(node)

    def _num_known(self) -> int:
        return sum(map(len, self._roles.values()))

    def _learn(self, node: nodes.Node) -> None:
        match node:
            case nodes.Assign(target=target, node=value):
                self._bind(target, self._role(value))
            case nodes.For(target=target, iter=iterated):
                role = self._role(iterated)
                self._bind(target, "message" if role == "list" else None)
                self.takes_parts = self.takes_parts or role == "content"
            case nodes.Call(node=nodes.Name(name=name), args=args) if name in self._macros:
                for parameter, argument in zip(self._macros[name].args, args, strict=False):
                    self._bind(parameter, self._role(argument))
            case nodes.Test(name="string", node=tested):
                self.tests_string = self.tests_string or self._role(tested) == "content"
            case nodes.Getitem(node=owner, arg=index) if not isinstance(index, nodes.Slice):
                self.takes_parts = self.takes_parts or self._role(owner) == "content"
            case nodes.Filter(node=inner, name=name) if inner is not None and name in _LIST_FILTERS:
                self.takes_parts = self.takes_parts or self._role(inner) == "content"

    def _bind(self, target: nodes.Node, role: str | None) -> None:
        if role is not None and (name := _name(target)):
            self._roles[role].add(name)

    def _role(self, node: nodes.Node) -> str | None:
        """The role of an expression: "list" (of messages), "message", "content" or None."""
        name = _name(node)
        if name is not None:
            for role, names in self._roles.items():
                if name in names:
                    return role
        match node:
            case nodes.Getattr(node=owner, attr=key) | nodes.Getitem(node=owner, arg=nodes.Const(value=key)):
                role = self._role(owner)
                if role == "message":
                    return "content" if key == "content" else None
                return "message" if role == "list" and isinstance(key, int) else None
            case nodes.Getitem(node=owner, arg=index):
                role = self._role(owner)
                if isinstance(index, nodes.Slice):
                    return role
                return "message" if role == "list" else None
            case nodes.Filter(node=inner, name=filter_name) if inner is not None:
                role = self._role(inner)
                return "message" if role == "list" and filter_name in ("first", "last") else role
            case nodes.CondExpr(expr1=left, expr2=right) | nodes.Add(left=left, right=right):
                return self._role(left) or (self._role(right) if right is not None else None)
        return None


def _name(node: nodes.Node) -> str | None:
    """The name of a variable, or `namespace.attribute`; None for other expressions."""
    match node:
        case nodes.Name(name=name):
            return name
        case nodes.NSRef(name=name, attr=attr) | nodes.Getattr(node=nodes.Name(name=name), attr=attr):
            return f"{name}.{attr}"
    return None


def named_templates(own: str | dict[str, str] | None, override: str | None) -> dict[str, str]:
    """{name: text} of the templates to use: the tokenizer's own, or only `override` (a text, a path, a name in `own`).

    "default" is the usual template, "tool_use" the one for requests with tools. Empty when there is none.
    """
    named = {"default": own} if isinstance(own, str) else dict(own or {})
    if override is None:
        return named
    return {"default": named[override] if override in named else read_template(override)}
