"""Receives the Telemetry API's posts, to learn when an invocation has ended.

A listener of a few lines instead of a web server: it accepts only POSTs with a Content-Length, of the platform's size,
answers each at once, and never logs (its own log lines could come back to it).
"""

import asyncio
import json
import socket

from warmwire.lambda_api.lifecycle import Invocations

_HOST = "sandbox.localdomain"
"""What the destination has to be called; the platform resolves it."""
_LOOKUP_TIMEOUT = 0.3
_HEAD_LIMIT = 16 * 1024
_BODY_LIMIT = 4 << 20  # the service may post twice the subscribed maxBytes, and metadata
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_BAD = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class TelemetryListener:
    """Listens for the end of invocations."""

    def __init__(self) -> None:
        self._invocations = Invocations()
        self._news = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Listen; returns the URI to subscribe with."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_LOOKUP_TIMEOUT):
                found = await loop.getaddrinfo(_HOST, 0, family=socket.AF_INET, type=socket.SOCK_STREAM)
            address = str(found[0][4][0])
            self._server = await asyncio.start_server(self._serve, address, 0, limit=_HEAD_LIMIT)
        except OSError:  # the name is the platform's; where it is unknown here, the platform still knows it
            self._server = await asyncio.start_server(self._serve, "0.0.0.0", 0, limit=_HEAD_LIMIT)  # noqa: S104
        return f"http://{_HOST}:{self._server.sockets[0].getsockname()[1]}/"

    async def wait_for_end(self, request_id: str, timeout: float) -> bool:
        """Wait until this invocation's runtime is done; False if that was not reported in time."""
        try:
            async with asyncio.timeout(timeout):
                while not self._invocations.has_ended(request_id):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _content_length(head)
                if not head.startswith(b"POST ") or length is None:
                    writer.write(_BAD)
                    return
                body = await reader.readexactly(length)
                writer.write(_OK)
                self._take(body)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            return
        finally:
            writer.close()

    def _take(self, body: bytes) -> None:
        try:
            telemetry = json.loads(body)
        except (ValueError, RecursionError):
            return
        if self._invocations.note(telemetry):
            self._news.set()


def _content_length(head: bytes) -> int | None:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit() and len(value) < 16:
            length = int(value)
            return length if length <= _BODY_LIMIT else None
    return None
