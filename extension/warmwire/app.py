"""Puts everything together, owns the tasks, and decides the order of start and shutdown.

Before ``/register`` only what binding and registering need is imported (the function waits for it); the rest follows.
"""

import asyncio
import http.client
import logging
import os
import signal
import socket
import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from warmwire.clock import SystemClock
from warmwire.config import Config, LambdaEnvironment, local_only
from warmwire.errors import ConfigError, DatabaseUnreachable, LambdaApiError
from warmwire.lambda_api.extensions import ExtensionsApi
from warmwire.lambda_api.lifecycle import Event, events_to_register, opens_ahead, read_event, seconds_to_hold
from warmwire.log import configure
from warmwire.loop import new_loop
from warmwire.relay.sockets import bind

if TYPE_CHECKING:
    from warmwire.lambda_api.telemetry import TelemetryListener
    from warmwire.session import Baseline
    from warmwire.upstream import ServerFacts, Upstream

logger = logging.getLogger("warmwire.app")

SETTLE_TIMEOUT = 1.0
"""Seconds that the clean-up at an invocation's end may take."""
SHUTDOWN_TIMEOUT = 1.2
"""Seconds for closing all upstreams; an extension has 2 s, of which the runtime may take 0.6 s first."""
EAGER_WAIT = 0.5
"""Seconds that Init waits for the first upstream, lest the environment freezes in the middle of a login."""


class Unconfigured:
    """Stands where the connector would, when the settings are bad: every client is told what is wrong with them."""

    facts: "ServerFacts | None" = None
    greeted_thread_id = 0

    def __init__(self, problem: ConfigError) -> None:
        self._problem = problem

    async def prepare(self) -> None:
        """There is nothing to prepare."""

    async def greet(self, timeout: float) -> bool:
        """Raise DatabaseUnreachable with every problem."""
        raise DatabaseUnreachable(f"bad configuration: {self._problem}")

    async def open(self, key: int, baseline: "Baseline", timeout: float) -> "Upstream":
        """Raise DatabaseUnreachable with every problem."""
        raise DatabaseUnreachable(f"bad configuration: {self._problem}")

    async def kill(self, upstream: "Upstream", timeout: float) -> None:
        """There is nothing to kill."""


class Proxy:
    """The listener with its pool, and the tasks that they start. An async context manager.

    Args:
        config: the settings.
        sockets: bound by :func:`warmwire.relay.sockets.bind`.
        problem: what is wrong with the settings, if something is.
    """

    def __init__(self, config: Config, sockets: list[socket.socket], problem: ConfigError | None = None) -> None:
        from warmwire.connector import Connector
        from warmwire.pool.pool import Pool  # behind /register
        from warmwire.relay.listener import Listener

        self.clock = SystemClock()
        self._opener = Connector(config, self.clock) if problem is None else Unconfigured(problem)
        self.pool = Pool(config, self._opener, self.clock, self.spawn)
        self.listener = Listener(sockets, self.pool, config, self.clock, self.spawn)
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something in the background. Its failure is logged and harms nothing else."""
        task = asyncio.create_task(self._guard(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            logger.exception("a task failed; this is a bug")

    async def __aenter__(self) -> "Proxy":
        self.listener.start()
        self.spawn(self._prepare())
        return self

    async def _prepare(self) -> None:
        """Load ahead what the first client would have to wait for."""
        from warmwire.protocol.borrowed import mimic_packets

        mimic_packets()
        await self._opener.prepare()

    async def __aexit__(self, *_: object) -> None:
        """Close clients, then upstreams, then whatever still runs."""
        self.listener.close()
        await self.pool.close(SHUTDOWN_TIMEOUT)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def run() -> int:
    """The extension: register with Lambda, serve until SHUTDOWN, exit. Gives the exit code if it could not register.

    Nothing but a Lambda service that does not answer ends it early: a bad configuration or an unreachable database is
    told to the clients (docs/adr/0004-what-is-fatal.md).
    """
    config, problem = _read_config()
    configure(config.log_level, as_json=True)
    environment = LambdaEnvironment.from_env()
    sockets, complaints = bind(config.port, config.socket)
    api = ExtensionsApi(environment.runtime_api)
    try:
        api.register(events_to_register(managed_instance=environment.is_managed_instance))
    except (LambdaApiError, OSError, http.client.HTTPException) as refused:
        logger.critical("registering with Lambda failed: %s", refused)
        return 1
    for complaint in complaints:
        logger.error(complaint)
    if problem is not None:
        logger.error("bad configuration: %s", problem)
    code = asyncio.Runner(loop_factory=new_loop).run(_run_or_idle(config, problem, environment, api, sockets))
    sys.stdout.flush()
    os._exit(code)  # everything is closed; a thread that still looks up a name must not use up the time for the shutdown


async def _run_or_idle(
    config: Config,
    problem: ConfigError | None,
    environment: LambdaEnvironment,
    api: ExtensionsApi,
    sockets: list[socket.socket],
) -> int:
    """Run the extension; should that fail, refuse clients, but go on answering Lambda, so that the function lives."""
    try:
        return await _run(config, problem, environment, api, sockets)
    except Exception:
        logger.exception("the extension failed and is out of service; this is a bug")
    for sock in sockets:
        sock.close()
    try:
        while not read_event(await asyncio.to_thread(api.next_event)).is_shutdown:
            pass
    except (LambdaApiError, OSError, http.client.HTTPException) as broken:
        logger.critical("Lambda's event stream broke: %s", broken)
        return 1
    return 0


async def _run(
    config: Config,
    problem: ConfigError | None,
    environment: LambdaEnvironment,
    api: ExtensionsApi,
    sockets: list[socket.socket],
) -> int:
    async with Proxy(config, sockets, problem) as proxy:
        if problem is None and opens_ahead(config.eager, environment.initialization_type):
            opening = asyncio.create_task(proxy.pool.open_ahead(config.checkout_timeout))
        else:
            opening = None
        telemetry = None if environment.is_managed_instance else await _subscribe(api)
        if opening is not None:
            await asyncio.wait((opening,), timeout=EAGER_WAIT)
        loop = asyncio.get_running_loop()
        try:
            while True:
                event = read_event(await loop.run_in_executor(None, api.next_event))
                if event.is_shutdown:
                    logger.info("shutting down: %s", event.reason)
                    return 0
                if telemetry is not None:
                    await _end_invocation(proxy, telemetry, event)
        except (LambdaApiError, OSError, http.client.HTTPException) as broken:
            logger.critical("Lambda's event stream broke: %s", broken)
            await loop.run_in_executor(None, _report_exit, api, str(broken))
            return 1
        finally:
            if telemetry is not None:
                telemetry.close()


async def _subscribe(api: ExtensionsApi) -> "TelemetryListener | None":
    """The listener for invocation ends, or None where there is no telemetry."""
    from warmwire.lambda_api.telemetry import TelemetryListener

    telemetry = TelemetryListener()
    try:
        uri = await telemetry.start()
        if await asyncio.get_running_loop().run_in_executor(None, api.subscribe, uri):
            return telemetry
        logger.info("no telemetry here: the ends of invocations are not seen")
    except (OSError, http.client.HTTPException) as problem:
        logger.warning("subscribing to telemetry failed, the ends of invocations are not seen: %s", problem)
    telemetry.close()
    return None


async def _end_invocation(proxy: Proxy, telemetry: "TelemetryListener", event: Event) -> None:
    """Hold the environment until the function is done, then leave nothing open."""
    hold = seconds_to_hold(event.deadline, proxy.clock.now().wall)
    if not await telemetry.wait_for_end(event.request_id, hold):
        logger.info("invocation %s runs to its deadline, or its end was not reported", event.request_id)
        return
    left = min(SETTLE_TIMEOUT, seconds_to_hold(event.deadline, proxy.clock.now().wall))
    try:
        async with asyncio.timeout(left):
            await proxy.listener.end_invocation(event.request_id)
        await proxy.pool.settle(min(SETTLE_TIMEOUT, seconds_to_hold(event.deadline, proxy.clock.now().wall)))
    except TimeoutError:
        logger.warning("cleaning up after invocation %s took too long", event.request_id)
    except Exception:
        logger.exception("cleaning up after invocation %s failed; this is a bug", event.request_id)


def _report_exit(api: ExtensionsApi, message: str) -> None:
    try:
        api.report_exit("EventStreamBroke", message)
    except (OSError, http.client.HTTPException) as problem:
        logger.critical("the reason could not be reported: %s", problem)


def serve() -> int:
    """The same proxy without Lambda, until SIGTERM or SIGINT. Gives the exit code: 2 for a bad configuration."""
    config, problem = _read_config()
    configure(config.log_level, as_json=False)
    if problem is not None:
        for line in problem.problems:
            logger.critical(line)
        return 2
    sockets, complaints = bind(config.port, config.socket)
    for complaint in complaints:
        logger.critical(complaint)
    if complaints:
        return 1
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_serve(config, sockets))
    return 0


async def _serve(config: Config, sockets: list[socket.socket]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Proxy(config, sockets) as proxy:
        if config.eager == "on":
            proxy.spawn(proxy.pool.open_ahead(config.checkout_timeout))
        local = " and ".join(filter(None, (f"127.0.0.1:{config.port}", config.socket)))
        logger.info("listening on %s for the database %s", local, config.database)
        await stop.wait()
        logger.info("stopping")


def check() -> int:
    """Validate the settings and log in once; print what was found. Gives the exit code: 0, 1 unreachable, 2 bad settings."""
    config, problem = _read_config()
    if problem is not None:
        for line in problem.problems:
            print(f"setting   {line}")  # noqa: T201
        return 2
    return asyncio.run(_check(config))


async def _check(config: Config) -> int:
    from warmwire.connector import Connector
    from warmwire.errors import ClientError
    from warmwire.pool.pool import FIRST_KEY, first_baseline

    clock = SystemClock()
    started = clock.now()
    try:
        upstream = await Connector(config, clock).open(FIRST_KEY, first_baseline(config), config.checkout_timeout)
    except ClientError as failed:
        print(f"database  {config.database}: error {failed.errno} ({failed.sqlstate}): {failed}")  # noqa: T201
        return 1
    seconds = started.age(clock.now())
    version = upstream.facts.version.removeprefix(b"5.5.5-")  # MariaDB puts it before its own, for old replicas
    print(f"database  {config.database}, version {version.decode('ascii', 'replace')}")  # noqa: T201
    print(f"login     as {config.db_user!r} in {seconds * 1000:.0f} ms, connection {upstream.thread_id}")  # noqa: T201
    print(f"tls       {config.db_tls if upstream.wire.is_secure else 'off'}")  # noqa: T201
    upstream.quit()
    await upstream.wire.closed
    return 0


def _read_config() -> tuple[Config, ConfigError | None]:
    try:
        return Config.from_env(), None
    except ConfigError as problem:
        return local_only(), problem
