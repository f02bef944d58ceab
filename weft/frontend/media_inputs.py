"""`MediaInputs`: media of prompts into what the engine takes: limits, decoding, the model's processor, the wire.

Its only tensors are those that the processor makes; torch and Transformers are imported with the first image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from weft.config.engine_config import EngineConfig
from weft.config.frozen import thaw
from weft.engine.process.messages import EngineInfo, MediaInput
from weft.errors import RequestError
from weft.frontend.prompt_media import DATA, GivenItem, PromptMedia, ReadMedia
from weft.frontend.prompts import Prompt, parse_prompt
from weft.media.decoder import AudioDecoder, Decoder
from weft.media.encoded import LinkedImage
from weft.media.encoded_audio import EncodedAudio
from weft.media.kinds import PLURALS, count_of, taken
from weft.sampling_params import SamplingParams

if TYPE_CHECKING:
    import numpy as np

    from weft.frontend.own_processor import OwnProcessor
    from weft.media.fetcher import MediaFetcher
    from weft.media.processor import MediaProcessor


class MediaInputs:
    """For one engine. trust_remote_code: the checkpoint's own processor may run."""

    def __init__(self, config: EngineConfig, info: EngineInfo) -> None:
        self._config, self._model, self._media, self._info = config, config.model, config.media, info
        self._decoder = Decoder(max_file_bytes=config.media.max_image_bytes,
                                max_pixels=config.media.max_image_pixels)
        self._audio_decoder = AudioDecoder()
        self._processor: MediaProcessor | OwnProcessor | None = None
        self._fetcher: MediaFetcher | None = None

    def start_fetching(self, items: Sequence[Any]) -> list[Future[Any]]:
        """A prompt's items of one kind, with files in the place of links, which are being fetched. RequestError and
        QueueFullError as of `MediaFetcher.start`, or if the model does not take so many images.
        """
        links = [item for item in items if isinstance(item, LinkedImage)]
        fetched: Iterator[Future[Any]] = iter(())
        if links:
            self._check("image", len(items))
            if self._fetcher is None:
                from weft.media.fetcher import MediaFetcher  # imports an HTTP client

                self._fetcher = MediaFetcher(self._media)
            fetched = iter(self._fetcher.start(links))
        return [next(fetched) if isinstance(item, LinkedImage) else _done(item) for item in items]

    def fetch(self, items: Sequence[Any]) -> list[Any]:
        """The items of `start_fetching`. Waits for the slowest; errors as there and of the fetches."""
        futures = self.start_fetching(items)
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:      # beside one that failed
                future.cancel()

    def close(self) -> None:
        """Ends the threads that fetch, and the process that decodes."""
        if self._fetcher is not None:
            self._fetcher.close()
        self._decoder.close()
        self._audio_decoder.close()

    def read(self, prompt: Prompt, params: SamplingParams, *, add_special_tokens: bool) -> tuple[
            list[int], list[MediaInput]]:
        """(token ids with the places of rows, the items) of a prompt with media.

        RequestError, which names the item or the placeholder that is wrong, or the limit that is met.
        """
        if params.truncate_prompt_tokens is not None:
            raise RequestError("truncate_prompt_tokens", params.truncate_prompt_tokens, expected="None beside media")
        if isinstance(prompt.media, ReadMedia):
            assert prompt.token_ids is not None, "read_prompt gives ids"
            token_ids, items = prompt.token_ids, prompt.media.items
        else:
            token_ids, items = self._read(prompt, add_special_tokens=add_special_tokens)
        return token_ids, items if prompt.cache_salt is None else [_salted(item, prompt.cache_salt) for item in items]

    def read_prompt(self, prompt: Any, *, add_special_tokens: bool) -> dict[str, Any]:
        """A prompt with media, read: `generate` takes the result. Errors as of `read`. Slow: for a thread."""
        token_ids, items = self._read(parse_prompt(prompt), add_special_tokens=add_special_tokens)
        return {"prompt_token_ids": token_ids, DATA: ReadMedia(items)}

    def _read(self, prompt: Prompt, *, add_special_tokens: bool) -> tuple[list[int], list[MediaInput]]:
        media = prompt.media
        assert isinstance(media, PromptMedia), "only prompts with media are read here"
        for kind, items in media.items.items():
            self._check(kind, len(items))
        values = {kind: self._values(kind, items) for kind, items in media.items.items()}
        uuids = {kind: [item.uuid for item in items] for kind, items in media.items.items()}
        if prompt.token_ids is not None:
            found = self._loaded().of_ids(prompt.token_ids, values, uuids=uuids, kwargs=media.kwargs)
        else:
            assert prompt.text is not None, "a prompt has text or ids"
            found = self._loaded().of_text(prompt.text, values, uuids=uuids, kwargs=media.kwargs,
                                           add_special_tokens=add_special_tokens)
        from weft.engine.process.wire_tensor import to_wire  # needs torch

        return found.token_ids, [MediaInput(
            kind=item.kind, digest=item.digest, spans=list(item.spans),
            tensors={name: to_wire(tensor) for name, tensor in item.tensors.items()}) for item in found.items]

    def _values(self, kind: str, items: list[GivenItem]) -> list[Any]:
        """The items as the processor takes them: PIL images, samples at the model's rate."""
        if kind == "audio":
            rate = self._loaded().sampling_rate
            return [self.samples(item.value, rate, field=item.field) for item in items]
        from weft.media.images import read_image  # needs numpy

        return [read_image(image, field=item.field, max_pixels=self._media.max_image_pixels)
                for image, item in zip(self._decoder.decoded([item.value for item in items]), items, strict=True)]

    def samples(self, value: Any, rate: int, *, field: str) -> np.ndarray:
        """[n] float32 at `rate` Hz, of a file of audio or of a clip as Python has it; errors as of both readers."""
        if isinstance(value, EncodedAudio):
            return self._audio_decoder.decoded(value, rate)
        from weft.media.audio import read_audio  # needs numpy

        return read_audio(value, rate, field=field)

    def _check(self, kind: str, num: int) -> None:
        name = count_of(kind, num)
        if kind not in self._info.media_kinds:
            raise RequestError(DATA, name, expected=taken(self._info.media_kinds),
                               hint=f"{self._model.architecture} takes no {PLURALS[kind]}.")
        self.check_limit(kind, num)

    def check_limit(self, kind: str, num: int) -> None:
        """RequestError for more items of a kind than `limit_mm_per_prompt` allows."""
        limit = self._media.limits.get(kind)
        if limit is not None and num > limit:
            raise RequestError(f"{DATA}.{kind}", count_of(kind, num),
                               expected=f"at most {limit}, as limit_mm_per_prompt says")

    def _loaded(self) -> MediaProcessor | OwnProcessor:
        if self._processor is None and not self._info.media_token_ids:
            from weft.frontend.own_processor import OwnProcessor  # needs torch

            self._processor = OwnProcessor(self._config)
        elif self._processor is None:
            from weft.media.processor import MediaProcessor  # needs torch

            self._processor = MediaProcessor(
                self._model.path, self._info.media_token_ids, thaw(self._model.hf_config),
                max_pixels=self._media.max_image_pixels, trust_remote_code=self._model.trust_remote_code,
                kwargs=thaw(self._media.processor_kwargs))
        return self._processor


def _salted(item: MediaInput, salt: str) -> MediaInput:
    """The item under a digest that only requests with this `cache_salt` share: times tell others nothing of it."""
    digest = sha256(b"salt|" + item.digest + salt.encode("utf-8", "surrogatepass")).digest()
    return msgspec.structs.replace(item, digest=digest)


def _done(item: Any) -> Future[Any]:
    future = Future[Any]()
    future.set_result(item)
    return future
