"""Upstreams whose client left while a response was awaited.

The server goes on with such a statement, as it does when a client leaves it directly. So the connection stays open until
the response has ended, or too much of it has come, and then it is closed; it is never given to anybody else. What still
runs when the invocation ends in a transaction, or at all when the environment shuts down, is killed from a second
connection: closing alone would leave it, its transaction and its locks to the server for as long as it takes.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from warmwire.errors import ClientError, ProtocolError
from warmwire.upstream import Upstream

logger = logging.getLogger("warmwire.pool")

DRAIN_LIMIT = 1 << 20
"""Bytes of a response that are read for nobody."""

Closed = Callable[[Upstream, str], None]


class Killer(Protocol):
    """Ends a connection at the server; :class:`warmwire.connector.Connector` is one."""

    async def kill(self, upstream: Upstream, timeout: float) -> None:
        """End it, with whatever it is running. Raises ClientError."""
        ...


class Abandoned:
    """The abandoned upstreams of a pool.

    Args:
        killer: for those that have to end now.
        on_closed: told when one is closed, with the reason.
    """

    def __init__(self, killer: Killer, on_closed: Closed) -> None:
        self._killer = killer
        self._on_closed = on_closed
        self._upstreams: dict[Upstream, bool] = {}  # whether a transaction is open
        self._drained: dict[Upstream, int] = {}

    def add(self, upstream: Upstream, *, in_transaction: bool) -> None:
        """Take over an upstream in the middle of a response."""
        self._upstreams[upstream] = in_transaction
        self._drained[upstream] = 0
        upstream.wire.listen(
            lambda data: self._received(upstream, data), lambda _: self._close(upstream, "the connection ended")
        )

    async def end(self, timeout: float, *, all_of_them: bool) -> None:
        """Leave nothing running: at an invocation's end what is in a transaction, at a shutdown everything.

        Args:
            timeout: seconds for all kills together.
            all_of_them: whether to kill also what would end by itself.
        """
        doomed = [upstream for upstream, in_transaction in self._upstreams.items() if in_transaction or all_of_them]
        await asyncio.gather(*(kill(self._killer, upstream, timeout) for upstream in doomed))
        for upstream in list(self._upstreams):
            self._close(upstream, "its client left during a statement")

    def _received(self, upstream: Upstream, data: bytes) -> None:
        self._drained[upstream] += len(data)
        try:
            upstream.exchange.feed(data)
        except ProtocolError:
            self._close(upstream, "the server left the protocol")
            return
        if upstream.exchange.done or upstream.exchange.uploading or self._drained[upstream] > DRAIN_LIMIT:
            self._close(upstream, "its client left during a response")

    def _close(self, upstream: Upstream, reason: str) -> None:
        if self._upstreams.pop(upstream, None) is not None:
            del self._drained[upstream]
            if upstream.exchange.done:
                upstream.quit()
            else:
                upstream.wire.abort()
            self._on_closed(upstream, reason)


async def kill(killer: Killer, upstream: Upstream, timeout: float) -> None:
    """Kill an upstream's connection at the server; a failure is logged, since the connection is closed in any case."""
    try:
        await killer.kill(upstream, timeout)
        logger.info("killed the statement of %r", upstream, extra={"upstream": upstream.thread_id})
    except ClientError as problem:
        logger.warning("the statement of %r could not be killed: %s", upstream, problem)
