"""Which capability flags are offered to clients, negotiated with the database, and tell upstreams apart.

Responses are relayed byte for byte, so whatever changes their framing has to be the same on both legs. Reasons per flag:
docs/adr/0003-capabilities.md.
"""

from warmwire.protocol.constants import Capability as C

POOL_KEY = C.FOUND_ROWS | C.LOCAL_FILES | C.MULTI_RESULTS | C.PS_MULTI_RESULTS | C.DEPRECATE_EOF
"""Flags that change what the database answers and cannot be changed after login: an upstream serves only clients that
negotiated the same ones."""

_RESTORED = C.IGNORE_SPACE | C.INTERACTIVE | C.MULTI_STATEMENTS
"""Flags that only set something at login; Warmwire sets the same itself for each client (see session.py)."""

_LOGIN = (
    C.LONG_PASSWORD
    | C.LONG_FLAG
    | C.PROTOCOL_41
    | C.TRANSACTIONS
    | C.SECURE_CONNECTION
    | C.PLUGIN_AUTH
    | C.PLUGIN_AUTH_LENENC
)

_HARMLESS = C.CONNECT_WITH_DB | C.ODBC | C.IGNORE_SIGPIPE | C.RESERVED | C.CONNECT_ATTRS | C.CAN_HANDLE_EXPIRED_PASSWORDS


def offered(server: int) -> int:
    """The flags of the greeting for clients, given those of the database's.

    LONG_PASSWORD is always set: left clear, MariaDB's connectors would take ten reserved bytes for capabilities of
    their own, which change the framing.
    """
    return server & (POOL_KEY | _RESTORED | _LOGIN | _HARMLESS | C.SESSION_TRACK) | C.LONG_PASSWORD | C.CONNECT_WITH_DB


def key_of(client: int, server: int) -> int:
    """The pool key of a client: the flags, negotiated with it, that its upstream must have too."""
    return client & server & POOL_KEY


def for_upstream(key: int, server: int, *, multi_statements: bool, tls: bool, database: bool) -> int:
    """The flags of our login packet for an upstream with this pool key."""
    wanted = _LOGIN | C.CONNECT_ATTRS | C.SESSION_TRACK | key
    if multi_statements:
        wanted |= C.MULTI_STATEMENTS
    if tls:
        wanted |= C.SSL
    if database:
        wanted |= C.CONNECT_WITH_DB
    return wanted & server
