"""The same conversation, directly and through Warmwire, gives the same bytes.

Everything that may differ is listed in ``tests.integration.masks``. A difference is reported with its seed;
``WARMWIRE_TEST_SEEDS=17,18`` plays just these, in this order.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tests.conftest import Proxy, serve
from tests.integration.conversation import USER, Conversation, compose
from tests.integration.messes import INSPECTION, INSPECTORS, messes
from tests.integration.player import Address, Player, Recording
from tests.integration.statements import OTHER_SCHEMA, SCHEMA, schema
from tests.servers import FLAVORS
from tests.wire import Wire
from tests.wire_packets import UNREADABLE, Command, Flag, Packet, Refused, Role

pytestmark = [pytest.mark.server, pytest.mark.timeout(240)]

SEEDS = [int(seed) for seed in os.environ.get("WARMWIRE_TEST_SEEDS", "").split(",") if seed] or list(range(55))
EXCHANGES = 2000
"""At least so many per server, unless seeds were chosen by hand."""

REPORTED = 3
"""Differences shown in full before the others are only counted."""

OFFERED = (
    Flag.FOUND_ROWS | Flag.CONNECT_WITH_DB | Flag.LOCAL_FILES | Flag.IGNORE_SPACE | Flag.PROTOCOL_41 | Flag.INTERACTIVE
    | Flag.TRANSACTIONS | Flag.SECURE_CONNECTION | Flag.MULTI_STATEMENTS | Flag.MULTI_RESULTS | Flag.PS_MULTI_RESULTS
    | Flag.PLUGIN_AUTH | Flag.CONNECT_ATTRS | Flag.PLUGIN_AUTH_LENENC | Flag.SESSION_TRACK | Flag.DEPRECATE_EOF
)  # fmt: skip
"""Flags that clients rely on."""


@pytest.fixture
def fresh(server) -> Iterator[Callable[[], None]]:
    """Makes the conversations' schema anew."""

    def make() -> None:
        for statement in schema():
            server.query(statement)

    for name in (SCHEMA, OTHER_SCHEMA):
        server.query(f"GRANT ALL ON {name}.* TO '{USER}'@'%'")
    yield make
    for name in (SCHEMA, OTHER_SCHEMA):
        server.query(f"DROP DATABASE IF EXISTS {name}")
        server.query(f"REVOKE ALL ON {name}.* FROM '{USER}'@'%'")


@pytest.fixture(scope="module")
def proxy(server, tmp_path_factory) -> Iterator[Proxy]:
    """Warmwire with one upstream, so that each client gets what the one before has left."""
    settings = {"WARMWIRE_POOL_SIZE": 1, "WARMWIRE_POOL_MAX": 1, "WARMWIRE_CHECKOUT_TIMEOUT": 20}
    started = serve(server, tmp_path_factory.mktemp("differential"), **settings)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def undisturbed() -> dict[tuple[str, int], Recording]:
    """What each inspector finds directly, by flavor and the inspector's number; always the same, so asked once."""
    return {}


def greeting_flags(address: Address) -> Flag:
    with Wire(address) as wire:
        return wire.greeting.flags


def play_directly(server, conversation: Conversation, offered: Flag) -> Recording:
    """``offered``: Warmwire's flags; a client that is offered more than that would ask for more."""
    flags = conversation.login.flags & offered & ~UNREADABLE
    # Servers insist on their own plugin where Warmwire is content with a scramble of the old kind.
    flags |= Flag.PLUGIN_AUTH | Flag.PLUGIN_AUTH_LENENC
    return Player((server.host, server.port), conversation, flags, direct=True).play()


def play_through(proxy, conversation: Conversation, offered: Flag) -> Recording:
    """Every other client asks for flags that were not offered."""
    flags = conversation.login.flags & (offered if conversation.seed % 2 else ~UNREADABLE | ~offered)
    address = proxy.socket if conversation.over_unix_socket else ("127.0.0.1", proxy.port)
    return Player(address, conversation, flags, direct=False).play()


def test_random_conversations(server, proxy, fresh, capsys):
    offered = greeting_flags(("127.0.0.1", proxy.port))
    reports, exchanges, previous = [], 0, None
    for seed in SEEDS:
        conversation = compose(seed, server.flavor)
        fresh()
        direct = play_directly(server, conversation, offered)
        fresh()
        through = play_through(proxy, conversation, offered)
        exchanges += len(through.exchanges)
        if difference := compare(direct, through):
            seeds = f"{seed}" if previous is None else f"{previous},{seed}"
            reports.append(f"seed {seed} on {server.flavor} (WARMWIRE_TEST_SEEDS={seeds}): {conversation.login}\n{difference}")
        previous = seed
    with capsys.disabled():
        print(f" {server.flavor}: {exchanges} exchanges in {len(SEEDS)} conversations, {len(reports)} differ", end="")
    assert not reports, f"{len(reports)} of {len(SEEDS)} conversations differ\n\n" + "\n\n".join(reports[:REPORTED])
    assert exchanges >= EXCHANGES or "WARMWIRE_TEST_SEEDS" in os.environ


@pytest.mark.parametrize("mess", sorted({name for flavor in FLAVORS for name in messes(flavor)}))
def test_nothing_is_left_to_the_next_client(server, proxy, fresh, undisturbed, mess):
    """A client makes a mess and leaves; the next one finds what a fresh connection has."""
    if mess not in messes(server.flavor):
        assert mess in messes(next(flavor for flavor in FLAVORS if flavor != server.flavor))
        return
    offered = greeting_flags(("127.0.0.1", proxy.port))
    fresh()
    for number, inspector in enumerate(INSPECTORS):
        server.query(f"DROP TABLE IF EXISTS {SCHEMA}.made")
        # The same kind of client, so that the very upstream that was left is the one to be found.
        made = replace(messes(server.flavor)[mess], login=replace(inspector, database=SCHEMA))
        left = play_through(proxy, made, offered)
        assert len(left.exchanges) >= len(made.steps)
        inspection = Conversation(number, inspector, INSPECTION, "quit", over_unix_socket=bool(number % 2))
        through = play_through(proxy, inspection, offered)
        direct = undisturbed.get((server.flavor, number))
        if direct is None:
            server.query(f"DROP TABLE {SCHEMA}.made")
            direct = undisturbed[server.flavor, number] = play_directly(server, inspection, offered)
        difference = compare(direct, through)
        assert not difference, f"after {mess!r}, {inspector}:\n{difference}"


def test_greeting_is_that_of_the_server(server, proxy):
    with Wire((server.host, server.port)) as direct, Wire(("127.0.0.1", proxy.port)) as through:
        ours, theirs = through.greeting, direct.greeting
    assert (ours.version, ours.collation, ours.status) == (theirs.version, theirs.collation, theirs.status)
    assert ours.plugin == b"caching_sha2_password"
    assert ours.reserved == bytes(10)
    assert ours.flags & OFFERED == OFFERED
    assert ours.flags & ~(theirs.flags | Flag.LONG_PASSWORD) == 0
    assert not ours.flags & UNREADABLE


@pytest.mark.parametrize("command", [Command.BINLOG_DUMP, Command.TABLE_DUMP, Command.BINLOG_DUMP_GTID])
def test_binlog_commands_are_refused(server, proxy, fresh, command):
    """The one kind of command that is not relayed: its answer would never end."""
    fresh()
    conversation = compose(0, server.flavor)
    with Wire(("127.0.0.1", proxy.port)) as wire:
        wire.login(replace(conversation.login, flags=conversation.login.flags & ~UNREADABLE))
        wire.send(bytes([command]) + bytes(20))
        assert Refused(wire.read_logical()[0].payload).errno == 1047
        assert wire.command(Command.PING)[0].role is Role.OK


def compare(direct: Recording, through: Recording) -> str:
    """What differs first, in words; empty when nothing does."""
    if direct.login != through.login:
        return f"login\n{show(direct.login, through.login)}"
    for number, ((step, expected), (_, seen)) in enumerate(zip(direct.exchanges, through.exchanges, strict=False)):
        if not expected and says_that_it_was_lost(seen):
            return ""
        if expected != seen:
            before = "".join(f"  {n}: {said}\n" for n, (said, _) in enumerate(direct.exchanges[:number]) if n >= number - 12)
            return f"{before}  {number}: {step}\n{show(expected, seen)}"
    if len(direct.exchanges) != len(through.exchanges):
        return f"{len(direct.exchanges)} exchanges directly, {len(through.exchanges)} through Warmwire"
    return ""


def says_that_it_was_lost(seen: list[Packet]) -> bool:
    """Where a server just closes, Warmwire says 1152 first if it learns of the end after it has passed the command on."""
    return len(seen) == 1 and seen[0].payload.startswith(b"\xff\x80\x04#08S01Warmwire: ")


def show(expected: list[Packet], seen: list[Packet]) -> str:
    """The first packet that differs, and how many there are on each side (none: the connection was closed)."""
    pairs = zip([*expected, None], [*seen, None], strict=False)
    place, (left, right) = next((place, pair) for place, pair in enumerate(pairs) if pair[0] != pair[1])
    return (
        f"    packet {place} of {len(expected)} directly: {clip(left)}\n    of {len(seen)} through Warmwire:    {clip(right)}"
    )


def clip(packet: Packet | None) -> str:
    if packet is None:
        return "none"
    text = packet.payload if len(packet.payload) <= 400 else packet.payload[:400] + b"..."
    return f"seq {packet.seq} {packet.role.name} {text!r} ({len(packet.payload)} bytes)"
