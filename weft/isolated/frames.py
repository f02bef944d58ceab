"""Frames: byte strings on a socket, each behind its length."""

from __future__ import annotations

import socket
import time

_LENGTH_BYTES = 8


def send(sock: socket.socket, body: bytes, until: float | None = None) -> None:
    """Sends a frame. TimeoutError at `until`, by time.monotonic; OSError if the other end is gone."""
    for part in (len(body).to_bytes(_LENGTH_BYTES, "big"), body):
        _limit(sock, until)
        sock.sendall(part)


def receive(sock: socket.socket, max_bytes: int, until: float | None = None) -> bytearray | None:
    """The next frame; None at the end of the stream. TimeoutError at `until`, ValueError for a longer frame."""
    head = _read(sock, _LENGTH_BYTES, until)
    if head is None:
        return None
    length = int.from_bytes(head, "big")
    if length > max_bytes:
        raise ValueError(f"a frame of {length} bytes, and {max_bytes} are allowed")
    return _read(sock, length, until)


def _read(sock: socket.socket, length: int, until: float | None) -> bytearray | None:
    found, place = bytearray(length), 0
    view = memoryview(found)
    while place < length:
        _limit(sock, until)
        num = sock.recv_into(view[place:])
        if not num:
            return None
        place += num
    return found


def _limit(sock: socket.socket, until: float | None) -> None:
    if until is not None:
        sock.settimeout(max(until - time.monotonic(), 1e-3))      # 0 would mean not to wait at all
