"""What an exchange tells about the client's transaction: is one open, and has it written? Pure.

The server says so in the status flags and in the tracker of the transaction state, which reports changes only. Two gaps
are filled with caution: an ERR packet says nothing, and where EOFs are not deprecated a result set loses the tracker's
report; then the first word of the statement decides whether it may have written.
"""

from collections.abc import Callable

from warmwire.clock import Instant
from warmwire.protocol.constants import Status
from warmwire.protocol.exchange import Exchange
from warmwire.protocol.tracking import transaction_state_of


class Transaction:
    """Follows one client's transaction from exchange to exchange."""

    def __init__(self) -> None:
        self.is_open = False
        """Whether one is open, or LOCK TABLES holds tables, as far as is known."""
        self.is_unsure = False
        """Whether an error left that unknown: ask the server."""
        self.has_written = False
        """Whether something would be lost by rolling it back."""
        self.since: Instant | None = None
        """When it was first seen open."""
        self.statements = 0
        """Exchanges in it so far."""
        self.has_locked_tables = False
        self.is_tracked = True
        """Whether the server's tracker can be relied on; a client may set it as it likes."""

    def is_concerned(self, exchange: Exchange) -> bool:
        """Whether :meth:`after` could find anything new in an exchange; most of them are nowhere near a transaction."""
        return bool(
            self.is_open
            or self.is_unsure
            or exchange.changes
            or exchange.error is not None
            or exchange.status & Status.IN_TRANS
        )

    def after(self, exchange: Exchange, only_reads: Callable[[], bool], now: Instant) -> None:
        """Take note of an exchange that has ended.

        Args:
            exchange: the exchange.
            only_reads: tells whether its statement is of a kind that changes no data; asked only where it matters.
            now: the present moment.
        """
        if exchange.error is not None:
            self.is_unsure = True
            self.has_written = self.has_written or not only_reads()
            return
        if not exchange.has_status:
            return
        state = transaction_state_of(tuple(exchange.changes)) if exchange.changes else None
        self.note(exchange.status, state, now)
        if self.is_open:
            blind = (exchange.rows_seen and not exchange.deprecate_eof) or not self.is_tracked
            if blind and not only_reads():
                self.has_written = True

    def note(self, status: int, state: bytes | None, now: Instant) -> None:
        """Take note of status flags, and of a reported transaction state if there was one."""
        self.is_unsure = False
        if state is not None:
            self.has_locked_tables = state[-1:] == b"L"
        self.is_open = bool(status & Status.IN_TRANS) or self.has_locked_tables
        if not self.is_open:
            self.has_written = False
            self.since = None
            self.statements = 0
            return
        self.statements += 1
        if self.since is None:
            self.since = now
        if self.has_locked_tables or (state is not None and (b"W" in state or b"w" in state)):
            self.has_written = True  # or counts on nobody else writing
