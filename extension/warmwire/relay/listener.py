"""The local sockets, and who is connected to them.

Binding is separate from serving: it comes first of all, before Warmwire registers with Lambda, because the function's
code runs as soon as every extension has registered.
"""

import asyncio
import contextlib
import logging
import os
import resource
import socket

from warmwire.clock import Clock
from warmwire.config import Config
from warmwire.pool.pool import Pool, Spawn
from warmwire.protocol.codec import write_packet
from warmwire.protocol.handshake import write_error
from warmwire.relay.client import ClientConnection, Phase
from warmwire.wire import Wire

logger = logging.getLogger("warmwire.listener")

MAX_CLIENTS = 512
"""Clients at once, at most; fewer where the process may not have so many files open."""
_RESERVED_FILES = 64
_BACKLOG = 128
_PAUSE_WHEN_FULL = 0.2


class Listener:
    """Accepts clients and knows all of them.

    Args:
        sockets: bound and listening, from :func:`warmwire.relay.sockets.bind`.
        pool, config, clock, spawn: for the clients.
    """

    def __init__(self, sockets: list[socket.socket], pool: Pool, config: Config, clock: Clock, spawn: Spawn) -> None:
        self._sockets = sockets
        self._pool = pool
        self._config = config
        self._clock = clock
        self._spawn = spawn
        self._loop = asyncio.get_running_loop()
        self._clients: dict[ClientConnection, None] = {}  # in the order of their coming
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._limit = max(1, min(MAX_CLIENTS, files - config.pool_max - _RESERVED_FILES))

    def start(self) -> None:
        """Begin to accept."""
        for listening in self._sockets:
            self._loop.add_reader(listening, self._accept, listening)

    async def end_invocation(self, request_id: str) -> None:
        """Have every client leave nothing open; see :meth:`ClientConnection.end_invocation`."""
        clients = [client.end_invocation(request_id) for client in self._clients]
        for result in await asyncio.gather(*clients, return_exceptions=True):
            if isinstance(result, Exception):
                logger.error("ending invocation %s failed for a client; this is a bug", request_id, exc_info=result)

    def close(self) -> None:
        """Stop accepting and close every client."""
        for listening in self._sockets:
            self._loop.remove_reader(listening)
            if listening.family == socket.AF_UNIX:
                with contextlib.suppress(OSError):
                    os.unlink(listening.getsockname())
            listening.close()
        for client in list(self._clients):
            client.shut_down()

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_BACKLOG):
            try:
                sock, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as problem:  # no file descriptor or memory left: let some clients go first
                logger.warning("no client can be accepted: %s", problem)
                self._loop.remove_reader(listening)
                self._loop.call_later(_PAUSE_WHEN_FULL, self._accept_again, listening)
                return
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire = Wire(self._loop, sock)
            if len(self._clients) >= self._limit and not self._make_room():
                text = f"Warmwire: {len(self._clients)} clients are connected, which is all that are accepted; close some"
                wire.write(write_packet(write_error(1040, "08004", text, greeted=False), 0))
                wire.abort()  # it is sent: so short, into an empty buffer
                continue
            client = ClientConnection(wire, self._pool, self._config, self._clock, self._spawn, self._forget)
            self._clients[client] = None
            self._spawn(client.run())

    def _accept_again(self, listening: socket.socket) -> None:
        if listening.fileno() >= 0:
            self._loop.add_reader(listening, self._accept, listening)

    def _make_room(self) -> bool:
        """Drop the client that has been logging in, or lingering after its end, for the longest, if there is one."""
        for client in self._clients:
            if client.phase in (Phase.LOGIN, Phase.CLOSED):
                del self._clients[client]
                client.drop()
                return True
        return False

    def _forget(self, client: ClientConnection) -> None:
        self._clients.pop(client, None)
