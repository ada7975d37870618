"""As much of the Extensions API as an extension needs to start and to end, answering in a fraction of a millisecond.

The emulator does all of it, but with a function, and its own time would be in the figures.
"""

import contextlib
import json
import queue
import socket
import threading
import time

_TIMEOUT = 20.0
_IDENTIFIER = "Lambda-Extension-Identifier: 1"


class LambdaService:
    """Listens on a port of 127.0.0.1 for one extension; a context manager."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._events: queue.Queue[dict[str, object]] = queue.Queue()
        self._sent: queue.Queue[float] = queue.Queue()
        self._registered: queue.Queue[float] = queue.Queue()
        self._waiting = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "LambdaService":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def await_registered(self) -> float:
        """Wait for /register; gives the moment of its answer on perf_counter's clock."""
        return self._registered.get(timeout=_TIMEOUT)

    def await_ready(self) -> None:
        """Wait until the extension asks for its first event: then its Init is over."""
        if not self._waiting.wait(_TIMEOUT):
            raise TimeoutError("the extension never asked for an event")

    def shut_down(self) -> float:
        """Send SHUTDOWN; gives the moment on perf_counter's clock."""
        self._events.put({"eventType": "SHUTDOWN", "shutdownReason": "spindown", "deadlineMs": int(time.time() * 1000) + 2000})
        return self._sent.get(timeout=_TIMEOUT)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            path = _read_request(connection)
            if path == "/2020-01-01/extension/register":
                known = {"functionName": "benchmark", "functionVersion": "$LATEST", "handler": "function.handler"}
                _reply(connection, known, _IDENTIFIER)
                self._registered.put(time.perf_counter())
            elif path == "/2020-01-01/extension/event/next":
                self._waiting.set()
                event = self._events.get()
                self._sent.put(time.perf_counter())
                _reply(connection, event)
            else:
                _reply(connection, {})


def _read_request(connection: socket.socket) -> str:
    """Read a request to its end; gives its path."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    left = int(headers.get("content-length", 0)) - len(body)
    while left > 0:
        left -= len(connection.recv(left))
    return lines[0].split()[1]


def _reply(connection: socket.socket, body: object, *headers: str) -> None:
    payload = json.dumps(body).encode()
    lines = ["HTTP/1.1 200 OK", "Content-Type: application/json", f"Content-Length: {len(payload)}", *headers, "", ""]
    connection.sendall("\r\n".join(lines).encode() + payload)
