"""What a client's statements tell of its session that the server does not report. Pure."""

from warmwire.protocol.constants import Command
from warmwire.protocol.exchange import Exchange
from warmwire.protocol.statements import is_peculiar, leaves_traces, only_reads, sets_trackers


class Notes:
    """Notes taken of one client's commands, from their first bytes."""

    def __init__(self) -> None:
        self.head = b""
        """The front of the present command's payload."""
        self.has_left_traces = False
        """Whether there is something that no reset clears."""
        self.has_set_trackers = False
        """Whether the client decides itself what the server reports."""
        self._prepared: dict[int, bool] = {}  # statement id -> whether it only reads

    def after(self, exchange: Exchange) -> None:
        """The present command was answered."""
        command = exchange.command
        if command == Command.QUERY or command == Command.STMT_PREPARE:
            if is_peculiar(self.head):
                self.has_left_traces = self.has_left_traces or leaves_traces(self.head[1:])
                self.has_set_trackers = self.has_set_trackers or sets_trackers(self.head[1:])
            if command == Command.STMT_PREPARE and exchange.error is None:
                self._prepared[exchange.statement_id] = only_reads(self.head[1:])

    def after_silent(self) -> None:
        """The present command is one that is not answered."""
        if self.head[0] == Command.STMT_CLOSE:
            self._prepared.pop(self._statement_id, None)

    def only_reads(self) -> bool:
        """Whether the present command is of a kind that changes no data."""
        if self.head[0] == Command.QUERY:
            return only_reads(self.head[1:])
        return self.head[0] != Command.STMT_EXECUTE or self._prepared.get(self._statement_id, False)

    def forget_session(self) -> None:
        """The session was reset: prepared statements and trackers are gone."""
        self._prepared.clear()
        self.has_set_trackers = False

    @property
    def _statement_id(self) -> int:
        return int.from_bytes(self.head[1:5], "little")
