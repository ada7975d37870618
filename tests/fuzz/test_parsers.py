"""Whatever bytes they are given, the pure parsers raise what they document and keep no more than they say."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import SECONDS, SUITE_SECONDS
from tests.fuzz.corpus import (
    CHANGE_USERS,
    CONVERSATIONS,
    FLAGS,
    GREETINGS,
    LOGINS,
    NONCE,
    PLUGINS,
    PUBLIC_KEY,
    RESPONSES,
    SCALARS,
    TELEMETRY_BODIES,
    TELEMETRY_HEADS,
)
from tests.fuzz.exploration import explore
from tests.splits import packet
from warmwire.errors import ClientError, MalformedPacket, PacketTooLarge, ProtocolError, ServerRefused
from warmwire.lambda_api.lifecycle import Invocations
from warmwire.lambda_api.telemetry import TelemetryListener, _content_length
from warmwire.protocol.auth import Proof, Verifier
from warmwire.protocol.exchange import CHANGES_LIMIT, CONTROL_LIMIT, NO_RESPONSE, Exchange, State
from warmwire.protocol.framing import CommandFramer, PacketBuffer, command_of
from warmwire.protocol.handshake import read_change_user, read_error, read_greeting, read_login, write_error, write_greeting
from warmwire.protocol.rsa import SEED_SIZE, encrypt_password
from warmwire.protocol.statements import first_word, is_peculiar, leaves_traces, sets_trackers
from warmwire.protocol.tracking import Visibility, last_of_each, read_ok, transaction_state_of

VISIBILITIES = tuple(Visibility)


def greeting(data: bytes) -> None:
    try:
        known = read_greeting(data)
    except (ServerRefused, ProtocolError):
        return
    assert len(known.nonce) == 20
    again = read_greeting(write_greeting(known._replace(plugin=PLUGINS[1])))
    assert (again.version, again.nonce, again.collation) == (known.version, known.nonce, known.collation)


def login(data: bytes) -> None:
    with contextlib.suppress(MalformedPacket):
        found = read_login(data)
        assert found.user in data and found.response in data


def change_user(data: bytes) -> None:
    for flags in FLAGS:
        with contextlib.suppress(MalformedPacket):
            read_change_user(data, flags)


def ok_packet(data: bytes) -> None:
    for visibility in VISIBILITIES:
        with contextlib.suppress(ProtocolError):
            ok = read_ok(data, visibility)
            assert len(ok.shown) <= len(data)
            transaction_state_of(ok.changes)
            assert len(last_of_each(list(ok.changes))) <= len(ok.changes)
            read_ok(ok.shown, visibility)


def error_packet(data: bytes) -> None:
    problem = read_error(data)
    assert len(problem.sqlstate) == 5
    again = read_error(write_error(problem.errno, problem.sqlstate, str(problem)))
    assert (again.errno, again.sqlstate, str(again)) == (problem.errno, problem.sqlstate, str(problem))


def proof(data: bytes) -> None:
    """A server's part of the login conversation, its packets joined by bars; with and without TLS."""
    for secure in (False, True):
        prover = Proof(b"secret", secure, bytes(SEED_SIZE))
        prover.first(PLUGINS[1], NONCE)
        with contextlib.suppress(ProtocolError):
            for payload in data.split(b"|"):
                prover.answer(payload)


def verifier(data: bytes) -> None:
    """Nobody comes in who does not know the password. (Nor does the search find a scramble by itself.)"""
    for password in (b"secret", b"\0"):
        for plugin in (None, data[:3], *PLUGINS):
            step = Verifier(password, PLUGINS[1]).first(plugin, data, NONCE, NONCE[::-1], len(data) % 2 == 0)
            assert not step.accepted
            asked = Verifier(password, PLUGINS[0])
            asked.switch(PLUGINS[len(data) % 2], NONCE)
            assert asked.answer(data).accepted is False


def public_key(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        encrypt_password(b"secret", NONCE, data, bytes(SEED_SIZE))


def packet_buffer(data: bytes) -> None:
    """The same packets come out whatever pieces went in, and what is too large is refused by its header."""
    size = data[0] % 7 + 1 if data else 1
    results = []
    for pieces in ([data], [data[at : at + size] for at in range(0, len(data), size)]):
        buffer = PacketBuffer(300)
        found: list[object] = []
        for piece in pieces:
            buffer.feed(piece)
            try:
                while (one := buffer.next_packet()) is not None:
                    found.append(one)
                    assert len(one[1]) <= buffer.limit
            except PacketTooLarge:
                found.append("too large")
                break
            assert len(buffer) < 4 + buffer.limit
        results.append(found)
    assert results[0] == results[1]


def command_framer(data: bytes) -> None:
    """The ends of commands do not depend on the pieces."""
    size = data[0] % 7 + 1 if data else 1
    ends = []
    for pieces in ([data], [data[at : at + size] for at in range(0, len(data), size)]):
        framer, found, before = CommandFramer(), [], 0
        for piece in pieces:
            at = 0
            while at < len(piece):
                assert command_of(piece, at) is None or 0 <= command_of(piece, at) <= 255  # type: ignore[operator]
                after, is_end = framer.feed(piece, at)
                assert after > at
                at = after
                if is_end:
                    found.append((before + at, framer.size, framer.sequence))
            before += len(piece)
        ends.append(found)
    assert ends[0] == ends[1]


def exchange(data: bytes) -> None:
    """A response shows the same whatever pieces it came in; what is none breaks the exchange for good."""
    if len(data) < 3:
        return
    settings, size, command, data = data[0], data[1] % 50 + 1, data[2], data[3:]
    outcomes = []
    for pieces in ([data], [data[at : at + size] for at in range(0, len(data), size)]):
        followed = Exchange(bool(settings & 1), VISIBILITIES[settings % 3])
        followed.begin(command)
        assert followed.done == (command in NO_RESPONSE)
        shown, seen, is_broken = b"", 0, False
        for piece in pieces:
            seen += len(piece)
            try:
                shown += followed.feed(piece)
            except ProtocolError:
                is_broken = True
                break
            assert len(shown) <= seen
        if is_broken:
            assert followed.state is State.BROKEN
            with pytest.raises(ProtocolError):
                followed.feed(b"\0")
            with pytest.raises(ProtocolError):
                followed.begin(command)
        outcomes.append((is_broken, followed.state, None if is_broken else (shown, followed.changes, followed.error)))
    assert outcomes[0] == outcomes[1]


def upload(data: bytes) -> None:
    """The same with an upload that ends wherever the server asks for one."""
    followed = Exchange(False)
    followed.begin(3)
    with contextlib.suppress(ProtocolError):
        for at in range(0, len(data), 16):
            followed.feed(data[at : at + 16])
            if followed.uploading:
                followed.upload_ended()
            if followed.done:
                followed.begin(3)


def statement(data: bytes) -> None:
    word = first_word(data)
    assert (word == word.upper() and word.isalpha()) or not word
    assert not (leaves_traces(data) or sets_trackers(data)) or is_peculiar(data)


def telemetry_head(data: bytes) -> None:
    length = _content_length(data)
    assert length is None or 0 <= length <= 4 << 20


def telemetry_body(data: bytes) -> None:
    TelemetryListener()._take(data)
    Invocations().note(data)


_PACKETS = [packet(payload) for payload in (*LOGINS[:6], *CHANGE_USERS[:2], b"", bytes(299), bytes(301))]
_OKS = [b"\0\0\0\2\0\0\0", b"\xfe\0\0\2\0\0\0", b"\0\1\xfc\xff\xff\2\0\0\0\5Rows "] + [
    response.ours[4:] for response in RESPONSES if response.ours[4:5] == b"\0" and response.command != 0x16
]
_FRONTS = (b"\0\0", b"\1\7", b"\4\1")

TARGETS: dict[Callable[[bytes], None], list[bytes]] = {
    greeting: GREETINGS,
    login: LOGINS,
    change_user: CHANGE_USERS,
    ok_packet: _OKS,
    error_packet: [b"\xff\x15\x04#28000Access denied", b"\xff\x15\x04Access denied", b"\xff"],
    proof: [
        b"\xfe" + PLUGINS[1] + b"\0" + NONCE + b"\0|\1\4|\1" + PUBLIC_KEY,
        b"\xfe" + PLUGINS[1] + b"\0ab|\1\4|\1" + PUBLIC_KEY,
        b"\xfe" + PLUGINS[0] + b"\0" + NONCE,
        b"\1\3",
    ],
    verifier: [bytes(range(20)), bytes(range(32)), b"", b"\0", b"secret\0"],
    public_key: [PUBLIC_KEY, PUBLIC_KEY.replace(b"A", b"B")],
    packet_buffer: [*_PACKETS, b"".join(_PACKETS)],
    command_framer: CONVERSATIONS,
    exchange: [
        bytes((front[0] | response.deprecate_eof, front[1], response.command)) + response.ours
        for response in RESPONSES
        for front in _FRONTS
        if len(response.ours) < 1500
    ],
    upload: [response.ours for response in RESPONSES if response.command == 3 and not response.deprecate_eof],
    statement: SCALARS,
    telemetry_head: TELEMETRY_HEADS,
    telemetry_body: TELEMETRY_BODIES,
}
_LARGE = {exchange: 4, ok_packet: 2, greeting: 2, proof: 2}
_SHARES = sum(_LARGE.get(target, 1) for target in TARGETS)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.__name__)
def test_a_parser_raises_what_it_documents_and_nothing_else(target):
    seconds = SECONDS * 0.4 * _LARGE.get(target, 1) / _SHARES
    found = explore(target.__name__, target, TARGETS[target], seconds)
    print(f"{found.inputs} inputs, {found.steps} steps, {found.kept} kept")
    assert found.inputs > len(TARGETS[target])


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.__name__)
def test_no_short_input_breaks_a_parser(target):
    """Hypothesis begins with the empty input and the simplest ones, and reports the simplest that fails."""

    @settings(
        max_examples=round(40 * SECONDS / SUITE_SECONDS), database=None, deadline=None, derandomize=SECONDS <= SUITE_SECONDS
    )
    @given(st.binary(max_size=120) | st.sampled_from(TARGETS[target]).flatmap(lambda one: st.just(one[: len(one) // 2])))
    def feed(data: bytes) -> None:
        target(data)

    feed()


def test_a_large_control_packet_is_refused_by_its_header():
    followed = Exchange(deprecate_eof=True)
    followed.begin(3)
    followed.feed(packet(b"\1") + packet(b"\3def") + (CONTROL_LIMIT + 1).to_bytes(3, "little"))
    with pytest.raises(ProtocolError, match=f"a packet of {CONTROL_LIMIT + 1} bytes"):
        followed.feed(b"\5\xff")


def test_a_million_session_changes_are_kept_as_the_last_of_each():
    followed = Exchange(deprecate_eof=True)
    followed.begin(3)
    for number in range(3 * CHANGES_LIMIT):
        value = b"%d" % number
        name = b"v%d" % (number % 10)
        entry = b"\0" + bytes((len(name) + len(value) + 2, len(name))) + name + bytes((len(value),)) + value
        followed.feed(packet(b"\0\0\0\x0a\x40\0\0\0" + bytes((len(entry),)) + entry))
    assert len(followed.changes) <= CHANGES_LIMIT
    last = {data[1 : 1 + data[0]]: data for _, data in followed.changes}
    assert len(last) == 10
    assert last[b"v9"].endswith(b"%d" % (3 * CHANGES_LIMIT // 10 * 10 - 1))


def test_more_changed_variables_than_a_server_has_break_the_exchange():
    followed = Exchange(deprecate_eof=True)
    followed.begin(3)
    with pytest.raises(ProtocolError, match="more variables"):
        for number in range(2 * CHANGES_LIMIT):
            name = b"v%06d" % number
            entry = b"\0\x09\x07" + name + b"\0"
            followed.feed(packet(b"\0\0\0\x0a\x40\0\0\0" + bytes((len(entry),)) + entry))


@pytest.mark.parametrize("sqlstate", [b"\xff\xfe\xfd\xfc\xfb", b"12", b"1234\n", b""])
def test_a_sqlstate_that_is_none_is_replaced(sqlstate):
    assert read_error(b"\xff\x15\x04#" + sqlstate).sqlstate == "HY000"


def test_an_auth_switch_without_a_nonce_is_refused():
    with pytest.raises(ProtocolError, match="nonce"):
        Proof(b"secret", False, bytes(SEED_SIZE)).answer(b"\xfe" + PLUGINS[1] + b"\0")


def test_every_error_a_parser_raises_towards_a_client_can_be_told_to_it():
    for payload in LOGINS:
        for length in range(len(payload)):
            try:
                read_login(payload[:length])
            except ClientError as problem:
                assert read_error(write_error(problem.errno, problem.sqlstate, str(problem))).errno == 1047
