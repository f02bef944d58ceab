"""`MultiModalDataParser`: the media of a prompt, as the user gave them, as items that a processor can ask about."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from weft.models.vllm.multimodal.fields import MultiModalKwargsItems

T = TypeVar("T")
I = TypeVar("I")      # noqa: E741  an item

ModalityData = MultiModalDataDict = ImageItem = AudioItem = VideoItem = HfImageItem = HfAudioItem = HfVideoItem = Any
ModalityDataParser = Callable[[Any], Any]


class ImageSize(NamedTuple):
    """In pixels."""

    width: int
    height: int


class ModalityDataItems(Generic[T, I]):
    """The items of one modality. data: all of them, in a form that has a length and entries."""

    def __init__(self, data: Any, modality: str) -> None:
        self.data, self.modality = data, modality

    def __len__(self) -> int:
        return self.get_count()

    def __getitem__(self, index: int) -> Any:
        return self.get(index)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.get_all())

    def get_count(self) -> int:
        """Number of items."""
        return len(self.data)

    def get(self, index: int) -> Any:
        """One item."""
        return self.data[index]

    def get_all(self) -> list[Any]:
        """All items."""
        return [self.get(i) for i in range(self.get_count())]

    def get_item_for_hash(self, index: int) -> Any:
        """One item."""
        return self.get(index)

    def get_all_items_for_hash(self) -> list[Any]:
        """All items."""
        return self.get_all()

    def get_processor_data(self) -> Mapping[str, Any]:
        """What a processor of Transformers is given."""
        return {}

    def get_passthrough_data(self) -> Mapping[str, Any]:
        """What goes to the model unprocessed."""
        return {}


class ProcessorBatchItems(ModalityDataItems[Sequence[I], I]):
    """Items that a processor is given as a list, under the modality's plural."""

    def get_processor_data(self) -> Mapping[str, Any]:
        """As ModalityDataItems."""
        return {f"{self.modality}s": self.get_all()}


class EmbeddingItems(ModalityDataItems[Any, Tensor]):
    """Rows that an encoder would have made: a tensor [items, n, E], or a list of [n, E]."""

    def __init__(self, data: Any, modality: str, expected_hidden_size: int | None = None) -> None:
        super().__init__(data, modality)
        for i, rows in enumerate(data if expected_hidden_size is not None else ()):
            if rows.shape[-1] != expected_hidden_size:
                raise ValueError(f"{modality} {i}: rows of {rows.shape[-1]} numbers, expected {expected_hidden_size}")

    def get_passthrough_data(self) -> Mapping[str, Any]:
        """As ModalityDataItems."""
        return {f"{self.modality}_embeds": self.data}

    def get_feature_size(self, item_idx: int) -> int:
        """Rows of an item."""
        return len(self.get(item_idx))


class DictEmbeddingItems(ModalityDataItems[Mapping[str, Tensor], Mapping[str, Tensor]]):
    """Items as a dictionary of what a processor would have returned. ValueError for keys that are missing.

    fields_factory: as `_get_mm_fields_config`, of the dictionary.
    """

    def __init__(self, data: Mapping[str, Any], modality: str, required_fields: set[str],
                 fields_factory: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
        missing = sorted(required_fields - set(data))
        if missing:
            raise ValueError(f"{modality} has the keys {sorted(data)}, and lacks {', '.join(missing)}")
        super().__init__(data, modality)
        self.required_fields, self.fields_config = required_fields, fields_factory(data)
        self._items = MultiModalKwargsItems.from_hf_inputs(data, self.fields_config).get_items(modality)

    def get_count(self) -> int:
        """As ModalityDataItems."""
        return len(self._items)

    def get(self, index: int) -> Mapping[str, Tensor]:
        """As ModalityDataItems."""
        return self._items[index].get_data()

    def get_passthrough_data(self) -> Mapping[str, Any]:
        """As ModalityDataItems."""
        return self.data


class ImageProcessorItems(ProcessorBatchItems[Any]):
    """Images."""

    def __init__(self, data: Any) -> None:
        super().__init__(data, "image")

    def get_image_size(self, item_idx: int) -> ImageSize:
        """Of an image."""
        return _size(self.get(item_idx))


class AudioProcessorItems(ProcessorBatchItems[Any]):
    """Waves, at the rate of the parser."""

    def __init__(self, data: Any) -> None:
        super().__init__(data, "audio")

    def get_audio_length(self, item_idx: int) -> int:
        """Samples of an item."""
        return len(self.get(item_idx))


class VideoProcessorItems(ProcessorBatchItems[Any]):
    """Videos as frames. metadata: of each video, or None."""

    def __init__(self, data: Any, metadata: Any = None) -> None:
        super().__init__(data, "video")
        self.metadata = metadata

    def get_num_frames(self, item_idx: int) -> int:
        """Frames of a video."""
        return len(self.get(item_idx))

    def get_frame_size(self, item_idx: int) -> ImageSize:
        """Of a video's frames."""
        return _size(self.get(item_idx)[0])


class ImageEmbeddingItems(EmbeddingItems):
    """Rows of images."""

    def __init__(self, data: Any, expected_hidden_size: int | None = None) -> None:
        super().__init__(data, "image", expected_hidden_size)


class AudioEmbeddingItems(EmbeddingItems):
    """Rows of audio."""

    def __init__(self, data: Any, expected_hidden_size: int | None = None) -> None:
        super().__init__(data, "audio", expected_hidden_size)


class VideoEmbeddingItems(EmbeddingItems):
    """Rows of videos."""

    def __init__(self, data: Any, expected_hidden_size: int | None = None) -> None:
        super().__init__(data, "video", expected_hidden_size)


class MultiModalDataItems(UserDict[str, ModalityDataItems[Any, Any]]):
    """The items of a prompt by modality."""

    def get_count(self, modality: str, *, strict: bool = True) -> int:
        """Items of a modality. strict: KeyError where there is none."""
        return self[modality].get_count() if strict or modality in self else 0

    def get_all_counts(self) -> Mapping[str, int]:
        """{modality: number of items}."""
        return {modality: items.get_count() for modality, items in self.items()}

    def get_items(self, modality: str, typ: Any) -> Any:
        """The items of a modality. TypeError when they are of another class than `typ`, a class or several."""
        items = self[modality]
        if not isinstance(items, typ):
            raise TypeError(f"the {modality} items are {type(items).__name__}, expected {typ}")
        return items

    def select(self, modalities: Any) -> MultiModalDataItems:
        """Those of some modalities."""
        return MultiModalDataItems({modality: items for modality, items in self.items() if modality in modalities})


class MultiModalDataParser:
    """target_sr: samples a second of audio; None: as given. video_needs_metadata: videos come as (frames, metadata).
    target_channels, audio_resample_method: taken and not read: waves become one channel.
    """

    def __init__(self, *, target_sr: float | None = None, target_channels: int | None = None,
                 audio_resample_method: str = "librosa", video_needs_metadata: bool = False,
                 expected_hidden_size: int | None = None) -> None:
        self.target_sr = target_sr
        self.video_needs_metadata, self.expected_hidden_size = video_needs_metadata, expected_hidden_size

    def parse_mm_data(self, mm_data: Mapping[str, Any]) -> MultiModalDataItems:
        """The items of each modality. ValueError for a modality that the parser does not know."""
        parsers = self._get_subparsers()
        found = MultiModalDataItems()
        for modality, data in mm_data.items():
            if modality not in parsers:
                raise ValueError(f"{modality}: expected one of {', '.join(parsers)}")
            items = parsers[modality](data)
            if items is not None:
                found[modality] = items
        return found

    def _get_subparsers(self) -> Mapping[str, ModalityDataParser]:
        return {"audio": self._parse_audio_data, "image": self._parse_image_data, "video": self._parse_video_data}

    def is_embeddings(self, data: Any) -> bool:
        """Whether data are rows: [items, n, E], or a list of [n, E]."""
        if isinstance(data, Tensor):
            return data.dim() == 3
        return isinstance(data, list) and bool(data) and all(isinstance(x, Tensor) and x.dim() == 2 for x in data)

    _is_embeddings = is_embeddings

    def _parse_image_data(self, data: Any) -> Any:
        if _is_empty(data):
            return None
        if self.is_embeddings(data):
            return ImageEmbeddingItems(data, self.expected_hidden_size)
        if isinstance(data, list | tuple) or (isinstance(data, np.ndarray | Tensor) and data.ndim == 4):
            return ImageProcessorItems(list(data))
        return ImageProcessorItems([data])

    def _parse_audio_data(self, data: Any) -> Any:
        if _is_empty(data):
            return None
        if self.is_embeddings(data):
            return AudioEmbeddingItems(data, self.expected_hidden_size)
        is_one = isinstance(data, tuple) or not isinstance(data[0], list | tuple | np.ndarray | Tensor) or (
            isinstance(data, np.ndarray | Tensor) and data.ndim == 1)
        return AudioProcessorItems([self._wave(item) for item in ([data] if is_one else list(data))])

    def _wave(self, item: Any) -> np.ndarray:
        """[n] float32 of a wave, or of (wave, samples a second). ValueError for another rate than the parser's."""
        wave, rate = item if isinstance(item, tuple) else (item, None)
        if rate is not None and self.target_sr is not None and rate != self.target_sr:
            raise ValueError(f"audio of {rate} samples a second, expected {self.target_sr}")
        wave = np.asarray(wave, dtype=np.float32)
        return wave.mean(axis=int(wave.shape[1] < wave.shape[0])) if wave.ndim == 2 else wave

    def _parse_video_data(self, data: Any) -> Any:
        if _is_empty(data):
            return None
        if self.is_embeddings(data):
            return VideoEmbeddingItems(data, self.expected_hidden_size)
        is_one = isinstance(data, tuple) or (isinstance(data, np.ndarray | Tensor) and data.ndim == 4) or not (
            isinstance(data[0], list | tuple) or getattr(data[0], "ndim", 3) == 4)
        videos, metadata = [], []
        for video in [data] if is_one else list(data):
            frames, more = video if isinstance(video, tuple) and len(video) == 2 else (video, None)
            videos.append((frames, more) if self.video_needs_metadata else frames)
            metadata.append(more)
        return VideoProcessorItems(videos, metadata)


def _is_empty(data: Any) -> bool:
    return data is None or (hasattr(data, "__len__") and len(data) == 0)


def _size(image: Any) -> ImageSize:
    if isinstance(image, np.ndarray | torch.Tensor):
        height, width = image.shape[-2:] if image.shape[0] in (1, 3, 4) else image.shape[:2]
        return ImageSize(int(width), int(height))
    return ImageSize(*image.size)
