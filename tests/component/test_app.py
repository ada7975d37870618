"""The extension's life, with a Lambda service that is a few lines and a database that is a few more."""

import asyncio
import json
import queue
import socket

import pytest

from tests.fakes.client import Client
from tests.fakes.mysqld import OK, Mysqld, Session
from tests.fakes.proxy import until
from tests.wire_packets import Refused, parse_error
from warmwire import app
from warmwire.config import Config, LambdaEnvironment
from warmwire.errors import ConfigError, LambdaApiError

ON_DEMAND = LambdaEnvironment("127.0.0.1:9001", "on-demand")
MANAGED = LambdaEnvironment("127.0.0.1:9001", "lambda-managed-instances")
SHUTDOWN = {"eventType": "SHUTDOWN", "shutdownReason": "SPINDOWN"}
FAR = 10**15


class Lambda:
    """The Extensions API as the extension sees it; tests put the events in."""

    def __init__(self, has_telemetry: bool = True) -> None:
        self._events: queue.Queue[object] = queue.Queue()
        self._has_telemetry = has_telemetry
        self.asked = 0
        self.port = 0
        self.exits: list[tuple[str, str]] = []

    def send(self, event: object) -> None:
        self._events.put(event)

    def invoke(self, request_id: str, deadline: int = FAR) -> None:
        self.send({"eventType": "INVOKE", "requestId": request_id, "deadlineMs": deadline})

    # What the extension calls, on a thread of its own.

    def next_event(self) -> object:
        self.asked += 1
        event = self._events.get(timeout=30)
        if isinstance(event, Exception):
            raise event
        return event

    def subscribe(self, uri: str) -> bool:
        self.port = int(uri.rsplit(":", 1)[1].strip("/"))
        return self._has_telemetry

    def report_exit(self, error_type: str, message: str) -> None:
        self.exits.append((error_type, message))

    async def report_done(self, request_id: str) -> None:
        """What the platform posts when the runtime is done."""
        body = json.dumps([{"type": "platform.runtimeDone", "record": {"requestId": request_id}}]).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
        await writer.wait_closed()


class Extension:
    """A running extension. A test that forgets to shut it down does it at the end."""

    def __init__(self, mysqld, environment=ON_DEMAND, problem=None, service=None, **settings):
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        self.port = listening.getsockname()[1]
        chosen = {"db_tls": "disabled", "socket": "", "checkout_timeout": 5.0, **settings}
        config = Config(db_host="127.0.0.1", db_port=mysqld.port, db_user="app", **chosen)
        self.service = service or Lambda()
        self.running = asyncio.create_task(app._run(config, problem, environment, self.service, [listening]))

    async def __aenter__(self):
        await until(lambda: self.service.asked == 1)
        return self

    async def __aexit__(self, *_):
        if not self.running.done():
            self.service.send(SHUTDOWN)
        async with asyncio.timeout(10):
            self.code = await self.running

    async def log_in(self):
        client = await Client.connect(self.port)
        client.send(client.login_packet(), 1)
        assert (await client.read_packet())[1][0] == 0
        return client


async def test_a_shutdown_closes_every_upstream_with_com_quit_and_ends_with_0():
    mysqld = Mysqld()
    async with mysqld.serving():
        async with Extension(mysqld) as extension:
            client = await extension.log_in()
            assert await client.query("DO 0") == OK
        assert extension.code == 0
        await until(lambda: mysqld.sessions[0].ended.is_set())
        assert mysqld.sessions[0].has_quit
        assert await client.at_end()
        await client.close()


async def test_at_an_invocations_end_what_is_open_is_rolled_back_before_the_next_event_is_asked_for(caplog):
    mysqld = Mysqld()
    mysqld.query("BEGIN", b"\x00\x00\x00\x03\x00\x00\x00")
    mysqld.query("INSERT", b"\x00\x01\x01\x03\x40\x00\x00\x00\x0b\x05\x09\x08T___W_S_")
    asked_before = None

    async def rollback(session: Session, _: bytes) -> None:
        nonlocal asked_before
        asked_before = extension.service.asked
        session.send(b"\x07\x00\x00\x01" + OK)

    mysqld.handlers[b"\x03ROLLBACK"] = rollback
    async with mysqld.serving(), Extension(mysqld) as extension:
        extension.service.invoke("request-1")
        client = await extension.log_in()
        await client.query("BEGIN")
        await client.query("INSERT INTO t VALUES (1)")
        await asyncio.sleep(0.05)
        assert extension.service.asked == 1  # the environment is held as long as the function runs
        await extension.service.report_done("request-1")
        await until(lambda: extension.service.asked == 2)
        assert asked_before == 1
        assert parse_error(await client.query("COMMIT"))[0] == 1213
        await client.close()
    assert "rolled back the transaction that invocation request-1 left open" in caplog.text


async def test_clients_that_left_are_cleaned_up_after_and_extra_upstreams_closed():
    mysqld = Mysqld()
    async with mysqld.serving(), Extension(mysqld, pool_size=1, pool_max=3) as extension:
        extension.service.invoke("request-1")
        clients = [await extension.log_in() for _ in range(3)]
        for client in clients:
            await client.query("DO 0")
        assert mysqld.open_now == 3
        for client in clients:
            client.send(b"\x01")
            await client.close()
        await extension.service.report_done("request-1")
        await until(lambda: extension.service.asked == 2)
        await until(lambda: mysqld.open_now == 1)


async def test_an_end_that_was_reported_before_the_event_is_not_waited_for():
    mysqld = Mysqld()
    async with mysqld.serving(), Extension(mysqld) as extension:
        await extension.service.report_done("request-1")
        extension.service.invoke("request-1")
        await until(lambda: extension.service.asked == 2)


async def test_an_end_that_is_never_reported_is_waited_for_until_the_deadline_only(caplog):
    caplog.set_level("INFO")
    mysqld = Mysqld()
    async with mysqld.serving(), Extension(mysqld) as extension:
        extension.service.invoke("request-1", deadline=0)
        await until(lambda: extension.service.asked == 2)
    assert "invocation request-1 runs to its deadline, or its end was not reported" in caplog.text


@pytest.mark.parametrize(("environment", "has_telemetry"), [(MANAGED, True), (ON_DEMAND, False)])
async def test_where_ends_are_not_reported_nothing_is_held(environment, has_telemetry):
    mysqld = Mysqld()
    async with mysqld.serving(), Extension(mysqld, environment, service=Lambda(has_telemetry)) as extension:
        extension.service.invoke("request-1")
        await until(lambda: extension.service.asked == 2)


async def test_a_telemetry_service_that_breaks_is_done_without(caplog):
    service = Lambda()
    service.subscribe = lambda uri: (_ for _ in ()).throw(ConnectionRefusedError("refused"))
    mysqld = Mysqld()
    async with mysqld.serving(), Extension(mysqld, service=service) as extension:
        extension.service.invoke("request-1")
        await until(lambda: extension.service.asked == 2)
    assert "subscribing to telemetry failed, the ends of invocations are not seen: refused" in caplog.text


@pytest.mark.parametrize(
    "problem", [LambdaApiError("/extension/event/next", 500, "Container.Error"), ConnectionResetError("reset")]
)
async def test_an_event_stream_that_breaks_is_reported_and_ends_with_1(problem, caplog):
    mysqld = Mysqld()
    async with mysqld.serving():
        async with Extension(mysqld) as extension:
            client = await extension.log_in()
            await client.query("DO 0")
            extension.service.send(problem)
            await asyncio.wait((extension.running,), timeout=10)
        assert extension.code == 1
        assert extension.service.exits == [("EventStreamBroke", str(problem))]
        await until(lambda: mysqld.sessions[0].has_quit)
        await client.close()
    assert f"Lambda's event stream broke: {problem}" in caplog.text


class TestOpeningAhead:
    @pytest.mark.parametrize(
        ("eager", "environment", "opened"),
        [("auto", ON_DEMAND, 1), ("auto", MANAGED, 0), ("off", ON_DEMAND, 0), ("on", MANAGED, 1)],
    )
    async def test_an_upstream_is_open_before_the_first_event_where_that_is_wanted(self, eager, environment, opened):
        mysqld = Mysqld()
        async with mysqld.serving(), Extension(mysqld, environment, eager=eager):
            assert len(mysqld.sessions) == opened

    async def test_a_database_that_does_not_answer_holds_up_the_first_event_only_so_long(self, monkeypatch):
        monkeypatch.setattr(app, "EAGER_WAIT", 0.05)

        gone = asyncio.Event()

        async def silent(session: Session) -> None:
            await gone.wait()

        mysqld = Mysqld()
        mysqld.greeting = silent
        async with mysqld.serving():
            async with Extension(mysqld, checkout_timeout=100.0) as extension:
                assert extension.service.asked == 1
            gone.set()
        assert extension.code == 0


async def test_bad_settings_do_not_fail_init_and_every_client_is_told():
    mysqld = Mysqld()
    problem = ConfigError(["WARMWIRE_PORT='x' must be a whole number from 1 to 65535", "WARMWIRE_POOL: no such setting"])
    async with mysqld.serving(), Extension(mysqld, problem=problem) as extension:
        for _ in range(2):
            with pytest.raises(Refused) as raised:
                await Client.connect(extension.port)
            assert raised.value.errno == 1105
            assert raised.value.text == (
                "Warmwire: bad configuration: WARMWIRE_PORT='x' must be a whole number from 1 to 65535; "
                "WARMWIRE_POOL: no such setting"
            )
        assert mysqld.sessions == []


async def test_a_task_that_fails_is_logged_and_harms_nothing_else(caplog):
    mysqld = Mysqld()
    async with mysqld.serving():
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        config = Config(db_host="127.0.0.1", db_port=mysqld.port, db_user="app", db_tls="disabled", socket="")
        async with app.Proxy(config, [listening]) as proxy:

            async def fail() -> None:
                raise RuntimeError("broken")

            proxy.spawn(fail())
            await until(lambda: "a task failed; this is a bug" in caplog.text)
            client = await Client.connect(listening.getsockname()[1])
            await client.close()


async def test_a_failure_of_its_own_takes_warmwire_out_of_service_but_not_the_function(monkeypatch, caplog):
    async def fails(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(app, "_run", fails)
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    service = Lambda()
    running = asyncio.create_task(app._run_or_idle(Config(), None, ON_DEMAND, service, [listening]))
    service.invoke("one")
    service.invoke("two")
    await until(lambda: service.asked == 3)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    service.send(SHUTDOWN)
    assert await running == 0
    assert "this is a bug" in caplog.text and not service.exits
