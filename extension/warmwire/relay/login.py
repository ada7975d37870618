"""The local login: greet a client as the database would, and have it prove that it may come in.

Its password is the local one or, if there is none, not looked at; its user name has to be the database account's. The same
is asked again by COM_CHANGE_USER.
"""

import asyncio
import hmac
import os
from typing import NamedTuple

from warmwire.channel import PacketChannel
from warmwire.config import Config
from warmwire.errors import AccessDenied, HandshakeTimeout
from warmwire.protocol.auth import CACHING_SHA2, NATIVE, SCRAMBLE_SIZE, Step, Verifier, nonce_from
from warmwire.protocol.capabilities import offered
from warmwire.protocol.constants import Capability, Status
from warmwire.protocol.handshake import Greeting, Login, read_change_user, read_login, write_greeting
from warmwire.upstream import ServerFacts

HANDSHAKE_TIMEOUT = 10.0
"""Seconds from the greeting to the end of the login; MySQL's connect_timeout has the same default."""
NAME_SHOWN = 96
"""Bytes of a wrong user name that are repeated in the error and the log; no server allows more."""
LOGIN_LIMIT = 128 * 1024
"""Longest packet of a login or COM_CHANGE_USER; connection attributes alone may have 64 KiB."""


class Accepted(NamedTuple):
    """A client that may come in."""

    login: Login
    last_words: tuple[bytes, ...]
    """Payloads that the client has to be sent before the final OK."""


def greeting_for(facts: ServerFacts, thread_id: int) -> Greeting:
    """The greeting for a client: the database's, with our nonce and what of its capabilities we can relay."""
    nonce = _fresh_nonce()
    return Greeting(
        facts.version, thread_id, nonce, offered(facts.capabilities), facts.collation, Status.AUTOCOMMIT, CACHING_SHA2
    )


async def log_in(channel: PacketChannel, greeting: Greeting, facts: ServerFacts, config: Config) -> Accepted:
    """Greet a client and carry its login to the point where only the final OK is missing.

    Raises:
        AccessDenied: user name or password are wrong.
        HandshakeTimeout: it took longer than HANDSHAKE_TIMEOUT.
        ClientError, ProtocolError: the client left the protocol.
        OSError: the client left.
    """
    verifier = _verifier(facts, config)
    try:
        async with asyncio.timeout(HANDSHAKE_TIMEOUT):
            channel.write(write_greeting(greeting))
            login = read_login(await channel.read())
            can_switch = bool(login.capabilities & Capability.PLUGIN_AUTH)
            step = verifier.first(login.plugin, login.response, greeting.nonce, _fresh_nonce(), can_switch)
            return await _converse(channel, login, verifier, step, config)
    except TimeoutError:
        raise HandshakeTimeout(f"the client did not log in within {HANDSHAKE_TIMEOUT:g} s") from None


async def log_in_again(
    channel: PacketChannel, payload: bytes, capabilities: int, greeting: Greeting, facts: ServerFacts, config: Config
) -> Accepted:
    """Have a client that sent COM_CHANGE_USER prove itself again, with a new nonce as servers do. Raises as :func:`log_in`.

    Args:
        channel: to the client.
        payload: the command.
        capabilities: what was negotiated with it at its login.
        greeting: what it was greeted with.
        facts, config: as for the login.
    """
    verifier = _verifier(facts, config)
    login = read_change_user(payload, capabilities)
    if capabilities & Capability.PLUGIN_AUTH:
        plugin = login.plugin if login.plugin in (NATIVE, CACHING_SHA2) else verifier.fallback
        step = verifier.switch(plugin, _fresh_nonce())
    else:
        step = verifier.first(None, login.response, greeting.nonce, b"", False)
    try:
        async with asyncio.timeout(HANDSHAKE_TIMEOUT):
            return await _converse(channel, login, verifier, step, config)
    except TimeoutError:
        raise HandshakeTimeout(f"COM_CHANGE_USER was not finished within {HANDSHAKE_TIMEOUT:g} s") from None


async def _converse(channel: PacketChannel, login: Login, verifier: Verifier, step: Step, config: Config) -> Accepted:
    response = login.response
    while step.accepted is None:
        channel.write(*step.send)
        response = await channel.read()
        step = verifier.answer(response)
    known = hmac.compare_digest(login.user, config.db_user.encode())
    if step.accepted and known:
        return Accepted(login, step.send)
    user = "".join(filter(str.isprintable, login.user[:NAME_SHOWN].decode("utf-8", "replace")))
    using = "YES" if response.strip(b"\0") else "NO"
    raise AccessDenied(
        f"Access denied for user '{user}'@'localhost' (using password: {using}); through Warmwire log in with the"
        " user of WARMWIRE_DB_URL or WARMWIRE_DB_USER"
        + ("" if config.local_password is None else " and the password of WARMWIRE_LOCAL_PASSWORD")
    )


def _verifier(facts: ServerFacts, config: Config) -> Verifier:
    password = None if config.local_password is None else config.local_password.encode()
    return Verifier(password, NATIVE if facts.is_mariadb else CACHING_SHA2)


def _fresh_nonce() -> bytes:
    return nonce_from(os.urandom(SCRAMBLE_SIZE))
