"""mysql2 of npm, in a Node process of its own that bridge.js serves."""

import base64
import json
import pathlib
import subprocess
from collections.abc import Sequence
from typing import Any

import pytest

from tests.integration.clients.endpoint import Endpoint, Failure, Row
from tests.servers.programs import program

NODE = pathlib.Path(__file__).parent / "node"


class Mysql2:
    """mysql2 of npm, in a Node process, with ``query`` (text protocol) or ``execute`` (binary)."""

    def __init__(self, *, prepared: bool) -> None:
        self.prepared = prepared

    def connect(self, endpoint: Endpoint) -> "Mysql2Session":
        return Mysql2Session(endpoint, prepared=self.prepared)


class Node:
    """The Node process. It is started once, when it is first needed, and keeps any number of connections."""

    current: "Node | None" = None

    def __init__(self) -> None:
        node = program("node")
        if node is None or not (NODE / "node_modules" / "mysql2").is_dir():
            pytest.fail("node or mysql2 is not installed: see `make test`", pytrace=False)
        self.process = subprocess.Popen(
            [node, "bridge.js"], cwd=NODE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    @classmethod
    def ask(cls, op: str, **arguments: Any) -> Any:
        """Have an operation of bridge.js done; start Node if it does not run yet."""
        if cls.current is None:
            cls.current = cls()
        process = cls.current.process
        assert process.stdin and process.stdout
        process.stdin.write(json.dumps({"op": op} | arguments) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        if "error" in answer:
            raise Failure(**answer["error"])
        return answer.get("value")

    @classmethod
    def stop(cls) -> None:
        """End it, if it runs."""
        if cls.current is not None:
            cls.current.process.communicate(timeout=10)
            cls.current = None


class Mysql2Session:
    """A connection in the Node process."""

    def __init__(self, endpoint: Endpoint, *, prepared: bool) -> None:
        self.prepared = prepared
        where = {"socketPath": endpoint.socket} if endpoint.socket else {"host": endpoint.host, "port": endpoint.port}
        options = where | {"user": endpoint.user, "password": endpoint.password, "database": endpoint.database}
        self.connection = Node.ask("connect", options=options)

    def ask(self, op: str, **arguments: Any) -> Any:
        return Node.ask(op, connection=self.connection, **arguments)

    def _run(self, sql: str, parameters: Sequence[Any], **options: Any) -> dict[str, Any]:
        values = [{"$bytes": base64.b64encode(p).decode()} if isinstance(p, bytes) else p for p in parameters]
        prepared = self.prepared and "upload" not in options and sql not in ("BEGIN", "COMMIT", "ROLLBACK")
        statement = sql.replace("%s", "?")
        answer: dict[str, Any] = self.ask("query", sql=statement, parameters=values, prepared=prepared, **options)
        return answer

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        return [tuple(map(unpack, row)) for row in self._run(sql, parameters)["rows"]]

    def execute(self, sql: str, parameters: Sequence[Any] = (), **options: Any) -> tuple[int, int]:
        answer = self._run(sql, parameters, **options)
        return answer["affected"], answer["inserted"]

    def results(self, sql: str) -> list[list[Row]]:
        return [[tuple(map(unpack, row)) for row in rows] for rows in self.ask("results", sql=sql)]

    def begin(self) -> None:
        self._run("BEGIN", [])

    def commit(self) -> None:
        self._run("COMMIT", [])

    def rollback(self) -> None:
        self._run("ROLLBACK", [])

    def close(self) -> None:
        self.ask("close")


def unpack(value: Any) -> Any:
    """Bytes out of their JSON wrapping."""
    return base64.b64decode(value["$bytes"]) if isinstance(value, dict) and "$bytes" in value else value
