"""`file_server`: an HTTP server on 127.0.0.1 whose answers a test writes, for fetches of media."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# What a path answers: the file's bytes, or a function that writes the answer.
Answer = bytes | Callable[[BaseHTTPRequestHandler], None]


@contextlib.contextmanager
def file_server(answers: Mapping[str, Answer]) -> Iterator[tuple[str, list[str]]]:
    """(the server's URL, the paths that were asked for so far)."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            answer = answers.get(self.path)
            if answer is None:
                self.send_error(404)
            elif isinstance(answer, bytes):
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
            else:
                with contextlib.suppress(OSError):      # the client leaves in the middle
                    answer(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def redirect(to: str) -> Answer:
    """Answers with a redirect."""
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.end_headers()

    return answer
