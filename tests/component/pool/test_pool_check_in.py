"""Upstreams that come back to the pool, are abandoned, or closed with it, in time that is not real."""

import asyncio

import pytest

from tests.fakes.loop import in_virtual_time
from tests.fakes.pool import KEY, OTHER, OTHER_KEY, PLAIN, World
from warmwire.errors import ServerRefused, ShuttingDown
from warmwire.protocol.constants import Command


class TestCheckIn:
    @in_virtual_time
    async def test_an_upstream_whose_reset_fails_is_discarded(self):
        world = World()
        first = await world.get()
        first.reset_fails = ConnectionResetError("reset")
        world.pool.check_in(first, PLAIN)
        await asyncio.sleep(0.1)
        assert first.wire.closed.done()
        world.check()

    @in_virtual_time
    async def test_an_upstream_that_is_clean_but_has_lost_its_database_stays(self):
        world = World()
        first = await world.get()
        first.reset_fails = ServerRefused(1049, "42000", "Unknown database")
        world.pool.check_in(first, PLAIN)
        await asyncio.sleep(0.1)
        assert world.pool.state.describe() == "1 of 2 upstreams open: 1 idle"
        assert world.pool.try_check_out(KEY, PLAIN) is None  # it is at no baseline
        first.reset_fails = None
        assert await world.get() is first

    @in_virtual_time
    async def test_an_upstream_that_dies_while_idle_is_forgotten_at_once(self):
        world = World()
        (first,) = await world.idle()
        first.watcher(first, "connection lost")
        world.check()
        assert not world.pool.state.slots

    @in_virtual_time
    async def test_what_is_discarded_twice_or_given_back_after_it_does_no_harm(self):
        world = World()
        first = await world.get()
        world.pool.discard(first, "one reason")
        world.pool.discard(first, "another")
        world.pool.check_in(first, PLAIN)
        world.pool.check_in_unused(first)
        world.pool.retire(first, "a third")
        world.pool.abandon(first, in_transaction=True)
        world.check()

    @in_virtual_time
    async def test_a_retired_upstream_is_closed_in_order_and_makes_room(self):
        world = World(maximum=1)
        first = await world.get()
        waiting = world.want()
        await asyncio.sleep(0.1)
        world.pool.retire(first, "it left traces")
        assert first.has_quit
        assert await waiting is not first
        world.check()


class TestAbandoned:
    @staticmethod
    async def abandon(world, *, in_transaction, command=Command.QUERY):
        upstream = await world.get()
        upstream.exchange.begin(command)
        world.pool.abandon(upstream, in_transaction=in_transaction)
        return upstream

    @in_virtual_time
    async def test_it_keeps_its_place_until_its_response_has_ended_and_is_closed_in_order(self):
        world = World(maximum=1)
        first = await self.abandon(world, in_transaction=False)
        waiting = world.want()
        await asyncio.sleep(0.1)
        assert not waiting.done()
        first.wire.listener[0](b"\x07\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00")
        assert first.has_quit
        assert await waiting is not first
        world.check()

    @in_virtual_time
    async def test_too_long_a_response_is_cut_short(self):
        world = World()
        first = await self.abandon(world, in_transaction=False, command=Command.STMT_FETCH)
        rows = (b"\x10\x00\x00\x02" + b"\x01" * 16) * 800
        for _ in range((1 << 20) // len(rows)):
            first.wire.listener[0](rows)
        assert not first.wire.closed.done()
        first.wire.listener[0](rows)
        assert first.wire.closed.done() and not first.has_quit
        world.check()

    @pytest.mark.parametrize("said", ["lost", "garbage"])
    @in_virtual_time
    async def test_it_is_forgotten_when_the_server_ends_it_or_leaves_the_protocol(self, said):
        world = World()
        first = await self.abandon(world, in_transaction=False)
        if said == "lost":
            first.wire.listener[1](None)
        else:
            first.wire.listener[0](bytes(20))
        assert first.wire.closed.done()
        world.check()

    @in_virtual_time
    async def test_at_the_invocations_end_only_what_is_in_a_transaction_is_killed(self):
        world = World(maximum=2)
        first = await self.abandon(world, in_transaction=True)
        second = await self.abandon(world, in_transaction=False)
        await world.pool.settle(1.0)
        assert world.opener.killed == [first]
        assert first.wire.closed.done()
        assert second.wire.closed.done() or second in world.opener.open_now
        world.check()

    @in_virtual_time
    async def test_at_a_shutdown_everything_is_killed(self):
        world = World(maximum=2)
        both = [await self.abandon(world, in_transaction=True), await self.abandon(world, in_transaction=False)]
        await world.pool.close(1.0)
        assert world.opener.killed == both
        assert not world.opener.open_now


class TestEnds:
    @in_virtual_time
    async def test_an_invocations_end_waits_for_resets_and_closes_what_is_above_the_size_to_keep(self):
        world = World(size=1, maximum=3)
        upstreams = [await world.get() for _ in range(3)]
        for upstream in upstreams:
            world.pool.check_in(upstream, PLAIN)
        await world.pool.settle(1.0)
        assert world.pool.state.describe() == "1 of 3 upstreams open: 1 idle"
        assert [upstream.has_quit for upstream in upstreams] == [True, True, False]
        world.check()

    @in_virtual_time
    async def test_an_invocations_end_does_not_wait_for_ever(self):
        world = World(size=2, maximum=2)
        first = await world.get()
        first.hangs = {"reset"}
        world.pool.check_in(first, PLAIN)
        started = world.clock.now()
        await world.pool.settle(1.0)
        assert started.age(world.clock.now()) == pytest.approx(1.0, abs=0.1)

    @in_virtual_time
    async def test_a_shutdown_closes_everything_and_answers_who_waits(self):
        world = World(maximum=2)
        idle, active = await world.get(), await world.get()
        active.exchange.begin(3)
        waiting = world.want()
        await asyncio.sleep(0.1)
        world.pool.check_in(idle, PLAIN)
        await world.pool.close(1.0)
        with pytest.raises(ShuttingDown):
            await waiting
        with pytest.raises(ShuttingDown):
            await world.get()
        assert world.pool.try_check_out(KEY, PLAIN) is None
        assert idle.has_quit and not active.has_quit
        assert not world.opener.open_now and not world.pool.state.slots

    @in_virtual_time
    async def test_an_upstream_that_is_opened_during_the_shutdown_is_closed_again(self):
        world = World(maximum=2)
        going = world.want()
        await asyncio.sleep(0.001)
        await world.pool.close(1.0)
        with pytest.raises(ShuttingDown):
            await going
        assert not world.opener.open_now

    @in_virtual_time
    async def test_opening_ahead_leaves_an_idle_upstream_of_the_last_clients_kind(self):
        world = World()
        world.pool.hint = (OTHER_KEY, OTHER)
        await world.pool.open_ahead(5.0)
        assert world.pool.try_check_out(OTHER_KEY, OTHER) is world.opener.opened[0]

    @in_virtual_time
    async def test_opening_ahead_on_a_wrong_guess_costs_no_further_connection(self):
        world = World(maximum=5)
        await world.pool.open_ahead(5.0)
        await world.get(key=OTHER_KEY)
        assert world.opener.opened[0].has_quit
        assert world.opener.most_open == 1
        world.check()

    @in_virtual_time
    async def test_a_failure_to_open_ahead_is_only_logged(self, caplog):
        world = World()
        world.opener.moods = ["unreachable"]
        await world.pool.open_ahead(5.0)
        assert "opening an upstream ahead of its client failed: connection refused" in caplog.text
        world.check()
