"""`SpeechInputs`: the prompts of a model whose encoder hears (Whisper): a clip of audio, and the decoder's beginning.

torch and Transformers are imported with the first clip.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from weft.config.engine_config import EngineConfig
from weft.config.frozen import thaw
from weft.engine.process.messages import EngineInfo, WireTensor
from weft.errors import RequestError
from weft.frontend.media_inputs import MediaInputs
from weft.frontend.prompt_ids import PromptIds, forced_bos, named
from weft.frontend.prompt_media import DATA, PromptMedia
from weft.frontend.prompts import Prompt
from weft.media.encoded_audio import EncodedAudio
from weft.media.kinds import count_of
from weft.sampling_params import SamplingParams

if TYPE_CHECKING:
    import numpy as np

    from weft.media.processor import MediaProcessor

_WANTED = "one clip of audio"


@dataclass(frozen=True, slots=True, eq=False)
class SpeechPiece:
    """A piece of an audio file. samples: [n] float32 at the model's rate. first, end: seconds in the file."""

    samples: np.ndarray
    first: float
    end: float


class SpeechInputs:
    """For one engine; asked only if its model hears (`EngineInfo.encoder_row_size`)."""

    def __init__(self, config: EngineConfig, info: EngineInfo, media: MediaInputs) -> None:
        self._media = media
        self._model, self._settings, self._info = config.model, config.media, info
        self._processor: MediaProcessor | None = None

    def read(self, prompt: Prompt, params: SamplingParams, encode: Callable[..., list[int]]) -> PromptIds:
        """The decoder's ids and the encoder's rows. RequestError for a prompt without its clip, and a wrong clip.

        prompt: the decoder's, with the clip, or with an `encoder` that has the clip. encode: as InputProcessor.encode.
        The decoder's start token comes first, unless the prompt has that token somewhere, as after an earlier text.
        """
        if params.truncate_prompt_tokens is not None:
            raise RequestError("truncate_prompt_tokens", params.truncate_prompt_tokens, expected="None beside media")
        media, ids, start = prompt.media, [], self._model.decoder_start_token_id
        if prompt.encoder is not None:
            media = prompt.encoder.media
        rows = self._rows(media if isinstance(media, PromptMedia) else None)
        if prompt.text is not None or prompt.token_ids is not None:
            with named("prompt" if prompt.encoder is None else "decoder_prompt"):
                ids = encode(replace(prompt, media=None), add_special_tokens=False)
        if start is not None and start not in ids:
            ids = [start, *ids]
        forced = forced_bos(params, self._model.forced_bos_token_id, None, self._model.vocab_size,
                            is_first=len(ids) == 1)
        return PromptIds(prompt.text, ids, forced=[] if forced is None else [forced], rows=rows)

    def pieces(self, file: EncodedAudio) -> list[SpeechPiece]:
        """A file of any length as pieces that the model hears at once, cut at quiet places. RequestError and
        NotBuiltError as of `AudioDecoder`.
        """
        from weft.media.quiet_cuts import cut_at_quiet  # needs numpy

        processor = self._loaded()
        rate = processor.sampling_rate
        samples = self._media.samples(file, rate, field=file.field)
        return [SpeechPiece(samples[first:end], first / rate, end / rate)
                for first, end in cut_at_quiet(samples, rate, processor.longest_clip)]

    def _rows(self, media: PromptMedia | None) -> WireTensor:
        """[max_encoder_len, encoder_row_size]: the frames of the clip's spectrogram, some to a row."""
        items = {} if media is None else media.items
        if media is None or list(items) != ["audio"] or len(items["audio"]) != 1:
            given = " and ".join(count_of(kind, len(each)) for kind, each in items.items()) or "no audio"
            raise RequestError(DATA, given, expected=_WANTED, hint=f"{self._model.architecture} hears: give "
                               '{"prompt": text, "multi_modal_data": {"audio": (samples, rate)}}.')
        self._media.check_limit("audio", 1)
        (item,) = items["audio"]
        processor = self._loaded()
        from weft.engine.process.wire_tensor import to_wire  # needs torch

        samples = self._media.samples(item.value, processor.sampling_rate, field=item.field)
        features = processor.features(samples, field=item.field, kwargs=media.kwargs)
        length, size = self._info.max_encoder_len or 0, self._info.encoder_row_size or 0
        if features.numel() != length * size:
            raise RequestError(item.field, f"a spectrogram {list(features.shape)}",
                               expected=f"{length * size} numbers, as the model's config says",
                               hint="preprocessor_config.json and config.json do not fit each other.")
        return to_wire(features.T.reshape(length, size))

    def _loaded(self) -> MediaProcessor:
        if self._processor is None:
            from weft.media.processor import MediaProcessor  # needs torch

            self._processor = MediaProcessor(
                self._model.path, {}, thaw(self._model.hf_config),
                max_pixels=self._settings.max_image_pixels, trust_remote_code=self._model.trust_remote_code,
                kwargs=thaw(self._settings.processor_kwargs))
        return self._processor
