"""A pool with a fake database, in time that is not real."""

import asyncio

from tests.fakes.loop import LoopClock
from tests.fakes.opener import FakeOpener
from warmwire.config import Config
from warmwire.pool.pool import Pool
from warmwire.session import Baseline

KEY, OTHER_KEY = 0x20000, 0x20002
PLAIN = Baseline(b"app", 45, False, False)
OTHER = Baseline(b"app2", 45, False, False)


class World:
    """A pool and what it is made of."""

    def __init__(self, size=1, maximum=2, validate_after=5.0):
        self.clock = LoopClock()
        self.opener = FakeOpener(self.clock, maximum)
        self.tasks = set()
        config = Config(db_host="db", pool_size=size, pool_max=maximum, validate_after=validate_after)
        self.pool = Pool(config, self.opener, self.clock, self.spawn)

    def spawn(self, work):
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def get(self, key=KEY, baseline=PLAIN, timeout=5.0):
        return await self.pool.check_out(key, baseline, timeout)

    def want(self, key=KEY, baseline=PLAIN, timeout=5.0):
        return asyncio.get_running_loop().create_task(self.get(key, baseline, timeout))

    async def idle(self, count=1):
        """So many idle upstreams."""
        upstreams = [await self.get() for _ in range(count)]
        for upstream in upstreams:
            self.pool.check_in_unused(upstream)
        return upstreams

    def check(self, *, lost=0):
        """The books balance: every connection that is open belongs to a slot, and every slot has one."""
        self.pool.state.check_invariants()
        assert len(self.opener.open_now) == self.pool.state.open_count + lost
        assert set(self.pool._upstreams.values()) == self.opener.open_now
        assert not self.pool._waiters
