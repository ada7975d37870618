"""Responses of real servers, one module per version, and the script that recorded them.

    python -m tests.captures.record        # needs both servers: python -m tests.servers.provision

Each conversation was held six times on fresh connections: with and without CLIENT_DEPRECATE_EOF, and with session
tracking as Warmwire asks for it upstream, as a client gets it by default, and not at all. What a client has to be shown
is therefore a server's own word and not a rule of the code under test.
"""

from typing import NamedTuple


class Response(NamedTuple):
    """The whole response to one command."""

    name: str
    command: int
    deprecate_eof: bool
    ours: bytes
    """With session tracking and `session_track_transaction_info='STATE'`."""
    default: bytes | None
    """With session tracking alone; None: the same as `ours`."""
    plain: bytes | None
    """Without session tracking; None: the same as `default`."""
    upload_at: int | None = None
    """Where in `ours` the server waits for the client's LOCAL INFILE data."""

    @property
    def shown_by_default(self) -> bytes:
        """What a client with CLIENT_SESSION_TRACK gets."""
        return self.ours if self.default is None else self.default

    @property
    def shown_plainly(self) -> bytes:
        """What a client without it gets."""
        return self.shown_by_default if self.plain is None else self.plain
