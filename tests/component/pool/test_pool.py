"""The pool with a database that dies, hangs and refuses, in time that is not real."""

import asyncio
import random

import pytest

from tests.fakes.loop import in_virtual_time
from tests.fakes.pool import KEY, OTHER, OTHER_KEY, PLAIN, World
from warmwire.errors import CheckoutTimeout, ClientError, DatabaseUnreachable, ProtocolError, ServerRefused
from warmwire.pool.pool import RESET_TIMEOUT
from warmwire.pool.state import SlotState


class TestCheckOut:
    @in_virtual_time
    async def test_an_upstream_is_used_again_after_a_reset_in_the_background(self):
        world = World()
        first = await world.get()
        world.pool.check_in(first, PLAIN)
        assert world.pool.state.describe() == "1 of 2 upstreams open: 1 resetting"
        assert await world.get() is first
        assert first.resets == [PLAIN]
        world.check()

    @in_virtual_time
    async def test_an_idle_upstream_at_the_same_baseline_costs_nothing(self):
        world = World()
        (first,) = await world.idle()
        assert world.pool.try_check_out(KEY, PLAIN) is first
        assert (first.pings, first.resets) == (0, [])
        assert world.pool.try_check_out(KEY, PLAIN) is None
        world.check()

    @in_virtual_time
    async def test_another_baseline_is_reached_by_a_reset_before_the_client_gets_it(self):
        world = World()
        (first,) = await world.idle()
        assert world.pool.try_check_out(KEY, OTHER) is None
        assert await world.get(baseline=OTHER) is first
        assert first.resets == [OTHER]

    @in_virtual_time
    async def test_another_key_needs_another_upstream_and_an_idle_one_gives_way_only_when_the_pool_is_full(self):
        world = World(maximum=2)
        (first,) = await world.idle()
        second = await world.get(key=OTHER_KEY)
        assert second is not first and not first.has_quit
        third = await world.get(key=OTHER_KEY)
        assert first.has_quit and third not in (first, second)
        world.check()

    @in_virtual_time
    async def test_a_client_gets_the_upstream_whose_id_it_was_greeted_with(self):
        world = World(maximum=4)
        upstreams = await world.idle(4)
        promised = [world.pool.promise() for _ in range(3)]
        assert len(set(promised)) == 3
        for wish in (promised[1], promised[0]):
            got = world.pool.try_check_out(KEY, PLAIN, wish)
            assert got is not None and got.thread_id == wish
            world.pool.redeem(wish)
        (unpromised,) = {upstream.thread_id for upstream in upstreams} - set(promised)
        assert (await world.get()).thread_id == unpromised  # nobody waits for that one
        assert (await world.pool.check_out(KEY, PLAIN, 5.0, promised[2])).thread_id == promised[2]
        assert world.pool.promise() == 0
        world.check()

    @in_virtual_time
    async def test_a_promised_upstream_is_given_away_rather_than_another_one_opened(self):
        world = World()
        (first,) = await world.idle()
        assert world.pool.promise() == first.thread_id
        assert await world.get() is first

    @in_virtual_time
    async def test_the_one_that_gives_way_is_gone_before_the_new_one_is_opened(self):
        world = World(maximum=1)
        world.opener.linger = 0.5
        (first,) = await world.idle()
        second = await world.get(key=OTHER_KEY)
        assert first.wire.closed.done() and second is not first
        assert world.opener.most_open == 1

    @in_virtual_time
    async def test_an_upstream_that_was_closed_while_idle_is_replaced_unnoticed(self):
        world = World()
        (first,) = await world.idle()
        first.alive = False
        assert world.pool.try_check_out(KEY, PLAIN) is None
        second = await world.get()
        assert second is not first and first.wire.closed.done()
        world.check()

    @in_virtual_time
    async def test_a_long_idle_upstream_is_pinged_first(self):
        world = World(validate_after=5.0)
        (first,) = await world.idle()
        await asyncio.sleep(4.9)
        assert await world.get() is first and first.pings == 0
        world.pool.check_in_unused(first)
        await asyncio.sleep(0.2)
        assert world.pool.try_check_out(KEY, PLAIN) is None
        assert await world.get() is first and first.pings == 1

    @pytest.mark.parametrize(
        "failure", [ConnectionResetError("reset"), ProtocolError("the server refused a ping")]
    )
    @in_virtual_time
    async def test_an_upstream_whose_ping_fails_is_replaced_unnoticed(self, failure):
        world = World(validate_after=0.0)
        (first,) = await world.idle()
        first.ping_fails = failure
        second = await world.get()
        assert second is not first and first.wire.closed.done()
        world.check()

    @pytest.mark.parametrize("what", ["ping", "reset"])
    @in_virtual_time
    async def test_an_upstream_that_does_not_answer_is_replaced_within_the_clients_time(self, what):
        world = World(validate_after=0.0)
        (first,) = await world.idle()
        first.hangs = {what}
        started = world.clock.now()
        if what == "ping":
            assert await world.get(timeout=3.0) is not first
            assert started.age(world.clock.now()) < 1.1
        else:
            with pytest.raises(DatabaseUnreachable, match="an upstream gave no answer within 3 s; the database is db:3306"):
                await world.get(baseline=OTHER, timeout=3.0)
            assert started.age(world.clock.now()) == pytest.approx(3.0, abs=0.1)
        assert first.wire.closed.done()
        world.check()

    @in_virtual_time
    async def test_a_client_that_may_not_have_its_database_leaves_a_usable_upstream(self):
        world = World()
        (first,) = await world.idle()
        first.reset_fails = ServerRefused(1049, "42000", "Unknown database")
        with pytest.raises(ServerRefused, match="Unknown database"):
            await world.get(baseline=OTHER)
        first.reset_fails = None
        assert await world.get() is first
        world.check()

    @pytest.mark.parametrize(
        ("mood", "error"), [("refuses", ServerRefused), ("unreachable", DatabaseUnreachable), ("hangs", DatabaseUnreachable)]
    )
    @in_virtual_time
    async def test_a_failure_to_open_reaches_the_client_and_frees_the_place(self, mood, error):
        world = World(maximum=1)
        world.opener.moods = [mood]
        with pytest.raises(error):
            await world.get()
        world.check()
        assert await world.get()
        world.check()


class TestQueue:
    @in_virtual_time
    async def test_a_client_that_waits_in_vain_is_told_1040_how_long_and_why(self):
        world = World(maximum=2)
        held = [await world.get(), await world.get()]
        with pytest.raises(CheckoutTimeout) as raised:
            await world.get(timeout=5.0)
        assert (raised.value.errno, raised.value.sqlstate) == (1040, "08004")
        assert str(raised.value) == (
            "no upstream became free within 5 s: 2 of 2 upstreams open: 2 active, 0 other clients waiting; the database is "
            "db:3306; raise WARMWIRE_POOL_MAX or close idle clients"
        )
        assert len(held) == 2
        world.check()

    @in_virtual_time
    async def test_clients_are_served_in_the_order_they_came(self):
        world = World(maximum=1)
        first = await world.get()
        order = []

        async def client(number):
            upstream = await world.get()
            order.append(number)
            world.pool.check_in(upstream, PLAIN)

        clients = [asyncio.get_running_loop().create_task(client(number)) for number in range(10)]
        await asyncio.sleep(0.1)
        world.pool.check_in(first, PLAIN)
        await asyncio.gather(*clients)
        assert order == list(range(10))
        assert world.opener.most_open == 1

    @in_virtual_time
    async def test_nobody_overtakes_those_who_wait(self):
        world = World(maximum=1)
        first = await world.get()
        waiting = world.want()
        await asyncio.sleep(0.1)
        late = world.want()  # its turn in the loop comes before that of the one who will be woken now
        world.pool.check_in_unused(first)
        assert world.pool.try_check_out(KEY, PLAIN) is None
        assert await waiting is first
        await asyncio.sleep(0.1)
        assert not late.done()
        world.pool.check_in_unused(first)
        assert await late is first

    @in_virtual_time
    async def test_a_cancelled_wait_passes_its_turn_on(self):
        world = World(maximum=1)
        first = await world.get()
        one, two = world.want(), world.want()
        await asyncio.sleep(0.1)
        world.pool.check_in_unused(first)  # wakes the first in the queue ...
        one.cancel()  # ... which goes away in the same moment
        assert await two is first
        with pytest.raises(asyncio.CancelledError):
            await one
        world.check()

    @in_virtual_time
    async def test_a_turn_that_comes_at_the_deadline_is_not_lost(self):
        world = World(maximum=1)
        first = await world.get()
        early, late = world.want(timeout=1.0), world.want(timeout=5.0)
        asyncio.get_running_loop().call_later(1.0, world.pool.check_in_unused, first)
        assert await late is first
        with pytest.raises(CheckoutTimeout):
            await early
        world.check()

    @pytest.mark.parametrize("moment", [0.0, 0.005, 0.01, 0.015, 0.02, 0.025])
    @in_virtual_time
    async def test_a_cancelled_check_out_loses_no_upstream_and_no_place(self, moment):
        world = World(maximum=1, validate_after=0.0)
        for mood in ("open", "ping and reset"):
            going = world.want(baseline=OTHER)
            await asyncio.sleep(moment)
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)
            if not going.cancelled():
                world.pool.check_in_unused(going.result())
            world.check()
            again = await world.get(baseline=OTHER)
            world.pool.check_in_unused(again)
            assert world.pool.state.describe() == "1 of 1 upstreams open: 1 idle", mood

    @in_virtual_time
    async def test_a_free_place_is_used_while_the_client_ahead_still_connects(self):
        world = World(maximum=2)
        held = [await world.get(), await world.get()]
        world.opener.moods = ["hangs"]
        one, two = world.want(key=OTHER_KEY), world.want()
        await asyncio.sleep(0.1)
        for upstream in held:
            world.pool.check_in_unused(upstream)
        await asyncio.sleep(0.1)
        assert two.done() and not one.done()
        one.cancel()
        await asyncio.gather(one, return_exceptions=True)
        world.check()

    @in_virtual_time
    async def test_a_reset_that_hangs_is_given_up_and_the_waiting_client_gets_another_upstream(self):
        world = World(maximum=1)
        first = await world.get()
        first.hangs = {"reset"}
        world.pool.check_in(first, PLAIN)
        started = world.clock.now()
        second = await world.get(timeout=10.0)
        assert second is not first and first.wire.closed.done()
        assert started.age(world.clock.now()) == pytest.approx(RESET_TIMEOUT, abs=0.1)
        world.check()

    @in_virtual_time
    async def test_a_client_does_not_wait_for_a_slow_reset_if_it_may_open_another(self):
        world = World(maximum=2)
        first = await world.get()
        first.hangs = {"reset"}
        world.pool.check_in(first, PLAIN)
        started = world.clock.now()
        assert await world.get() is not first
        assert started.age(world.clock.now()) < 0.5


class TestPromises:
    """A client is greeted with the id of the connection that it will have, so that its KILL hits itself and nobody else."""

    @in_virtual_time
    async def test_clients_are_promised_different_upstreams_and_none_where_there_is_no_other(self):
        world = World(maximum=3)
        await world.idle(2)
        assert [world.pool.promise() for _ in range(4)] == [2, 1, 0, 0]

    @in_virtual_time
    async def test_a_promise_is_kept_whatever_was_used_last(self):
        world = World(maximum=3)
        first, second = await world.idle(2)
        assert world.pool.promise() == second.thread_id
        assert world.pool.promise() == first.thread_id
        assert world.pool.try_check_out(KEY, PLAIN, first.thread_id) is first
        world.pool.redeem(first.thread_id)
        assert await world.pool.check_out(KEY, PLAIN, 5.0, second.thread_id) is second

    @in_virtual_time
    async def test_others_take_one_that_was_promised_only_if_there_is_no_other(self):
        world = World(maximum=3)
        first, second = await world.idle(2)
        assert world.pool.promise() == second.thread_id
        assert world.pool.try_check_out(KEY, PLAIN) is first
        assert await world.get() is second

    @in_virtual_time
    async def test_a_promise_that_was_redeemed_can_be_given_again(self):
        world = World()
        (first,) = await world.idle()
        assert world.pool.promise() == first.thread_id
        world.pool.redeem(first.thread_id)
        assert world.pool.promise() == first.thread_id

    @in_virtual_time
    async def test_one_of_the_kind_that_came_last_is_promised_first_and_one_that_is_being_reset_too(self):
        world = World(maximum=3)
        other = await world.get(key=OTHER_KEY)
        last = await world.get()
        world.pool.check_in_unused(last)
        world.pool.check_in_unused(other)
        assert world.pool.promise() == last.thread_id
        world.pool.redeem(last.thread_id)
        await world.get(key=OTHER_KEY)
        assert await world.get() is last
        world.pool.check_in(last, PLAIN)
        assert world.pool.promise() == last.thread_id

    @in_virtual_time
    async def test_where_nothing_is_open_yet_it_is_the_connection_that_waits_for_its_login(self):
        world = World()
        world.opener.greeted_thread_id = 77
        assert [world.pool.promise(), world.pool.promise()] == [77, 0]


@pytest.mark.parametrize("seed", range(30))
@in_virtual_time
async def test_no_connection_is_ever_lost_or_too_many_whatever_goes_wrong(seed):
    dice = random.Random(seed)
    world = World(size=dice.randrange(3), maximum=dice.choice([1, 2, 5]), validate_after=dice.choice([0.0, 0.5]))
    served = told = 0

    async def client():
        nonlocal served, told
        await asyncio.sleep(dice.uniform(0, 3))
        key, baseline = dice.choice([KEY, KEY, OTHER_KEY]), dice.choice([PLAIN, OTHER])
        world.opener.moods += [dice.choice(["well", "well", "refuses", "hangs", "unreachable"])] if dice.random() < 0.3 else []
        try:
            upstream = await world.get(key, baseline, timeout=dice.uniform(0.1, 3))
        except ClientError:
            told += 1
            return
        assert upstream.baseline == baseline and upstream.key == key
        assert not upstream.wire.closed.done()
        served += 1
        world.pool.state.check_invariants()
        try:
            await asyncio.sleep(dice.uniform(0, 0.3))
        finally:
            fate = dice.random()
            if fate < 0.1:
                upstream.alive = False
            elif fate < 0.2:
                upstream.hangs.add(dice.choice(["ping", "reset"]))
            elif fate < 0.3:
                upstream.reset_fails = ConnectionResetError("reset")
            if fate > 0.9:
                world.pool.discard(upstream, "left during an exchange")
            elif fate > 0.8:
                world.pool.retire(upstream, "it left traces")
            else:
                world.pool.check_in(upstream, baseline)

    clients = [asyncio.get_running_loop().create_task(client()) for _ in range(60)]
    for _ in range(40):
        await asyncio.sleep(0.1)
        dice.choice(clients).cancel()
        if dice.random() < 0.1:
            await world.pool.settle(0.5)
    outcomes = await asyncio.gather(*clients, return_exceptions=True)
    assert [one for one in outcomes if isinstance(one, Exception)] == []
    await asyncio.sleep(RESET_TIMEOUT + 1)
    assert served + told + sum(isinstance(one, BaseException) for one in outcomes) >= 60
    world.check()
    assert all(slot.state is SlotState.IDLE for slot in world.pool.state.slots.values())
    await world.pool.close(1.0)
    assert not world.opener.open_now and not world.pool.state.slots
