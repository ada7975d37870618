"""Upstreams without a network, and an opener that fails in every way a database can."""

import asyncio
from collections.abc import Callable
from typing import Any

from warmwire.clock import Clock
from warmwire.errors import DatabaseUnreachable, ProtocolError, ServerRefused
from warmwire.protocol.exchange import Exchange
from warmwire.session import Baseline
from warmwire.upstream import ServerFacts


class FakeWire:
    """Knows only whether it is closed."""

    def __init__(self, on_closed: Callable[[], None]) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._on_closed = on_closed
        self.listener: Any = None

    def listen(self, on_data: Any, on_lost: Any, on_drained: Any = None) -> None:
        self.listener = on_data, on_lost

    def abort(self) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
            self._on_closed()


class FakeUpstream:
    """A connection. Each attribute that ends in ``_fails`` holds what the operation raises, ``hangs`` what never ends."""

    class Channel:
        """Only so that there is one to attach."""

        def attach(self) -> None:
            return None

    def __init__(self, opener: "FakeOpener", number: int, key: int, baseline: Baseline) -> None:
        self.thread_id = number
        self.key = key
        self.baseline: Baseline | None = baseline
        self.exchange = Exchange(False)
        self.channel = self.Channel()
        self.wire = FakeWire(lambda: opener.closed(self))
        self.last_used = opener.clock.now()
        self.alive = True
        self.pings = 0
        self.resets: list[Baseline] = []
        self.has_quit = False
        self.ping_fails: Exception | None = None
        self.reset_fails: Exception | None = None
        self.hangs: set[str] = set()
        self.watcher: Any = None
        self._opener = opener

    def __repr__(self) -> str:
        return f"upstream {self.thread_id}"

    def is_quiet(self) -> bool:
        return self.alive and not self.wire.closed.done()

    def watch(self, on_lost: Any) -> None:
        self.watcher = on_lost

    async def ping(self) -> None:
        self.pings += 1
        await self._work("ping", self.ping_fails)
        self.last_used = self._opener.clock.now()

    async def reset_to(self, baseline: Baseline) -> None:
        self.baseline = None
        await self._work("reset", self.reset_fails)
        self.resets.append(baseline)
        self.baseline = baseline
        self.last_used = self._opener.clock.now()

    def quit(self) -> None:
        self.has_quit = True
        if self._opener.linger:
            asyncio.get_running_loop().call_later(self._opener.linger, self.wire.abort)
        else:
            self.wire.abort()

    async def _work(self, what: str, failure: Exception | None) -> None:
        if what in self.hangs:
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(self._opener.latency)
        if self.wire.closed.done() or not self.alive:
            raise ConnectionResetError("closed by its other end")
        if failure is not None:
            raise failure


class FakeOpener:
    """Opens them. ``moods`` says how each of the next ones goes: ``refuses``, ``hangs``, ``unreachable``, or well."""

    def __init__(self, clock: Clock, maximum: int) -> None:
        self.clock = clock
        self.maximum = maximum
        self.facts: ServerFacts | None = ServerFacts(b"8.0.99", 0xFFFFFFFF, 45)
        self.greeted_thread_id = 0
        self.latency = 0.01
        self.linger = 0.0
        """Seconds from COM_QUIT to the end of the connection."""
        self.moods: list[str] = []
        self.opened: list[FakeUpstream] = []
        self.open_now: set[FakeUpstream] = set()
        self.opening = 0
        self.most_open = 0
        self.killed: list[FakeUpstream] = []

    async def greet(self, timeout: float) -> bool:
        return False

    async def open(self, key: int, baseline: Baseline, timeout: float) -> FakeUpstream:
        mood = self.moods.pop(0) if self.moods else "well"
        self.opening += 1
        self._count()
        try:
            async with asyncio.timeout(timeout):
                await asyncio.sleep(self.latency)
                if mood == "hangs":
                    await asyncio.get_running_loop().create_future()
        except TimeoutError:
            raise DatabaseUnreachable("timed out while logging in") from None
        finally:
            self.opening -= 1
        if mood == "refuses":
            raise ServerRefused(1045, "28000", "Access denied")
        if mood == "unreachable":
            raise DatabaseUnreachable("connection refused")
        if mood == "breaks":
            raise DatabaseUnreachable(str(ProtocolError("garbage")))
        upstream = FakeUpstream(self, len(self.opened) + 1, key, baseline)
        self.opened.append(upstream)
        self.open_now.add(upstream)
        self._count()
        return upstream

    async def kill(self, upstream: FakeUpstream, timeout: float) -> None:
        self.killed.append(upstream)

    def closed(self, upstream: FakeUpstream) -> None:
        self.open_now.discard(upstream)

    def _count(self) -> None:
        self.most_open = max(self.most_open, len(self.open_now) + self.opening)
        assert self.most_open <= self.maximum, f"{self.most_open} connections at once, {self.maximum} allowed"
