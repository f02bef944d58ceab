"""The text of a description: a Python file with one function, as weft's own families have it."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from typing import Any

from weft.architectures import parts as helpers
from weft.architectures import spec as part_classes
from weft.architectures.names import Plain, Stacked
from weft.architectures.parts import LLAMA_NAMES
from weft.architectures.reader import HARMLESS
from weft.architectures.spec import AttentionSpec, MoESpec
from weft.discover.code import WIDTH, Call, Choice, Node, pieces_in, replaced, statement, uses
from weft.discover.expressions import Expressions, Sample
from weft.discover.no_part import NoPartError
from weft.discover.search import Observation, Search
from weft.discover.synthesis import expression
from weft.discover.tiny import LAYERS, SIZES, class_defaults

_SIZES = SIZES.keys() | LAYERS
_NAMES = {"GroupedQKV", "HeadRows", "Plain", "Rule", "Stacked", "VectorAsRow", "names"}


class Description:
    """The description that a finished search leads to. NoPartError when the configs' keys do not explain the parts."""

    def __init__(self, search: Search) -> None:
        self._search, self._seen = search, search.seen
        self._whole = [Sample(each.c) for each in self._seen]
        self._layers = [Sample(each.c, number) for each in self._seen for number in range(len(each.blocks))]
        self._pool = Expressions([*self._whole], class_defaults(search.cls),
                                 dict(getattr(search.cls.config_class, "attribute_map", None) or {}))

    def text(self) -> str:
        """The file."""
        body = self._function()
        name = self._search.cls.__name__
        title = f'"""{name}: found by `weft describe`, which compared its numbers with those of weft\'s parts."""'
        return "\n".join([title, "", "from __future__ import annotations", "", *_imports(body), "", "", body, ""])

    def _function(self) -> str:
        for key, (_, error) in self._search.refused.items():
            if key in _SIZES:                    # a description of one size only describes nothing
                raise error
        name = self._search.cls.__name__
        plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", re.sub("(ForCausalLM|LMHeadModel)$", "", name)).lower()
        block = self._blocks()
        final = self._part("final_norm", [each.ends.final_norm for each in self._seen])
        embedding = self._part("embedding", [each.ends.embedding for each in self._seen])
        names = self._names()
        variables = _variables([block, final, embedding, names])
        block, final, embedding, names = (replaced(x, {text: variable for variable, (text, _) in variables.items()})
                                          for x in (block, final, embedding, names))
        lines = [f'@architecture("{name}")', f"def {plain}(c: ConfigReader) -> DecoderSpec:",
                 f'    """{re.sub("(ForCausalLM|LMHeadModel)$", "", name)}, as Transformers computes it."""']
        lines += self._checks()
        lines += [statement(f"{variable} = ", node) for variable, (_, node) in variables.items()]
        count = self._plain("number of layers", [len(each.blocks) for each in self._seen], "keys.num_layers(c)")
        if uses(block, "layer"):
            body = statement("", block, 8)
            lines += ["    blocks = [", body, f"        for layer in range({count})", "    ]"]
        else:
            lines.append(statement("block = ", block))
        blocks = "blocks" if uses(block, "layer") else f"[block] * {count}"
        lines.append(statement("return ", Call("decoder", tuple(self._decoder(blocks, final, embedding, names)))))
        return "\n".join(lines)

    # Pieces

    def _blocks(self) -> Node:
        specs = [block.spec for each in self._seen for block in each.blocks]
        node = expression("blocks", self._layers, specs, self._pool)
        return self._with_helpers(node)

    def _with_helpers(self, node: Node) -> Node:
        """The tree with `attention(c, …)` in the place of AttentionSpec, where the config's sizes are the usual."""
        if isinstance(node, Choice):
            return Choice(node.test, self._with_helpers(node.first), self._with_helpers(node.second))
        if not isinstance(node, Call):
            return node
        arguments = tuple((name, self._with_helpers(value)) for name, value in node.arguments)
        given = dict(arguments)
        usual = {"num_heads": "keys.num_heads(c)", "num_kv_heads": "keys.num_kv_heads(c)",
                 "head_dim": "keys.head_dim(c)"}
        known = inspect.signature(helpers.attention).parameters
        is_usual = given.keys() - {"mask", "head_dim", "num_heads"} <= known.keys()
        if node.function != AttentionSpec.__name__ or not is_usual or any(
                given[key] != text for key, text in usual.items()):
            return Call(node.function, arguments)
        mask, rest = given.pop("mask"), {key: value for key, value in given.items() if key not in usual}
        if rest["scale"] == "keys.head_dim(c) ** -0.5":
            del rest["scale"]
        window = _window(mask)
        if window is not None:
            rest["window"] = window
        elif str(mask) != "Causal()":
            return Call(node.function, arguments)
        return Call("attention", (("", "c"), *rest.items()))

    def _part(self, place: str, values: list[Any]) -> Node:
        return expression(place, self._whole, values, self._pool)

    def _plain(self, place: str, values: list[Any], first: str) -> str:
        """An expression, preferably the one given."""
        if all(self._pool.value(s, first) == x for s, x in zip(self._whole, values, strict=True)):
            return first
        return str(self._part(place, values))

    def _decoder(self, blocks: str, final: Node, embedding: Node, names: Node) -> list[tuple[str, Node]]:
        """Arguments of `decoder`."""
        found: list[tuple[str, Node]] = [("", "c"), ("blocks", blocks), ("final_norm", final), ("names", names)]
        widths = [each.ends.hidden_size for each in self._seen]
        if any(self._pool.value(s, "keys.hidden_size(c)") != x for s, x in zip(self._whole, widths, strict=True)):
            raise NoPartError("hidden_size", "a key that states the width")
        if str(embedding) != 'EmbeddingSpec(vocab_size=c.positive("vocab_size"))':
            found.append(("embedding", embedding))
        heads = [each.ends.head for each in self._seen]
        default = class_defaults(self._search.cls).get("tie_word_embeddings", True)
        tied = f'c.bool("tie_word_embeddings", default={default})'
        is_separate = not any(head.tied for head in heads)     # what such a checkpoint says of ties does not count
        if not is_separate and any(self._pool.value(s, tied) != head.tied
                                   for s, head in zip(self._whole, heads, strict=True)):
            raise NoPartError("head", "tie_word_embeddings, which says whether the head is the embedding's table")
        if default and not is_separate:
            found.append(("tied", "True"))
        for argument, name, plain in (("head_bias", "bias", False), ("logit_scale", "scale", 1.0),
                                      ("logit_softcap", "softcap", None), ("head_transform", "transform", None)):
            values = [getattr(head, name) for head in heads]
            if any(x != plain for x in values):
                found.append((argument, self._part(argument, values)))
        return found

    def _names(self) -> Node:
        rules: dict[str, list[tuple[Observation, Any]]] = {}
        for each in self._seen:
            for stem, target in each.names.items():
                rules.setdefault(stem, []).append((each, target))
        known = {rule.source: rule for rule in LLAMA_NAMES.rules}
        entries, is_usual = [], True
        for stem, found in rules.items():
            targets = dict.fromkeys(targets for _, (targets, _) in found)
            if len(targets) > 1:
                raise NoPartError(stem, "one place for a tensor in all configs")
            (homes,), layouts = targets, [layout for _, (_, layout) in found]
            layout = expression(f"layout of {stem}", [Sample(each.c) for each, _ in found], layouts, self._pool)
            is_plain = all(each == Plain() for each in layouts)
            if is_plain and homes == getattr(known.get(stem), "targets", None):
                continue
            is_usual = False
            if isinstance(layouts[0], Stacked):
                entries.append((stem, self._stacked_rule(stem, homes, layout)))
                continue
            home: Node = f'"{homes[0]}"' if len(homes) == 1 else "(" + ", ".join(f'"{x}"' for x in homes) + ")"
            if not is_plain:
                many = "(" + "".join(f'"{x}", ' for x in homes).removesuffix(" " if len(homes) == 1 else ", ") + ")"
                home = Call("Rule", (("", f'"{stem}"'), ("", many), ("", layout)))
            entries.append((stem, home))
        unused = sorted(set().union(*(each.unused for each in self._seen)))
        prefix = getattr(self._search.cls, "base_model_prefix", "")
        has_prefix = prefix and all(stem.startswith(f"{prefix}.") or stem not in rules for stem in rules
                                    if stem.startswith(f"{prefix}."))
        if is_usual and not unused:
            return "LLAMA_NAMES"
        usual = len(rules) - len(entries)
        if usual >= len(entries) and not unused:
            return Call("llama_names", (("", _table(entries)),))
        whole = [(stem, next((value for key, value in entries if key == stem), None) or
                  f'"{found[0][1][0][0]}"') for stem, found in rules.items()]
        arguments: list[tuple[str, Node]] = [("", _table(whole))]
        if has_prefix:
            arguments.append(("optional_prefix", f'"{prefix}."'))
        if unused:
            arguments.append(("ignored", "(" + ", ".join(f'"{stem}"' for stem in unused) + ",)"))
        return Call("names", tuple(arguments))

    def _stacked_rule(self, stem: str, homes: tuple[str, ...], layout: Node) -> Node:
        """The rule of a tensor with all experts' matrices: a home for each expert, in order."""
        samples = [(Sample(each.c), block.spec.ffn) for each in self._seen for block in each.blocks
                   if isinstance(block.spec.ffn, MoESpec)]
        count = expression("num_experts", [s for s, _ in samples], [x.num_experts for _, x in samples], self._pool)
        texts = [home.replace("{i}", "{{i}}") for home in homes]
        if len(texts) == 1:
            targets = f'tuple(f"{texts[0]}" for e in range({count}))'
        else:
            names = [text.split(".{e}.")[1].partition(".") for text in texts]
            parts = ", ".join(f'"{name}"' for name, _, _ in names)
            more = f".{names[0][2]}" if names[0][2] else ""
            targets = (f'tuple(f"{texts[0].split(".{e}.")[0]}.{{e}}.{{part}}{more}" for e in range({count})'
                       f' for part in ({parts}))')
        return Call("Rule", (("", f'"{stem}"'), ("", targets), ("", layout)))

    def _checks(self) -> list[str]:
        """Statements about keys whose other values are refused, and about keys that change nothing."""
        lines = [statement("", f'c.expect("{key}", {json_like(value)})') for key, (value, _) in
                 self._search.refused.items() if key not in _SIZES
                 and isinstance(value, bool | str | int | float | type(None))]
        harmless = sorted(self._search.harmless - HARMLESS - self._search.refused.keys())
        if harmless:
            lines.append(statement("", Call("c.harmless", tuple(("", f'"{key}"') for key in harmless))))
        return lines


def _window(mask: Node) -> Node | None:
    """The window of a mask in `attention(window=…)`'s form; None: the mask is Causal, or no such."""
    match mask:
        case Call("SlidingWindow", ((_, window),)):
            return window
        case Choice(test, first, second) if "Causal()" in (str(first), str(second)):
            sides = ["None" if str(side) == "Causal()" else _window(side) for side in (first, second)]
            if None in sides:
                return None
            return Choice(test, *sides)                                     # type: ignore[arg-type]
    return None


def _table(entries: list[tuple[str, Node]]) -> Call:
    """A dictionary of names, as a call so that its entries are divided over lines."""
    return Call("dict", tuple((f'"{stem}"', value) for stem, value in entries))


def json_like(value: Any) -> str:
    """A plain value as Python has it, with double quotes."""
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _variables(nodes: list[Node]) -> dict[str, tuple[str, Node]]:
    """{variable: (text, node)} of norms and switches that are needed more than once."""
    counts = Counter(str(each) for node in nodes for each in pieces_in(node) if _may_be_variable(each))
    known = {str(each): each for node in nodes for each in pieces_in(node)}
    found: dict[str, tuple[str, Node]] = {}
    for text, count in counts.items():
        if count > 1:
            switch = re.match(r'c\.bool\("(\w+)"', text)
            name = switch[1] if switch else "norm"
            number = sum(each.startswith(name) for each in found)
            found[name if number == 0 else f"{name}_{number + 1}"] = (text, known[text])
    return found


def _may_be_variable(node: Node) -> bool:
    if isinstance(node, Call):
        return node.function in ("RMSNorm", "LayerNorm")
    return isinstance(node, str) and re.fullmatch(r'c\.bool\([^()]*\)', node) is not None


def _imports(body: str) -> list[str]:
    words = set(re.findall(r"[A-Za-z_]\w*", body))
    places = [("weft.architectures.names", _NAMES),
              ("weft.architectures.parts", set(helpers.__all__)),
              ("weft.architectures.reader", {"ConfigReader"}),
              ("weft.architectures.registry", {"architecture"}),
              ("weft.architectures.spec", set(part_classes.__all__))]
    lines = ["from dataclasses import replace", ""] if "replace(" in body else []
    lines += ["from weft.architectures import keys"] if "keys" in words else []
    for module, known in places:
        found = sorted(words & known, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
        found = [name for name in found if name != "names" or "names(" in body.replace("llama_names(", "")]
        if found:
            names = Call(f"from {module} import ", tuple(("", name) for name in found))
            plain = f"from {module} import {', '.join(found)}"
            lines.append(plain if len(plain) <= WIDTH else statement("", names, 0))
    return lines
