"""Reads how a sentence-transformers checkpoint pools a prompt: modules.json, and the folders of the modules in it.

Knows no architecture; a model without these files gets its family's pooling.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weft.architectures.pooling_spec import DenseNormSpec, DenseSpec, HeadLayerSpec, SeqPooling, UnitSpec
from weft.errors import ConfigError, NotBuiltError
from weft.resolve.json_file import read_json, read_json_list

MODULES = "modules.json"
_NORM_EPS = 1e-5                  # torch.nn.LayerNorm's, which the files do not state
# The flags of a pooling's config, in the order in which sentence-transformers joins the results.
_KINDS: dict[str, SeqPooling] = {
    "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max", "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len", "pooling_mode_weightedmean_tokens": "weighted_mean",
    "pooling_mode_lasttoken": "last"}
_PREFIX = "pooling_mode_"
_SPLADE_FUNCTIONS = {"relu": "log1p_relu", "log1p_relu": "log1p_log1p_relu"}      # log1p always comes last


@dataclass(frozen=True, slots=True, kw_only=True)
class SentencePooling:
    """What the modules do to a prompt's states. pooling: (): the tokens' states stay (late interaction).

    includes_prompt: states of a prompt before the text are pooled, too.
    token_act: of the head of a masked language model, which comes between states and pooling (SPLADE); None: no head.
    """

    pooling: tuple[SeqPooling, ...]
    token_act: str | None = None
    projections: tuple[HeadLayerSpec, ...] = ()
    normalize: bool = False
    includes_prompt: bool = True


def read_pooling(directory: Path) -> SentencePooling | None:
    """What the files say; None without such files, or if they name a Transformer only.

    NotBuiltError for modules or modes without code, and for a pooling behind another module. ConfigError for a module
    whose files are missing, or outside the checkpoint.
    """
    path = directory / MODULES
    if not path.is_file():
        return None
    pooling: tuple[SeqPooling, ...] = ()
    token_act: str | None = None
    includes_prompt = True
    layers: list[HeadLayerSpec] = []
    for i, module in enumerate(read_json_list(path)):
        kind = str(module.get("type", "") if isinstance(module, dict) else module).rpartition(".")[2]
        folder = _folder(module, f"[{i}].path", path)
        match kind:
            case "Transformer" | "MLMTransformer":
                pass
            case "Pooling" | "SpladePooling" if pooling or layers:
                raise NotBuiltError(f"[{i}].type", kind, source=str(path), expected="one Pooling, before other modules",
                                    hint="weft pools states, not what layers make of them.")
            case "Pooling":
                config = read_json(directory / folder / "config.json")
                pooling = _pooling(config, directory / folder / "config.json")
                includes_prompt = config.get("include_prompt", True) is not False
            case "SpladePooling":
                pooling, token_act = _splade(directory / folder / "config.json")
            case "Normalize":
                layers.append(UnitSpec())
            case "Dense":
                layers.append(_dense(directory, folder))
            case "LayerNorm":
                layers.append(DenseNormSpec(names=(f"{folder}/norm",), eps=_NORM_EPS))
            case _:
                raise NotBuiltError(f"[{i}].type", kind, source=str(path), hint="weft has no code for it yet.",
                                    expected="Transformer, Pooling, SpladePooling, Dense, LayerNorm or Normalize")
    if not pooling and not layers:
        return None
    names = [name for layer in layers for name in layer.names]
    if len({*names}) < len(names):
        raise ConfigError("path", names, expected="a folder for each module with weights", source=str(path))
    ends = bool(layers) and isinstance(layers[-1], UnitSpec)
    return SentencePooling(pooling=pooling, token_act=token_act, normalize=ends, includes_prompt=includes_prompt,
                           projections=tuple(layers[:-1] if ends else layers))


def _folder(module: Any, place: str, path: Path) -> str:
    """A module's folder within the checkpoint, "" for the checkpoint's own."""
    named = module.get("path", "") if isinstance(module, dict) else ""
    if not isinstance(named, str) or Path(named).is_absolute() or ".." in Path(named).parts:
        raise ConfigError(place, named, expected="a folder in the checkpoint", source=str(path))
    return named.rstrip("/")


def _dense(directory: Path, folder: str) -> DenseSpec:
    path = directory / folder / "config.json"
    config = read_json(path)
    width, act = config.get("out_features"), config.get("activation_function", "torch.nn.modules.activation.Tanh")
    if type(width) is not int or width < 1:
        raise ConfigError("out_features", width, expected="an integer of at least 1", source=str(path))
    if config.get("use_residual"):
        raise NotBuiltError("use_residual", True, expected="false", source=str(path),
                            hint="weft has no code for a Dense that adds its input.")
    if act is not None and (not isinstance(act, str) or not act.startswith("torch.nn.modules.")):
        raise ConfigError("activation_function", act, source=str(path),
                          expected="a class in torch.nn.modules: weft runs no other code that a config names")
    return DenseSpec(names=(f"{folder}/linear",), out_features=width, bias=bool(config.get("bias", True)), act=act)


def _pooling(config: dict[str, Any], path: Path) -> tuple[SeqPooling, ...]:
    """The pooling modes. Newer files name them; older ones have a flag for each mode, of which some are true."""
    named = config.get("pooling_mode")
    if named is not None:
        return tuple(_kind_named(name, path) for name in (named if isinstance(named, list) else [named]))
    on = [name for name, value in config.items() if name.startswith(_PREFIX) and value is True]
    for name in on:
        if name not in _KINDS:
            raise NotBuiltError(name, True, expected="false", hint="weft has no code for this pooling yet.",
                                source=str(path))
    if not on:
        raise ConfigError(_PREFIX + "*", on, expected="a mode that is true", source=str(path))
    return tuple(kind for name, kind in _KINDS.items() if name in on)


def _splade(path: Path) -> tuple[tuple[SeqPooling, ...], str]:
    """(the pooling, the function of a masked language model's logits) of a SpladePooling."""
    config = read_json(path)
    strategy, function = config.get("pooling_strategy", "max"), config.get("activation_function", "relu")
    if strategy not in ("max", "sum"):
        raise ConfigError("pooling_strategy", strategy, expected="max or sum", source=str(path))
    if function not in _SPLADE_FUNCTIONS:
        raise ConfigError("activation_function", function, expected=" or ".join(_SPLADE_FUNCTIONS), source=str(path))
    return (strategy,), _SPLADE_FUNCTIONS[function]


def _kind_named(named: Any, path: Path) -> SeqPooling:
    spellings = [f"{_PREFIX}{named}", f"{_PREFIX}{named}_token", f"{_PREFIX}{named}_tokens"]
    kind: SeqPooling | None = next((_KINDS[name] for name in spellings if name in _KINDS), None)
    if kind is None:
        raise NotBuiltError("pooling_mode", named, source=str(path), hint="weft has no code for it yet.",
                            expected=", ".join(name.removeprefix(_PREFIX) for name in _KINDS))
    return kind
