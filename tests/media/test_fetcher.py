"""Files are fetched a few at a time, and what waits is bounded."""

import threading

import pytest
from file_server import file_server

from weft.config.engine_config import MediaConfig
from weft.errors import QueueFullError, RequestError
from weft.media import fetcher
from weft.media.encoded import LinkedImage
from weft.media.fetcher import MediaFetcher


def links(url, count):
    return [LinkedImage(field=f"f{i}", url=url) for i in range(count)]


def test_no_more_than_so_many_run_and_wait_and_their_places_become_free(monkeypatch):
    monkeypatch.setattr(fetcher, "MAX_OPEN", 12)
    arrived, go, num = threading.Semaphore(0), threading.Event(), fetcher.MAX_PARALLEL

    def wait(handler):
        arrived.release()
        go.wait(10)
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"x")

    with file_server({"/": wait}) as (url, asked):
        files = MediaFetcher(MediaConfig(allowed_networks=("127.0.0.1",), fetch_timeout=20))
        with pytest.raises(RequestError, match=r"^f12 = .*at most 12 images by URL"):
            files.start(links(url + "/", 13))
        futures = files.start(links(url + "/", 12))
        with pytest.raises(QueueFullError, match="12 files wait"):
            files.start(links(url + "/", 1))
        for _ in range(num):
            assert arrived.acquire(timeout=10)
        assert len(asked) == num
        go.set()

        assert [future.result().data for future in futures] == [b"x"] * 12
        assert files.start(links(url + "/", 12))[0].result().field == "f0"
        files.close()


def test_an_error_names_the_field_and_says_why():
    files = MediaFetcher(MediaConfig())

    future, = files.start([LinkedImage(field="a.b", url="file:///etc/passwd")])

    with pytest.raises(RequestError, match=r"^a\.b = 'file:///etc/passwd': .*has no allowed_local_media_path\.$"):
        future.result()
    files.close()
