"""The C implementation of mysql-connector-python, in a process of its own.

Its wheel brings an OpenSSL that is newer than many systems' own. Whichever is loaded first serves the whole process, so
it has to come before anything that imports ``ssl``; a process that runs tests has done that long ago.
"""

import itertools
import pathlib
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from tests.integration.clients.drivers import DbApiSession
    from tests.integration.clients.endpoint import Endpoint

REPOSITORY = pathlib.Path(__file__).parents[3]

CHILD = "import _mysql_connector; from tests.integration.clients.remote import serve; serve()"


class Process:
    """The other process. It is started once, when it is first needed, and keeps any number of sessions."""

    current: "Process | None" = None

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    @classmethod
    def get(cls) -> "Process":
        """The one that runs, or a new one."""
        if cls.current is None:
            cls.current = cls()
        return cls.current

    @classmethod
    def stop(cls) -> None:
        """End it, if it runs."""
        if cls.current is not None:
            cls.current.process.communicate(timeout=10)
            cls.current = None

    def call(self, number: int, method: str, *arguments: Any) -> Any:
        """Run a method of a session over there."""
        assert self.process.stdin and self.process.stdout
        pickle.dump((number, method, arguments), self.process.stdin)
        self.process.stdin.flush()
        result = pickle.load(self.process.stdout)
        if isinstance(result, BaseException):
            raise result
        return result


class RemoteSession:
    """A session whose methods run in the other process; their results and exceptions come back pickled."""

    numbers = itertools.count()

    def __init__(self, endpoint: "Endpoint", *, prepared: bool) -> None:
        self.number = next(self.numbers)
        self.call("connect", endpoint, prepared)

    def call(self, method: str, *arguments: Any) -> Any:
        return Process.get().call(self.number, method, *arguments)

    def query(self, sql: str, parameters: Any = ()) -> Any:
        return self.call("query", sql, parameters)

    def execute(self, sql: str, parameters: Any = ()) -> Any:
        return self.call("execute", sql, parameters)

    def results(self, sql: str) -> Any:
        return self.call("results", sql)

    def begin(self) -> None:
        self.call("begin")

    def commit(self) -> None:
        self.call("commit")

    def rollback(self) -> None:
        self.call("rollback")

    def close(self) -> None:
        self.call("close")


def serve() -> None:
    """The other process: answer until the pipe closes."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sessions: dict[int, DbApiSession] = {}
    while (request := read(requests)) is not None:
        number, method, arguments = request
        result = None
        try:
            if method == "connect":
                sessions[number] = connect(*arguments)
            else:
                result = getattr(sessions[number], method)(*arguments)
        except Exception as error:  # whatever it is, the test has to see it
            result = error
        pickle.dump(result, answers)
        answers.flush()


def read(requests: BinaryIO) -> Any:
    """The next request, None when there will be no more."""
    try:
        return pickle.load(requests)
    except EOFError:
        return None


def connect(endpoint: "Endpoint", prepared: bool) -> "DbApiSession":
    """A connection of the C implementation."""
    from tests.integration.clients.drivers import connector_session

    return connector_session(endpoint, pure=False, prepared=prepared)
