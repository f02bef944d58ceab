"""`MediaFetcher`: files that clients name by URL, fetched in threads, a few at a time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from weft.config.engine_config import MediaConfig
from weft.errors import QueueFullError, RequestError
from weft.media.addresses import AddressRule
from weft.media.encoded import EncodedImage, LinkedImage
from weft.media.http_get import HttpGet
from weft.media.local_file import read_local_file

MAX_PARALLEL = 8             # files that are fetched at a time
MAX_OPEN = 64                # files that are fetched, or wait for it


class MediaFetcher:
    """Any thread may call any method."""

    def __init__(self, config: MediaConfig) -> None:
        self._folder, self._max_bytes = config.allowed_local_path, config.max_image_bytes
        self._http = HttpGet(AddressRule(config.allowed_networks), domains=config.allowed_domains,
                             seconds=config.fetch_timeout, max_bytes=config.max_image_bytes)
        self._pool = ThreadPoolExecutor(MAX_PARALLEL, thread_name_prefix="weft-fetch")
        self._num_open, self._lock = 0, threading.Lock()

    def start(self, links: Sequence[LinkedImage]) -> list[Future[EncodedImage]]:
        """Starts to fetch all files of a prompt. A result is a RequestError where a file cannot be had.

        RequestError for more than MAX_OPEN files, QueueFullError if with others they are more.
        """
        if len(links) > MAX_OPEN:
            raise RequestError(links[MAX_OPEN].field, links[MAX_OPEN].url,
                               expected=f"at most {MAX_OPEN} images by URL in a prompt")
        with self._lock:
            if self._num_open + len(links) > MAX_OPEN:
                raise QueueFullError(f"{self._num_open} files wait to be fetched, and {MAX_OPEN} may: try again later.",
                                     "max_open_fetches")
            self._num_open += len(links)
        futures = [self._pool.submit(self._fetched, link) for link in links]
        for future in futures:
            future.add_done_callback(self._end)
        return futures

    def close(self) -> None:
        """Drop what waits. A fetch that runs goes on to its end, unobserved."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _fetched(self, link: LinkedImage) -> EncodedImage:
        try:
            if link.is_local:
                content = read_local_file(link.url, self._folder, self._max_bytes)
            else:
                content = self._http.get(link.url)
        except ValueError as error:
            raise RequestError(link.field, link.url, expected="an image that weft can fetch",
                               hint=f"{str(error)[0].upper()}{str(error)[1:]}.") from error
        return EncodedImage(field=link.field, media_type=None, data=content)

    def _end(self, _: Future[EncodedImage]) -> None:
        with self._lock:
            self._num_open -= 1
