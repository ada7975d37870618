"""The pool: upstreams that outlive their clients.

A client checks an upstream out, keeps it until it leaves, and checks it in; then it is reset in the background, off
everyone's critical path, to the baseline of the client that left, because the next one is nearly always of the same
kind. When nothing is free, clients queue in the order they came. Slow work (connecting, resetting, closing) happens
outside of the accounting in :mod:`warmwire.pool.state`.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from warmwire.clock import Clock
from warmwire.config import Config
from warmwire.connector import GREETED_FRESH
from warmwire.errors import CheckoutTimeout, ClientError, DatabaseUnreachable, ProtocolError, ServerRefused, ShuttingDown
from warmwire.pool.abandoned import Abandoned, kill
from warmwire.pool.state import Open, PoolState, Slot, SlotState, Use, Wait
from warmwire.protocol.constants import Capability
from warmwire.session import Baseline
from warmwire.upstream import ServerFacts, Upstream

logger = logging.getLogger("warmwire.pool")

RESET_TIMEOUT = 5.0
"""Seconds that a background reset may take; it is bounded by the network, not by statements."""
PATIENCE = 0.25
"""Seconds to wait for an upstream that is being reset before opening another one."""
FIRST_KEY = Capability.MULTI_RESULTS
"""Pool key of an upstream that is opened before any client came: what the plainest drivers ask for."""
_UTF8MB4_GENERAL_CI = 45
PING_TIMEOUT = 1.0
"""Seconds to wait for a validation's answer; a silent network gives none."""

_FAILURES = (OSError, TimeoutError, ProtocolError, ClientError)

Spawn = Callable[[Coroutine[Any, Any, None]], object]
"""Runs a coroutine in the background; app.py owns the tasks."""


def first_baseline(config: Config) -> Baseline:
    """Baseline of an upstream that is opened before any client came."""
    return Baseline(config.db_name.encode() or None, _UTF8MB4_GENERAL_CI, False, False)


class Opener(Protocol):
    """Opens upstreams; :class:`warmwire.connector.Connector` is one."""

    @property
    def facts(self) -> ServerFacts | None:
        """What is known of the server, if anything."""

    @property
    def greeted_thread_id(self) -> int:
        """Connection id of a connection that waits for its login; 0 if there is none."""

    async def greet(self, timeout: float) -> bool:
        """Learn the facts, if they are not known; whether a connection now waits for its login."""
        ...

    async def open(self, key: int, baseline: Baseline, timeout: float) -> Upstream:
        """Open one, or raise ClientError."""
        ...

    async def kill(self, upstream: Upstream, timeout: float) -> None:
        """End one at the server, with whatever it is running, or raise ClientError."""
        ...


class Pool:
    """Checks upstreams out and in. All methods belong to the loop's thread.

    Args:
        config: sizes and timeouts.
        opener: opens upstreams.
        clock: for ages.
        spawn: runs background work.
    """

    def __init__(self, config: Config, opener: Opener, clock: Clock, spawn: Spawn) -> None:
        self._config = config
        self._opener = opener
        self._clock = clock
        self._spawn = spawn
        self.state = PoolState(config.pool_size, config.pool_max)
        self._upstreams: dict[int, Upstream] = {}
        self._slots: dict[Upstream, Slot] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._promised: set[int] = set()  # connection ids that clients were greeted with
        self._changed = asyncio.Event()
        self._closing = False
        self._abandoned = Abandoned(opener, self._closed_elsewhere)
        self.hint: tuple[int, Baseline] = (FIRST_KEY, first_baseline(config))
        """Kind of the client that came last: what an upstream opened ahead of its client should be."""

    async def facts(self, timeout: float) -> ServerFacts:
        """What is known of the server; connects as far as its greeting to learn it, if need be.

        Raises:
            ClientError: the database could not be reached.
        """
        if self._opener.facts is None and await self._opener.greet(timeout):
            self._spawn(self._use_greeted())
        if self._opener.facts is None:
            raise DatabaseUnreachable("the database has told nothing of itself")
        return self._opener.facts

    async def _use_greeted(self) -> None:
        """If the client for whom a connection was begun does not log in, log in for whoever comes next.

        Servers count logins that were begun and never finished, and block the hosts they come from.
        """
        await asyncio.sleep(GREETED_FRESH / 2)
        if self._opener.greeted_thread_id and not self._closing:
            await self.open_ahead(self._config.checkout_timeout)

    def promise(self) -> int:
        """Connection id of the upstream that a client will get which comes now, if it can be had; 0 if that is not known.

        The client, which may aim a KILL with it, wishes for it at its check-outs; :meth:`redeem` ends the promise.
        """
        coming = [*self.state.idle, *(slot for slot in self.state.slots.values() if slot.state is SlotState.RESETTING)]
        coming.sort(key=lambda slot: (slot.key, slot.baseline) != self.hint)
        ids = [*(self._upstreams[slot.number].thread_id for slot in coming), self._opener.greeted_thread_id]
        promised = next((thread_id for thread_id in ids if thread_id not in self._promised), 0)
        self._promised.add(promised)
        return promised

    def redeem(self, promised: int) -> None:
        """The client has got an upstream, this one or another, or does not want it any more."""
        self._promised.discard(promised)

    def _rank(self, slot: Slot, wish: int) -> int:
        """The one that was promised to this client comes first, those promised to others last."""
        thread_id = self._upstreams[slot.number].thread_id
        return 0 if thread_id == wish else 2 if thread_id in self._promised else 1

    def try_check_out(self, key: int, baseline: Baseline, wish: int = 0) -> Upstream | None:
        """An idle upstream that needs no work at all, or None: then await :meth:`check_out`."""
        if self._waiters or self._closing:
            return None
        for slot in sorted(self.state.idle, key=lambda slot: self._rank(slot, wish)):
            if slot.key == key and slot.baseline == baseline:
                upstream = self._upstreams[slot.number]
                if not self._is_stale(upstream) and upstream.is_quiet():
                    self.state.move(slot, SlotState.ACTIVE)
                    return upstream
        return None

    async def check_out(self, key: int, baseline: Baseline, timeout: float, wish: int = 0) -> Upstream:
        """An upstream of this kind, at this baseline, for the caller alone. Cancelling gives it back.

        Args:
            key: its pool key.
            baseline: where its session has to be.
            timeout: seconds in all.
            wish: what the caller was promised.

        Raises:
            CheckoutTimeout: none became free in time.
            ServerRefused: the server refused the login or the database.
            DatabaseUnreachable: none could be opened.
            ShuttingDown: the pool is closed.
        """
        started = self._clock.now()
        self.hint = (key, baseline)
        place: asyncio.Future[None] | None = None
        has_turn = not self._waiters
        try:
            while True:
                if self._closing:
                    raise ShuttingDown("Warmwire is shutting down with its Lambda environment")
                waited = started.age(self._clock.now())
                turn = left = timeout - waited
                if has_turn:
                    ahead = self._waiters.index(place) if place is not None else 0
                    decision = self.state.request(
                        key, baseline, ahead=ahead, patient=waited < PATIENCE, rank=lambda slot: self._rank(slot, wish)
                    )
                    if not isinstance(decision, Wait) and place is not None:
                        self._leave_queue(place)
                        place = None
                    if isinstance(decision, Use):
                        upstream = await self._take(decision.slot, baseline, left)
                        if upstream is not None:
                            return upstream
                        if timeout <= started.age(self._clock.now()):
                            raise DatabaseUnreachable(
                                f"an upstream gave no answer within {timeout:g} s; the database is {self._config.database}"
                            )
                        continue
                    if isinstance(decision, Open):
                        return await self._open(decision, baseline, left)
                    if decision.is_soon:
                        turn = min(left, PATIENCE - waited)
                place = await self._queue(place, turn)
                has_turn = True
                if timeout <= started.age(self._clock.now()):
                    raise self._timed_out(timeout)
        finally:
            if place is not None:
                self._leave_queue(place)

    def check_in(self, upstream: Upstream, baseline: Baseline) -> None:
        """Give an upstream back, between exchanges; it is reset to the baseline in the background."""
        slot = self._slots.get(upstream)
        if slot is None:
            return
        self.state.move(slot, SlotState.RESETTING)
        upstream.channel.attach()  # so that the reset finds what comes unasked before it begins
        self._spawn(self._reset(slot, upstream, baseline))

    def check_in_unused(self, upstream: Upstream) -> None:
        """Give an upstream back that is as it was at check-out."""
        slot = self._slots.get(upstream)
        if slot is not None:
            self._idle(slot, upstream)

    def discard(self, upstream: Upstream, reason: str) -> None:
        """Close an upstream at once and forget it."""
        slot = self._slots.get(upstream)
        upstream.wire.abort()
        if slot is not None:
            logger.info("discarded %r: %s", upstream, reason, extra={"upstream": upstream.thread_id, "reason": reason})
            self._forget(slot, upstream)

    def abandon(self, upstream: Upstream, *, in_transaction: bool) -> None:
        """Leave an upstream whose client has gone to end the response it is in; see :mod:`warmwire.pool.abandoned`."""
        slot = self._slots.get(upstream)
        if slot is not None:
            self.state.move(slot, SlotState.ABANDONED)
            self._abandoned.add(upstream, in_transaction=in_transaction)

    async def kill(self, upstream: Upstream, timeout: float, reason: str) -> None:
        """End what an upstream is running, and the upstream."""
        await kill(self._opener, upstream, timeout)
        self.discard(upstream, reason)

    def retire(self, upstream: Upstream, reason: str) -> None:
        """Close an upstream, between exchanges, that must not be used again."""
        slot = self._slots.get(upstream)
        if slot is not None:
            logger.info("retired %r: %s", upstream, reason, extra={"upstream": upstream.thread_id, "reason": reason})
            self.state.move(slot, SlotState.CLOSING)
            self._quit(slot)

    async def open_ahead(self, timeout: float) -> None:
        """Open an upstream before any client needs it. A failure is only logged: the client will be told."""
        try:
            facts = await self.facts(timeout)
            key, baseline = self.hint
            upstream = await self.check_out(key & facts.capabilities, baseline, timeout)
        except ClientError as problem:
            logger.warning("opening an upstream ahead of its client failed: %s", problem)
        else:
            self.check_in_unused(upstream)
            self._slots[upstream].is_used = False

    async def settle(self, timeout: float) -> None:
        """Wait until nothing is being reset, then close what is above the size to keep: the invocation has ended."""
        try:
            async with asyncio.timeout(timeout):
                while any(slot.state is SlotState.RESETTING for slot in self.state.slots.values()):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            logger.warning("resets did not end before the invocation's: %s", self.state.describe())
        await self._abandoned.end(timeout, all_of_them=False)
        for slot in self.state.surplus():
            self._quit(slot)

    async def close(self, timeout: float) -> None:
        """Close every upstream, those between exchanges with COM_QUIT, and wait for that up to ``timeout`` seconds."""
        self._closing = True
        for place in self._waiters:
            if not place.done():
                place.set_result(None)
        try:
            async with asyncio.timeout(timeout / 2):
                while any(slot.state is SlotState.RESETTING for slot in self.state.slots.values()):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            logger.warning("resets did not end before the shutdown: %s", self.state.describe())
        await self._abandoned.end(timeout / 2, all_of_them=True)
        leaving = []
        for slot in list(self.state.slots.values()):
            upstream = self._upstreams.get(slot.number)
            if upstream is None:
                continue
            if upstream.exchange.done and slot.state in (SlotState.IDLE, SlotState.ACTIVE):
                leaving.append(upstream.wire.closed)
                self.state.move(slot, SlotState.CLOSING)
                self._quit(slot)
            elif slot.state is not SlotState.CLOSING:
                self.discard(upstream, "shutdown during an exchange")
            else:
                leaving.append(upstream.wire.closed)
        if leaving:
            await asyncio.wait(leaving, timeout=timeout / 2)

    async def _take(self, slot: Slot, baseline: Baseline, left: float) -> Upstream | None:
        """Make an idle upstream ready for its client; None if it turned out to be dead."""
        upstream = self._upstreams[slot.number]
        if not upstream.is_quiet():
            self.discard(upstream, "it had been closed while idle")
            return None
        try:
            if self._is_stale(upstream):
                async with asyncio.timeout(min(PING_TIMEOUT, max(left, 0.0))):
                    await upstream.ping()
            if upstream.baseline != baseline:
                async with asyncio.timeout(max(left, 0.0)):
                    await upstream.reset_to(baseline)
        except ServerRefused:
            self._idle(slot, upstream)  # clean, but the client cannot have its database
            raise
        except _FAILURES as problem:
            self.discard(upstream, f"validation failed: {problem or type(problem).__name__}")
            return None
        except BaseException:
            self.discard(upstream, "its client left during the check-out")
            raise
        return upstream

    async def _open(self, decision: Open, baseline: Baseline, left: float) -> Upstream:
        slot = decision.slot
        try:
            if decision.instead is not None:
                gone = self._upstreams[decision.instead.number].wire.closed
                self._quit(decision.instead)
                await asyncio.wait((gone,))  # bounded by the wire's LINGER; the server counts it until then
            upstream = await self._opener.open(slot.key, baseline, max(left, 0.0))
        except BaseException:
            self.state.closed(slot)
            self._wake()
            raise
        self._upstreams[slot.number] = upstream
        self._slots[upstream] = slot
        self.state.move(slot, SlotState.ACTIVE)
        logger.info("opened %r, %s", upstream, self.state.describe(), extra={"upstream": upstream.thread_id})
        if self._closing:
            self.discard(upstream, "opened during the shutdown")
            raise ShuttingDown("Warmwire is shutting down with its Lambda environment")
        return upstream

    async def _reset(self, slot: Slot, upstream: Upstream, baseline: Baseline) -> None:
        try:
            async with asyncio.timeout(RESET_TIMEOUT):
                await upstream.reset_to(baseline)
        except ServerRefused as problem:
            logger.debug("%r is clean, but at no baseline: %s", upstream, problem)
        except _FAILURES as problem:
            self.discard(upstream, f"the reset failed: {problem or type(problem).__name__}")
            return
        except BaseException:
            self.discard(upstream, "the reset was interrupted")
            raise
        self._idle(slot, upstream)

    def _idle(self, slot: Slot, upstream: Upstream) -> None:
        slot.baseline = upstream.baseline
        self.state.move(slot, SlotState.IDLE)
        upstream.watch(self.discard)
        self._wake()

    def _quit(self, slot: Slot) -> None:
        """Close an upstream whose slot is CLOSING, politely."""
        upstream = self._upstreams[slot.number]
        upstream.quit()
        self._forget(slot, upstream)

    def _closed_elsewhere(self, upstream: Upstream, reason: str) -> None:
        logger.info("discarded %r: %s", upstream, reason, extra={"upstream": upstream.thread_id, "reason": reason})
        self._forget(self._slots[upstream], upstream)

    def _forget(self, slot: Slot, upstream: Upstream) -> None:
        self._upstreams.pop(slot.number, None)
        self._slots.pop(upstream, None)
        self.state.closed(slot)
        self._wake()

    def _is_stale(self, upstream: Upstream) -> bool:
        return upstream.last_used.age(self._clock.now()) >= self._config.validate_after

    async def _queue(self, place: asyncio.Future[None] | None, left: float) -> asyncio.Future[None]:
        """Wait for a turn, ``left`` seconds at most; a client that was woken for nothing keeps its place."""
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if place is None:
            self._waiters.append(mine)
        else:
            self._waiters[self._waiters.index(place)] = mine
        try:
            async with asyncio.timeout(max(left, 0.0)):
                await mine
        except TimeoutError:
            return mine
        except BaseException:
            self._leave_queue(mine)
            raise
        return mine

    def _timed_out(self, timeout: float) -> CheckoutTimeout:
        return CheckoutTimeout(
            f"no upstream became free within {timeout:g} s: {self.state.describe()}, {len(self._waiters) - 1} other clients"
            f" waiting; the database is {self._config.database}; raise WARMWIRE_POOL_MAX or close idle clients"
        )

    def _leave_queue(self, place: asyncio.Future[None]) -> None:
        if place in self._waiters:
            self._waiters.remove(place)
            self._wake()  # whatever is free goes to the next one

    def _wake(self) -> None:
        self._changed.set()
        for place in self._waiters:
            if not place.done():
                place.set_result(None)
                return
