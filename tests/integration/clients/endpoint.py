"""What all drivers of the matrix have in common."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Endpoint:
    """Where and as whom to connect. ``socket`` is used instead of host and port where it is set."""

    port: int
    user: str
    password: str
    database: str | None
    host: str = "127.0.0.1"
    socket: str | None = None


class Failure(Exception):
    """What a driver raised, in terms that all of them share. ``sqlstate`` is empty where the driver hides it."""

    def __init__(self, errno: int, sqlstate: str, text: str) -> None:
        super().__init__(errno, sqlstate, text)
        self.errno, self.sqlstate, self.text = errno, sqlstate, text


class Session(Protocol):
    """One connection. Placeholders in statements are ``%s``."""

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]: ...
    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[int, int]:
        """Rows affected and the id inserted."""
        ...

    def results(self, sql: str) -> list[list[Row]]:
        """Every result set of a CALL."""
        ...

    def begin(self) -> None: ...
    def commit(self) -> None: ...
    def rollback(self) -> None: ...
    def close(self) -> None: ...


class Driver(Protocol):
    """A way to get sessions."""

    def connect(self, endpoint: Endpoint) -> Session: ...


class Sessions:
    """Opens sessions and closes what a failing test leaves open, with whatever locks it has."""

    def __init__(self) -> None:
        self.open: list[Session] = []

    def __call__(self, driver: Driver, endpoint: Endpoint) -> Session:
        self.open.append(driver.connect(endpoint))
        return self.open[-1]

    def leave(self, session: Session) -> None:
        """Close one of them now."""
        self.open.remove(session)
        session.close()

    def close(self) -> None:
        """Close those that are left."""
        with contextlib.ExitStack() as stack:  # so that one that fails does not spare the others
            for session in self.open:
                stack.callback(session.close)
            self.open = []
