"""`TransformersModel`: a model class of Transformers as the engine drives it.

It is wired if that can be done and gives the right numbers: attention over weft's paged cache, sequences packed. Else
the model stays as it is, with a cache of its own for each sequence.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weft.architectures.model_words import ModelWords
from weft.cache.masks import CAUSAL, Bidirectional
from weft.checkpoint.reader import Checkpoint
from weft.checkpoint.report import LoadReport
from weft.config.engine_config import EngineConfig
from weft.errors import ConfigError, NotBuiltError, WeftError
from weft.layers.context import LayerContext
from weft.layers.layer import StepLimits
from weft.layers.paged_attention import PagedAttention
from weft.layers.pooler import Pooler
from weft.layers.public.layer import StepRef
from weft.models.media_bytes import with_media
from weft.models.purpose import read_purpose
from weft.models.sizes import layers_of, step_bytes
from weft.models.transformers.alone import each_alone
from weft.models.transformers.attention import PAGED, Wire
from weft.models.transformers.audio import MediaOfTransformers, encoder_of
from weft.models.transformers.cache_own import OwnCaches, own_cache_layers, text_config, without_cache
from weft.models.transformers.check import Shown, check_wired, difference, fit_own, trial_ids
from weft.models.transformers.facts import can_generate, encoder_input, end_token, model_words, num_layers
from weft.models.transformers.fuse import Fusion, weight_bytes
from weft.models.transformers.kinds import module_class
from weft.models.transformers.load import load_model
from weft.models.transformers.media import unwire_towers
from weft.models.transformers.outline import call_model, first_states, num_token_types, outline
from weft.models.transformers.pooling import HeadPooler, WholePrompts, fill_pooler, make_pooler, pooled_outline
from weft.models.transformers.wiring import NotWiredError, Site, find_sites, meta_model
from weft.ops.attention import AttentionParams
from weft.ops.kernel import Choice
from weft.ops.step import Step

logger = logging.getLogger("weft")

_BUFFERS = 8        # rows of the widest product that a block of foreign code is taken to hold at one time


class TransformersModel:
    """As EngineModel. cls: the class of Transformers. A model whose states are pooled is pooled as its files say, else
    at its last token, or at the first if its state depends on later ones.

    ConfigError when the class cannot be made from the config.
    """

    reader = None
    prompt_embeds_size: int | None = None
    num_positions: int | None = None

    def __init__(self, cls: Any, hf_config: Any, config: EngineConfig, checkpoint: Checkpoint | None,
                 context: LayerContext) -> None:
        self._cls, self._hf_config, self._config = cls, hf_config, config
        self._checkpoint, self._context, self._step = checkpoint, context, StepRef()
        self.name, self._outline, self._vocab_size = cls.__name__, None, config.model.vocab_size
        model = self._without_memory()
        generates = can_generate(model)
        purpose = read_purpose(config.model, self.name, generates=generates, has_head=generates)
        self.encoder = None if purpose.pools else encoder_input(model, hf_config)
        self.num_token_types = num_token_types(model, hf_config) if purpose.pools else 0
        self._width = getattr(text_config(hf_config), "hidden_size", 0)
        self._says_pooling, self.pooler = make_pooler(purpose, self.name, self._width, config.model)
        self.tasks = frozenset({"generate"}) if self.pooler is None else self.pooler.tasks
        kind = "generate" if self.pooler is None else "classify" if purpose.convert == "classify" else "embed"
        self.module = module_class(kind, config.model.hf_config)(model)
        self._shown: Shown | None = None                      # an image, for the check
        self.own_caches: OwnCaches | WholePrompts | None = None
        self.media: MediaOfTransformers | None = None
        self._first_position = 0                              # the position of a sequence's first token
        self.fusion: Fusion | None = None
        has_encoder = encoder_input(model, hf_config) is not None
        self._end = end_token(hf_config) if has_encoder else None            # token that ends all prompts
        if has_encoder:
            self._keep_own("it has an encoder")
            return
        try:
            self._outline, self._sites = find_sites(model, num_layers(hf_config))
            self.media = encoder_of(self.module, hf_config, self._outline) if self.pooler is None else None
            self.caches: tuple[Any, ...] = tuple(self._paged(site) for site in self._sites)
            self.shares_prefixes = True
        except (NotWiredError, WeftError) as reason:
            self._keep_own(str(reason))
            return
        try:
            self.fusion = Fusion(model, self._outline, self._sites, context, self._step)
            self.caches = self.fusion.caches
        except (NotWiredError, WeftError) as reason:
            self._stay_unfused(str(reason))

    def _without_memory(self) -> Any:
        try:
            return meta_model(self._cls, self._hf_config, self._context.dtype)
        except (Exception, SystemExit) as error:
            raise ConfigError("architectures", self.name, expected="a class that can be made from this config",
                              source=self._config.model.config_source,
                              hint=f"{type(error).__name__}: {error}") from error

    def _paged(self, site: Site) -> PagedAttention:
        sinks = None if site.sinks is None else torch.zeros(site.num_heads)
        return PagedAttention(num_heads=site.num_heads, num_kv_heads=site.num_kv_heads, head_dim=site.head_dim,
                              window=site.window, mask=site.mask, context=self._context,
                              params=AttentionParams(scale=site.scale, softcap=site.softcap, sinks=sinks))

    def _keep_own(self, reason: str) -> None:
        """From now on the model keeps its own attention and caches."""
        logger.warning("%s runs unmodified with its own cache, one sequence after another, which is slower: %s",
                       self.name, reason)
        self._sites, self.shares_prefixes, self.fusion, self._shown = (), False, None, None
        if self.pooler is None and self.encoder is None:
            self.media = encoder_of(self.module, self._hf_config, None)
        self.module.level, self.module.reason = "own cache", reason
        mask = CAUSAL if self.pooler is None else Bidirectional()
        self.caches = own_cache_layers(self._hf_config, self._context.dtype, mask,
                                       has_encoder=self.encoder is not None)

    def _stay_unfused(self, reason: str) -> None:
        """From now on only attention is weft's."""
        if self._context.quantization is not None:
            raise NotBuiltError("quantization", self._config.load.quantization, expected="None",
                                hint=f"{self.name} keeps Transformers' matrices: {reason}.")
        self.fusion = None
        self.caches = tuple(self._paged(site) for site in self._sites)
        self.module.level, self.module.reason = "wired", reason

    def words(self) -> ModelWords:
        """As EngineModel."""
        return model_words(self.name, self.module.model, self._sites, self.caches)

    def weight_bytes(self) -> int:
        """As EngineModel: parameters and buffers, those that modules share once."""
        return weight_bytes(self.module, self.fusion)

    def step_bytes(self, limits: StepLimits) -> int:
        """As EngineModel; what lies between foreign operators is an estimate by the widest matrix."""
        matrices = [p for p in self.module.parameters() if p.dim() >= 2 and p.shape[0] != self._vocab_size]
        widest = max((max(p.shape) for p in matrices), default=0)
        token_bytes = _BUFFERS * widest * max(self._context.dtype.itemsize, 4)
        fixed = max((layer.step_bytes(limits) for layer in self.caches if isinstance(layer, PagedAttention)), default=0)
        text = step_bytes(self.module, token_bytes, self._vocab_size, limits, native=self._context.is_native)
        return with_media(fixed + text, self.media, self._hf_config, num_rows=limits.num_tokens,
                          row_bytes=self._width * self._context.dtype.itemsize)

    def bytes_per_cached_token(self) -> float:
        """As EngineModel."""
        return max((layer.bytes_per_cached_token() for layer in self.caches if isinstance(layer, PagedAttention)),
                   default=0)

    def check_weights(self) -> str:
        """As EngineModel: nothing is compared, because only Transformers knows how it maps the tensors' names."""
        return "Transformers compares the tensors' names and shapes when it loads the model."

    def load(self, *, max_model_len: int, use_tqdm: bool) -> LoadReport:
        """As EngineModel, by Transformers' own loading; then the check run, after which `caches` may have changed."""
        checkpoint, start = self._checkpoint, perf_counter()
        assert checkpoint is not None, "a model that is only looked at has no weights"
        self._use_tqdm = use_tqdm
        self.module.model = model = self._read()
        with torch.inference_mode():
            self._choose(model)
        if isinstance(self.pooler, Pooler):
            fill_pooler(self.pooler, checkpoint, self._context.device)
        tensors = checkpoint.tensors
        return LoadReport(num_tensors=len(tensors), num_bytes=sum(info.num_bytes for info in tensors.values()),
                          seconds=perf_counter() - start, files=checkpoint.files, is_head_tied=False)

    def _read(self, before: Any = None) -> Any:
        """The model with its weights. before: a model whose memory can be given back first."""
        for module in () if before is None else before.modules():
            module._parameters.clear()
        assert self._checkpoint is not None
        return load_model(self._cls, self._hf_config, self._checkpoint, self._config.model.path, self._context.dtype,
                          load_format=self._config.load.load_format, use_tqdm=self._use_tqdm)

    def _choose(self, model: Any) -> None:
        """Wire the model if that gives its own numbers on a few tokens; else keep its own caches."""
        tokens = trial_ids(self._vocab_size)
        if self.pooler is not None:
            if self._end is not None:
                tokens = [[*ids, self._end] for ids in tokens]
            wanted = self._pooled(model, tokens)
        else:
            wanted = self._outlined(model, tokens) if self.encoder is None else [self._beside_encoder(model, tokens[0])]
        if self.fusion is not None:
            problem = self._fused_problem(model, tokens, wanted)
            if problem is not None:
                self._stay_unfused(f"with weft's layers, {problem}")
                self.module.model = model = self._read(model)
        if self._sites and self.fusion is None:
            self._wire(model)
            problem = self._problem(tokens, wanted)
            pad = getattr(model.config, "pad_token_id", None)
            if problem is not None and isinstance(pad, int):       # positions that begin after the padding's
                self._first_position = pad + 1
                if self._problem(tokens, wanted) is None:
                    problem = None
            if problem is not None:
                model.set_attn_implementation("eager")
                self._keep_own(f"wired to weft's cache, {problem}")
        if self._sites:
            if isinstance(self.pooler, HeadPooler):
                self.pooler.head = self._classified
            why = f"; not fused, because {self.module.reason}" if self.module.reason else ""
            logger.info("%s of Transformers is %s: %d attention modules, checked on %d tokens%s", self.name,
                        self.module.level, len(self._sites), sum(map(len, tokens)), why)
            return
        if self.pooler is not None:
            self.own_caches = self._whole_prompts(model)
            return
        backbone = None if self._outline is None else model.get_submodule(self._outline.backbone)
        self.own_caches = OwnCaches(model, backbone, has_encoder=self.encoder is not None,
                                    marks=None if self.media is None else self.media.types)
        fit_own(self.own_caches, tokens, wanted[0], None if self.encoder is None else self._trial_input())
        by = {0: "computes every step from the first token", 1: "continues by one token", None: "continues by chunks"}
        logger.info("%s of Transformers %s", self.name, by[self.own_caches.continues_by])

    def _fused_problem(self, model: Any, tokens: list[list[int]], wanted: list[Tensor]) -> str | None:
        assert self.fusion is not None
        try:
            self.fusion.fuse(model)
            self.module.level = "wired and fused"
        except Exception as error:
            logger.debug("fusing failed", exc_info=True)
            return f"{type(error).__name__}: {str(error)[:200]}"
        return self._problem(tokens, wanted)

    def _pooled(self, model: Any, tokens: list[list[int]]) -> list[Tensor]:
        """The states [T, E] of each sequence as the unmodified model has them. Settles what is behind them."""
        try:
            if not self._sites:
                raise NotWiredError(self.module.reason)
            self._outline, wanted = pooled_outline(model, tokens, self.pooler)
        except Exception as error:
            if self._sites:
                self._keep_own(str(error))
            self._outline, wanted = None, [self._rows(model, ids) for ids in tokens]
        self._check_numbers(torch.cat(wanted))
        if isinstance(self.pooler, Pooler) and not self._says_pooling:
            alone = self._rows(model, tokens[0][: len(tokens[0]) // 2])
            if difference(alone[:1], wanted[0][:1]) is None:              # no token sees later ones
                self.pooler = Pooler(replace(self.pooler.spec, pooling=("last",)), self._width)
        return wanted

    def _rows(self, model: Any, token_ids: list[int]) -> Tensor:
        """What the unmodified model gives for a prompt. ConfigError when the class does not compute."""
        try:
            return self._whole_prompts(model).states("", 0, token_ids)
        except Exception as error:
            raise self._not_computing(error) from error

    def _whole_prompts(self, model: Any) -> WholePrompts:
        return WholePrompts(model, gives_logits=isinstance(self.pooler, HeadPooler))

    def _classified(self, states: Tensor, token_ids: Sequence[int]) -> Tensor:
        assert self._outline is not None, "a wired model has an outline"
        return self._outline.classified(self.module.model, states, token_ids)

    def _outlined(self, model: Any, tokens: list[list[int]]) -> list[Tensor]:
        """The states [T, E] of each sequence as the unmodified model has them; its logits if it has no separate head.
        """
        wanted, logits = [], None
        for ids in tokens:
            batch = torch.tensor([ids])
            try:
                found, states, result = outline(model, batch)
                states, logits = first_states(states)[0], getattr(result, "logits", None)
                if logits is not None:
                    problem = difference(found.logits(model, states[-logits.shape[1] :]), logits[0])
                    if problem is not None:
                        raise NotWiredError(f"its logits are not made of its hidden states alone ({problem})")
                if self.media is not None and self._sites and self._shown is None:
                    self._shown = self.media.look(found, ids)
                self._outline = found
                wanted.append(states)
            except Exception as error:
                if self._sites:
                    self._keep_own(str(error))
                self._outline = None
                wanted.append(self._logits(model, batch))
        return wanted

    def _logits(self, model: Any, batch: Tensor) -> Tensor:
        """[T, V] of a model that has no outline. ConfigError when the class does not compute."""
        try:
            return call_model(model, batch).logits[0]
        except Exception as error:
            raise self._not_computing(error) from error

    def _not_computing(self, error: Exception) -> ConfigError:
        return ConfigError("architectures", self.name, expected="a class that computes this model's token ids",
                           source=self._config.model.config_source,
                           hint=f"In Transformers it raises {type(error).__name__}: {error}")

    def _trial_input(self) -> Tensor:
        """Token ids [n] for the encoder."""
        assert self.encoder is not None, "only a model with an encoder is given its input"
        return torch.tensor(trial_ids(self.encoder.vocab_size)[1])

    def _beside_encoder(self, model: Any, token_ids: list[int]) -> Tensor:
        """The logits [T, V] of the decoder's tokens, all computed at once."""
        given = {"input_ids": self._trial_input().unsqueeze(0), "decoder_input_ids": torch.tensor([token_ids])}
        return model(**given, **without_cache(model)).logits[0]

    def _wire(self, model: Any) -> None:
        for site, paged in zip(self._sites, self.caches, strict=True):
            module = model.get_submodule(site.name)
            if site.sinks is not None:
                paged.params = replace(paged.params, sinks=getattr(module, site.sinks).detach().float().clone())
            vars(module)["weft"] = Wire(paged, self._step, site.value_dim)
        model.set_attn_implementation(PAGED)
        unwire_towers(model, [model.get_submodule(site.name) for site in self._sites])

    def _problem(self, tokens: list[list[int]], wanted: list[Tensor]) -> str | None:
        try:
            return check_wired(self.forward, self.caches, tokens, wanted, shown=self._shown,
                               is_quantized=self._context.quantization is not None)
        except Exception as error:
            logger.debug("the wired model failed", exc_info=True)
            return f"it raises {type(error).__name__}: {str(error)[:200]}"

    def try_step(self, step: Step) -> None:
        """As EngineModel: a first forward pass, unless whole prompts were tried. ConfigError for NaN or infinity."""
        if isinstance(self.own_caches, WholePrompts):
            return
        given = {} if self.encoder is None else {0: self._trial_input()}
        hidden = self.forward(replace(step, request_ids=("trial",), encoder_ids=given))
        self.end_sequences(["trial"])
        self._check_numbers(hidden if self.pooler is not None else self.compute_logits(hidden))

    def _check_numbers(self, values: Tensor) -> None:
        if values.isnan().any() or not values.isfinite().any(dim=-1).all():
            raise ConfigError("dtype", self._config.model.dtype, expected=f"one in which {self.name} gives numbers",
                              hint="A first step gave NaN or infinity. Are the weights whole? Try dtype=\"float32\".")

    def forward(self, step: Step) -> Tensor:
        """As EngineModel; logits [T, V] instead of states where the model has no separate head.

        NotBuiltError for a step with taps.
        """
        if step.taps:
            raise NotBuiltError("step.taps", sorted(step.taps), expected="none for a model of Transformers")
        if self.own_caches is not None:
            return each_alone(self.own_caches, step)
        assert self._outline is not None, "a wired model has an outline"
        self._step.begin(step)
        try:
            turns = step.positions.unsqueeze(0) if step.rope_positions is None else step.rope_positions.unsqueeze(1)
            return self._outline.states(self.module.model, step.input_ids.unsqueeze(0), turns + self._first_position,
                                        step.token_types, self.media and self.media.encoded(step))[0]
        finally:
            self._step.begin(None)

    def end_sequences(self, request_ids: Iterable[str]) -> None:
        """As EngineModel."""
        if self.own_caches is not None:
            self.own_caches.end(request_ids)

    def compute_logits(self, hidden_states: Tensor) -> Tensor:
        """As EngineModel. ConfigError for more logits than the vocabulary has ids."""
        logits = hidden_states
        if self._outline is not None:
            logits = self._outline.logits(self.module.model, hidden_states)
        if logits.shape[-1] < self._vocab_size:                # ids without a row in the head are never likely
            logits = F.pad(logits, (0, self._vocab_size - logits.shape[-1]), value=-torch.inf)
        if logits.shape[-1] > self._vocab_size:
            raise ConfigError("vocab_size", self._vocab_size, expected=f"{logits.shape[-1]}, as {self.name} has",
                              source=self._config.model.config_source)
        return logits.float().contiguous()

    def choices(self) -> Iterator[Choice]:
        """As EngineModel."""
        layers = [layer for layer in (*layers_of(self.module), *self.caches) if isinstance(layer, nn.Module)]
        for layer in dict.fromkeys(layers):
            yield from (value for value in vars(layer).values() if isinstance(value, Choice))

    def forget_recordings(self) -> None:
        """As EngineModel."""
        if self.fusion is not None:
            self.fusion.stack.steps.forget()

    def refuse_recordings(self, reason: str) -> None:
        """As EngineModel."""
        if self.fusion is not None:
            self.fusion.stack.steps.refuse(reason)
