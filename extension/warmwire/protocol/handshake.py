"""The connection phase's packets in both roles: greeting and login packet, and COM_CHANGE_USER.

Source: MySQL internals manual, "Connection Phase Packets" and "COM_CHANGE_USER". What comes from the network is parsed
here with every length checked; a packet that ends early raises, it is never guessed at.
"""

from typing import NamedTuple

from warmwire.errors import MalformedPacket, ProtocolError, ServerRefused
from warmwire.protocol.auth import SCRAMBLE_SIZE
from warmwire.protocol.borrowed import mimic_packets
from warmwire.protocol.codec import read_string, read_until_nul, write_string
from warmwire.protocol.constants import Capability, Command

_NEEDED = Capability.CONNECT_WITH_DB | Capability.PROTOCOL_41 | Capability.SECURE_CONNECTION | Capability.PLUGIN_AUTH
"""What every server since MySQL 5.5 can do; without it neither we nor our clients could log in."""


class Greeting(NamedTuple):
    """A server's first packet."""

    version: bytes
    thread_id: int
    nonce: bytes
    capabilities: int
    collation: int
    status: int
    plugin: bytes


def read_greeting(payload: bytes) -> Greeting:
    """Parse the database's greeting.

    Raises:
        ServerRefused: it is an ERR packet instead.
        ProtocolError: it is no greeting of protocol version 10, or cut off, or of a server older than MySQL 5.5.
    """
    if payload[:1] == b"\xff":
        raise read_error(payload)
    if payload[:1] != b"\x0a":
        raise ProtocolError("the database does not greet like a MySQL server")
    version, at = read_until_nul(payload, 1)
    if len(payload) < at + 31:
        raise ProtocolError("the database's greeting is cut off")
    thread_id = int.from_bytes(payload[at : at + 4], "little")
    nonce = payload[at + 4 : at + 12]
    low = int.from_bytes(payload[at + 13 : at + 15], "little")
    collation = payload[at + 15]
    status = int.from_bytes(payload[at + 16 : at + 18], "little")
    high = int.from_bytes(payload[at + 18 : at + 20], "little")
    rest = max(13, payload[at + 20] - 8)
    nonce = (nonce + payload[at + 31 : at + 31 + rest])[:SCRAMBLE_SIZE]
    plugin = payload[at + 31 + rest :].split(b"\0", 1)[0]
    if len(nonce) < SCRAMBLE_SIZE:
        raise ProtocolError("the database's greeting is cut off")
    capabilities = low | high << 16
    if capabilities & _NEEDED != _NEEDED:
        raise ProtocolError("the database speaks a protocol older than that of MySQL 5.5")
    return Greeting(version, thread_id, nonce, capabilities, collation, status, plugin)


def write_greeting(greeting: Greeting) -> bytes:
    """The greeting for a client."""
    packets = mimic_packets()
    payload = bytearray(
        packets.make_handshake_v10(
            packets.Capabilities(greeting.capabilities),
            packets.CharacterSet.latin1,
            greeting.version.decode("latin-1"),
            greeting.thread_id,
            greeting.nonce + b"\0",
            packets.ServerStatus(greeting.status),
            greeting.plugin.decode("ascii"),
        )
    )
    payload[1 + len(greeting.version) + 1 + 4 + 9 + 2] = greeting.collation  # of which mysql-mimic knows only some
    return bytes(payload)


class Login(NamedTuple):
    """A login packet, or what COM_CHANGE_USER says of the same things."""

    capabilities: int
    collation: int
    user: bytes
    response: bytes
    database: bytes | None
    plugin: bytes | None


def read_login(payload: bytes) -> Login:
    """Parse a client's login packet (HandshakeResponse41).

    Raises:
        MalformedPacket: it is none, or a length in it is wrong.
    """
    if len(payload) < 33:
        if len(payload) == 32 and int.from_bytes(payload[:4], "little") & Capability.SSL:
            raise MalformedPacket("TLS was asked for, but is not offered on the local connection: switch it off in the client")
        raise MalformedPacket("the login packet is cut off")
    capabilities = int.from_bytes(payload[:4], "little")
    if not capabilities & Capability.PROTOCOL_41:
        raise MalformedPacket("the client speaks the protocol of MySQL 4.0 and older")
    try:
        user, at = read_until_nul(payload, 32)
        if capabilities & Capability.PLUGIN_AUTH_LENENC:
            response, at = read_string(payload, at)
        elif capabilities & Capability.SECURE_CONNECTION:
            response, at = _read_short_string(payload, at)
        else:
            response, at = _read_until_nul_or_end(payload, at)
    except ProtocolError as problem:
        raise MalformedPacket(f"the login packet is malformed: {problem}") from None
    database = plugin = None
    if capabilities & Capability.CONNECT_WITH_DB:
        database, at = _read_until_nul_or_end(payload, at)
    if capabilities & Capability.PLUGIN_AUTH:
        plugin, at = _read_until_nul_or_end(payload, at)
    return Login(capabilities, payload[8], user, response, database or None, plugin or None)


def write_login(login: Login, attributes: dict[bytes, bytes]) -> bytes:
    """Our login packet for the database; its collation is one byte, as everybody's."""
    payload = write_ssl_request(login) + login.user + b"\0" + write_string(login.response)
    if login.database is not None:
        payload += login.database + b"\0"
    if login.plugin is not None:
        payload += login.plugin + b"\0"
    if login.capabilities & Capability.CONNECT_ATTRS:
        payload += write_string(b"".join(write_string(name) + write_string(value) for name, value in attributes.items()))
    return payload


def write_ssl_request(login: Login) -> bytes:
    """The front part of the login packet, which is sent alone before TLS begins."""
    return login.capabilities.to_bytes(4, "little") + b"\xff\xff\xff\x00" + bytes((login.collation,)) + b"\0" * 23


def read_change_user(payload: bytes, capabilities: int) -> Login:
    """Parse a client's COM_CHANGE_USER.

    Args:
        payload: with the command byte.
        capabilities: what was negotiated at login, which goes on to hold.

    Raises:
        MalformedPacket: a part is missing, or a length in it is wrong.
    """
    try:
        user, at = read_until_nul(payload, 1)
        if capabilities & Capability.SECURE_CONNECTION:
            response, at = _read_short_string(payload, at)
        else:
            response, at = read_until_nul(payload, at)
    except ProtocolError as problem:
        raise MalformedPacket(f"COM_CHANGE_USER is malformed: {problem}") from None
    database, at = _read_until_nul_or_end(payload, at)
    collation, plugin = 0, None
    if len(payload) >= at + 2:
        collation = int.from_bytes(payload[at : at + 2], "little")
        if capabilities & Capability.PLUGIN_AUTH:
            plugin, _ = _read_until_nul_or_end(payload, at + 2)
    return Login(capabilities, collation, user, response, database or None, plugin or None)


def write_change_user(login: Login, attributes: dict[bytes, bytes]) -> bytes:
    """Our COM_CHANGE_USER for the database."""
    payload = bytes((Command.CHANGE_USER,)) + login.user + b"\0"
    payload += bytes((len(login.response),)) + login.response + (login.database or b"") + b"\0"
    payload += login.collation.to_bytes(2, "little") + (login.plugin or b"") + b"\0"
    if login.capabilities & Capability.CONNECT_ATTRS:
        payload += write_string(b"".join(write_string(name) + write_string(value) for name, value in attributes.items()))
    return payload


def read_error(payload: bytes) -> ServerRefused:
    """The error in an ERR packet; before the greeting it has no sqlstate."""
    errno = int.from_bytes(payload[1:3], "little")
    if payload[3:4] == b"#" and len(payload) >= 9 and payload[4:9].isalnum():
        return ServerRefused(errno, payload[4:9].decode("ascii", "replace"), payload[9:].decode("utf-8", "replace"))
    return ServerRefused(errno, "HY000", payload[3:].decode("utf-8", "replace"))


def write_error(errno: int, sqlstate: str, text: str, *, greeted: bool = True) -> bytes:
    """An ERR packet. Before the greeting the client has not learnt yet that errors can carry a sqlstate."""
    state = b"#" + sqlstate.encode("ascii") if greeted else b""
    return b"\xff" + errno.to_bytes(2, "little") + state + text.encode("utf-8")


def _read_short_string(data: bytes, at: int) -> tuple[bytes, int]:
    if at >= len(data) or at + 1 + data[at] > len(data):
        raise ProtocolError("a string is longer than its packet")
    return data[at + 1 : at + 1 + data[at]], at + 1 + data[at]


def _read_until_nul_or_end(data: bytes, at: int) -> tuple[bytes, int]:
    """A string whose NUL some drivers leave out at the end of the packet."""
    end = data.find(0, at)
    return (data[at:], len(data)) if end < 0 else (data[at:end], end + 1)
