"""Both sides of the authentication conversation, as values in and packets out.

:class:`Proof` is our side at the database: at login and in COM_CHANGE_USER. :class:`Verifier` is our side towards a
client. The scrambles are PyMySQL's. Source: MySQL internals manual, "Authentication Methods", and
protocol notes on caching_sha2_password: ``01 03`` means that the fast way sufficed, ``01 04`` asks for the full one.
"""

import hmac
from typing import NamedTuple

from warmwire.errors import ProtocolError
from warmwire.protocol.borrowed import mimic_packets, pymysql_auth
from warmwire.protocol.codec import read_until_nul
from warmwire.protocol.rsa import encrypt_password

NATIVE = b"mysql_native_password"
CACHING_SHA2 = b"caching_sha2_password"
SCRAMBLE_SIZE = 20
"""Bytes of a nonce, without the NUL behind it."""

_FAST_OK, _FULL_WANTED, _KEY_WANTED = b"\x01\x03", b"\x01\x04", b"\x02"


def scramble(plugin: bytes, password: bytes, nonce: bytes) -> bytes:
    """What proves the password for a nonce; empty for an empty password."""
    auth = pymysql_auth()
    if plugin == CACHING_SHA2:
        return bytes(auth.scramble_caching_sha2(password, nonce))
    return bytes(auth.scramble_native_password(password, nonce))


def nonce_from(random: bytes) -> bytes:
    """20 printable bytes out of 20 random ones: drivers take a nonce for text, and a NUL for its end."""
    return bytes(byte % 94 + 33 for byte in random[:SCRAMBLE_SIZE])


class Proof:
    """Proves our password to the database.

    Args:
        password: in clear.
        secure: whether the connection may carry the password itself (TLS or a unix socket).
        seed: random bytes for one RSA encryption (:data:`warmwire.protocol.rsa.SEED_SIZE`).
    """

    def __init__(self, password: bytes, secure: bool, seed: bytes) -> None:
        self._password = password
        self._secure = secure
        self._seed = seed
        self._plugin = NATIVE
        self._nonce = b""

    def first(self, plugin: bytes, nonce: bytes) -> tuple[bytes, bytes]:
        """The plugin and the response for the login packet. An unknown plugin gives way to one that we have."""
        self._plugin = plugin if plugin in (NATIVE, CACHING_SHA2) else NATIVE
        self._nonce = nonce[:SCRAMBLE_SIZE]
        return self._plugin, scramble(self._plugin, self._password, self._nonce)

    def answer(self, payload: bytes) -> bytes | None:
        """The answer to a packet of the conversation that is neither OK nor ERR; None where none is due.

        Raises:
            ProtocolError: the server asks for a plugin that we do not have, or leaves the protocol.
        """
        if payload[:1] == b"\xfe":
            plugin, at = read_until_nul(payload, 1)
            if plugin not in (NATIVE, CACHING_SHA2):
                name = plugin.decode("ascii", "replace")
                raise ProtocolError(f"the account uses the authentication plugin {name!r}, which Warmwire does not have")
            if len(payload) < at + SCRAMBLE_SIZE:
                raise ProtocolError("the nonce of the database's AuthSwitchRequest is cut off")
            return self.first(plugin, payload[at : at + SCRAMBLE_SIZE])[1]
        if self._plugin == CACHING_SHA2 and payload == _FAST_OK:
            return None
        if self._plugin == CACHING_SHA2 and payload == _FULL_WANTED:
            return self._password + b"\0" if self._secure else _KEY_WANTED
        if self._plugin == CACHING_SHA2 and payload[:1] == b"\x01" and not self._secure:
            return encrypt_password(self._password, self._nonce, payload[1:], self._seed)
        raise ProtocolError("an unexpected packet came during the login")


class Step(NamedTuple):
    """What the :class:`Verifier` wants done."""

    send: tuple[bytes, ...]
    """Payloads to send to the client, in order."""
    accepted: bool | None
    """True or False when the conversation has ended; None: wait for the client's next packet."""


class Verifier:
    """Checks that a client knows the local password.

    Any of the two plugins is accepted for one nonce, whatever the greeting named, because some drivers answer with the
    other one at once. Every other answer gets one AuthSwitchRequest.

    Args:
        password: the password that has to be given, or None to accept any.
        fallback: the plugin to switch to if the client named none that we have.
    """

    def __init__(self, password: bytes | None, fallback: bytes) -> None:
        self._password = password
        self.fallback = fallback
        self._switched: bytes | None = None
        self._nonce = b""

    def first(self, plugin: bytes | None, response: bytes, nonce: bytes, fresh_nonce: bytes, can_switch: bool) -> Step:
        """Judge the response of the client's login packet.

        Args:
            plugin: the plugin that the client named, if any.
            response: its proof.
            nonce: the greeting's.
            fresh_nonce: for an AuthSwitchRequest.
            can_switch: whether the client understands one (CLIENT_PLUGIN_AUTH).
        """
        self._nonce = nonce
        named = plugin or NATIVE
        expected = {NATIVE: 20, CACHING_SHA2: 32}.get(named)
        if expected is not None and self._is_proof(named, response, expected):
            return self._accept(named, response)
        if not can_switch:
            return Step((), False)
        return self.switch(named if expected is not None else self.fallback, fresh_nonce)

    def switch(self, plugin: bytes, nonce: bytes) -> Step:
        """Ask for a proof with this plugin and nonce."""
        self._switched, self._nonce = plugin, nonce
        packets = mimic_packets()
        request = packets.make_auth_switch_request(_latin1(packets), plugin.decode("ascii"), nonce + b"\0")
        return Step((bytes(request),), None)

    def answer(self, response: bytes) -> Step:
        """Judge the answer to the AuthSwitchRequest."""
        if self._switched is None:
            raise ProtocolError("an answer to no AuthSwitchRequest")
        if self._is_proof(self._switched, response, {NATIVE: 20, CACHING_SHA2: 32}[self._switched]):
            return self._accept(self._switched, response)
        return Step((), False)

    def _is_proof(self, plugin: bytes, response: bytes, size: int) -> bool:
        if self._password is None:
            return len(response) == size or response in (b"", b"\0")
        if not self._password:
            return response in (b"", b"\0")
        return hmac.compare_digest(scramble(plugin, self._password, self._nonce), response)

    def _accept(self, plugin: bytes, response: bytes) -> Step:
        if plugin == CACHING_SHA2 and response not in (b"", b"\0"):
            return Step((bytes(mimic_packets().make_auth_more_data(_FAST_OK[1:])),), True)
        return Step((), True)


def _latin1(packets: object) -> object:
    return packets.CharacterSet.latin1  # type: ignore[attr-defined]
