"""Packets of 16 MiB and more, and streams far larger than what Warmwire may keep in memory."""

import hashlib
import itertools
import pathlib
import re
import struct
import time
from collections.abc import Iterator

import pytest

from tests.conftest import Proxy, serve
from tests.servers import Server
from tests.servers.server import APP_PASSWORD
from tests.wire import Wire
from tests.wire_packets import MAX_PAYLOAD, PLAIN, Closed, Command, Flag, Login, Packet, Refused, Role, frame, lenenc

pytestmark = [pytest.mark.server, pytest.mark.timeout(120)]

MIB = 1 << 20
GROWTH = 8 * MIB
"""Bytes by which Warmwire's memory may grow, whatever passes through it."""

MAX_ALLOWED_PACKET = 64 * MIB

SIZES = [MAX_PAYLOAD - 1, MAX_PAYLOAD, MAX_PAYLOAD + 1, 16 * MIB + 4242, 2 * MAX_PAYLOAD, 32 * MIB]


@pytest.fixture(scope="module", params=["mariadb", "mysql"])
def roomy(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that takes large packets."""
    with Server.start(request.param, [f"--max-allowed-packet={MAX_ALLOWED_PACKET}", "--innodb-lock-wait-timeout=60"]) as server:
        server.query("CREATE TABLE app.kilo (n INT PRIMARY KEY)")
        thousand = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT i FROM n"
        server.query(f"INSERT INTO app.kilo {thousand}")
        server.query("CREATE TABLE app.loaded (id INT PRIMARY KEY, pad LONGTEXT)")
        yield server


@pytest.fixture
def proxy(roomy: Server, tmp_path: pathlib.Path) -> Iterator[Proxy]:
    """A Warmwire of its own for each test: its memory is what is measured."""
    started = serve(roomy, tmp_path, WARMWIRE_POOL_MAX=2)
    log_in(("127.0.0.1", started.port)).quit()  # whatever is loaded on first use is loaded now
    yield started
    started.stop()


def log_in(address: tuple[str, int], **options: int) -> Wire:
    wire = Wire(address, timeout=60, **options)
    flags = PLAIN | Flag.LOCAL_FILES | Flag.DEPRECATE_EOF | Flag.MULTI_STATEMENTS
    wire.login(Login("app", APP_PASSWORD, "app", flags))
    return wire


@pytest.fixture
def through(proxy: Proxy) -> Iterator[Wire]:
    with log_in(("127.0.0.1", proxy.port)) as wire:
        yield wire
        wire.quit()


@pytest.fixture
def direct(roomy: Server) -> Iterator[Wire]:
    with log_in((roomy.host, roomy.port)) as wire:
        yield wire
        wire.quit()


class Memory:
    """How much memory a process has come to use since this was made."""

    def __init__(self, proxy: Proxy) -> None:
        self.process = pathlib.Path(f"/proc/{proxy.process.pid}")
        (self.process / "clear_refs").write_text("5")  # forget the peak so far (proc(5))
        self.before = self._bytes("VmRSS")

    def growth(self) -> int:
        """Bytes between then and the highest point since."""
        return self._bytes("VmHWM") - self.before

    def _bytes(self, name: str) -> int:
        found = re.search(rf"{name}:\s+(\d+) kB", (self.process / "status").read_text())
        assert found
        return int(found[1]) * 1024


def outline(packets: list[Packet]) -> list[tuple[int, int, str, Role]]:
    """Packets that can be compared and shown without their megabytes."""
    return [(packet.seq, len(packet.payload), hashlib.sha1(packet.payload).hexdigest(), packet.role) for packet in packets]


@pytest.mark.parametrize("size", SIZES)
def test_statements(direct: Wire, through: Wire, proxy: Proxy, size: int):
    """``size`` is that of the command's payload."""
    before, after = b"SELECT LENGTH('", b"') AS n"
    statement = before + b"x" * (size - 1 - len(before) - len(after)) + after
    memory = Memory(proxy)
    packets = through.command(Command.QUERY, statement)
    assert memory.growth() < GROWTH
    assert packets[-2].payload[1:] == str(size - 1 - len(before) - len(after)).encode()
    assert outline(packets) == outline(direct.command(Command.QUERY, statement))
    assert through.rows("SELECT 1") == [(b"1",)]


@pytest.mark.parametrize("size", SIZES)
def test_rows(direct: Wire, through: Wire, proxy: Proxy, size: int):
    """``size`` is that of the first row's payload; a second row and another result follow."""
    length = size - len(lenenc(size - 4))
    sql = f"SELECT REPEAT('y', {length}) AS v UNION ALL SELECT 'last'; SELECT 2".encode()
    memory = Memory(proxy)
    packets = through.command(Command.QUERY, sql)
    assert memory.growth() < GROWTH
    first = list(itertools.takewhile(lambda packet: packet.payload != b"\4last", packets[2:]))
    assert sum(len(packet.payload) for packet in first) == size
    assert outline(packets) == outline(direct.command(Command.QUERY, sql))


@pytest.mark.parametrize("size", [MAX_PAYLOAD, 20 * MIB])
def test_prepared_statements(direct: Wire, through: Wire, proxy: Proxy, size: int):
    """A large parameter, in the execution and as long data, and it comes back in a binary row."""
    memory = Memory(proxy)
    outlines = []
    for wire in (through, direct):
        prepared = wire.command(Command.STMT_PREPARE, b"SELECT ? AS v, 'last' AS l")
        statement = prepared[0].payload[1:5]
        head, types = statement + b"\0\1\0\0\0" + b"\0" + b"\1", struct.pack("<H", 252)
        value = b"z" * size
        once = wire.command(Command.STMT_EXECUTE, head + types + lenenc(size) + value)
        for part in (value[: size // 2], value[size // 2 :]):
            wire.command(Command.STMT_SEND_LONG_DATA, statement + b"\0\0" + part)
        again = wire.command(Command.STMT_EXECUTE, head + types)
        assert sum(len(packet.payload) for packet in once if packet.role is Role.ROW) > size
        outlines.append((outline(once), outline(again)))
    assert memory.growth() < GROWTH
    assert outlines[0] == outlines[1]


def test_statement_that_the_server_does_not_take(through: Wire, proxy: Proxy):
    """It answers with an error and closes; which of the two arrives first is up to TCP. The next client is served."""
    with pytest.raises((Refused, Closed)) as caught:
        through.query("SELECT '" + "x" * MAX_ALLOWED_PACKET + "'")
    if isinstance(caught.value, Refused):
        assert caught.value.errno in (1153, 1152)
    with log_in(("127.0.0.1", proxy.port)) as wire:
        assert wire.rows("SELECT 1") == [(b"1",)]


def lines(count: int, size: int) -> Iterator[bytes]:
    """Lines for LOAD DATA, ``size`` bytes each."""
    for number in range(count):
        head = b"%d\t" % number
        yield head + b"l" * (size - len(head) - 1) + b"\n"


@pytest.mark.parametrize("packet", [MIB, 20 * MIB], ids=["small packets", "packets over 16 MiB"])
def test_uploads(through: Wire, proxy: Proxy, roomy: Server, packet: int):
    count, size = 5000, 10 * 1024
    data = b"".join(lines(count, size))
    assert len(data) > 50 * 1000 * 1000
    roomy.query("TRUNCATE TABLE app.loaded")
    memory = Memory(proxy)
    pieces = (data[start : start + packet] for start in range(0, len(data), packet))
    done = through.query("LOAD DATA LOCAL INFILE 'anything' INTO TABLE loaded", uploads=pieces)
    assert memory.growth() < GROWTH
    assert [each.role for each in done] == [Role.UPLOAD_WANTED, Role.OK]
    assert b"Records: 5000  Deleted: 0  Skipped: 0  Warnings: 0" in done[1].payload
    [(rows, length)] = roomy.query("SELECT COUNT(*), SUM(LENGTH(pad) + LENGTH(id)) FROM app.loaded")
    assert (rows, length) == (count, len(data) - 2 * count)


def test_client_uploads_faster_than_the_server_reads(through: Wire, proxy: Proxy, roomy: Server):
    """The server waits for a row lock in the middle of the upload; then so must the client."""
    roomy.query("TRUNCATE TABLE app.loaded")
    blocker = log_in((roomy.host, roomy.port))
    blocker.query("BEGIN; INSERT INTO loaded VALUES (0, 'in the way')")
    memory = Memory(proxy)
    through.send(b"\x03LOAD DATA LOCAL INFILE 'anything' INTO TABLE loaded")
    [wanted] = through.read_logical()
    assert wanted.payload[0] == 0xFB
    count = 6000
    rest = b"".join(frame(line, 2 + number) for number, line in enumerate(lines(count, 10 * 1024)))
    size = len(rest)
    sent = send_until_nothing_moves(through, rest)
    assert sent < size - 10 * MIB, "the whole upload went somewhere"
    assert memory.growth() < GROWTH
    blocker.query("ROLLBACK")
    through.send_raw(rest[sent:] + frame(b"", 2 + count))
    [done] = through.response(Command.PING)
    assert done.role is Role.OK
    assert memory.growth() < GROWTH
    blocker.quit()


def send_until_nothing_moves(wire: Wire, data: bytes) -> int:
    """Send as much as the kernels and the processes between here and the server take; returns how much that was."""
    patience, sent = wire.socket.gettimeout(), 0
    wire.socket.settimeout(1)
    try:
        while sent < len(data):
            sent += wire.socket.send(data[sent : sent + MIB])
    except TimeoutError:
        pass
    wire.socket.settimeout(patience)
    return sent


def test_server_answers_faster_than_the_client_reads(proxy: Proxy):
    """200 MB for a client that first reads nothing, then little, then all. Another client is served meanwhile."""
    size, count = 2000, 100_000
    memory = Memory(proxy)
    with log_in(("127.0.0.1", proxy.port), recv_size=4096, recv_window=16384) as slow:
        slow.send(f"\x03SELECT REPEAT('x', {size}) AS v FROM kilo AS a JOIN kilo AS b ON b.n <= {count // 1000}".encode())
        packets = slow.response(Command.QUERY)
        assert next(packets).role is Role.COUNT
        time.sleep(1)
        with log_in(("127.0.0.1", proxy.port)) as other:
            assert other.rows("SELECT 1") == [(b"1",)]
            other.quit()
        row = lenenc(size) + b"x" * size
        rows = 0
        for packet in packets:
            if packet.role is Role.ROW:
                assert packet.payload == row
                rows += 1
            if rows < 2000 and rows % 100 == 0:
                time.sleep(0.02)
        assert packet.role is Role.OK
        assert rows == count
        assert memory.growth() < GROWTH
        slow.quit()
