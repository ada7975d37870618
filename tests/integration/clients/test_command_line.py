"""The command-line programs of MySQL and MariaDB, against either server."""

import pathlib
import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.integration.clients.endpoint import Endpoint
from tests.servers import Server
from tests.servers.programs import program

pytestmark = [pytest.mark.server, pytest.mark.timeout(120)]


def find(name: str) -> str:
    """The path of a program; without it the test fails in words."""
    path = program(name)
    if path is None:
        pytest.fail(f"{name} is not installed: python -m tests.servers.provision --clients", pytrace=False)
    return path


def arguments(endpoint: Endpoint) -> list[str]:
    """How these programs are told where to connect."""
    where = ["--socket", endpoint.socket] if endpoint.socket else ["--protocol=tcp", "-h127.0.0.1", f"-P{endpoint.port}"]
    return ["--no-defaults", *where, f"-u{endpoint.user}", f"-p{endpoint.password}"]


def run(name: str, endpoint: Endpoint, *options: str, script: str = "", fails: bool = False) -> str:
    """What a program prints; what it says on stderr if it is to fail."""
    own = ["--loose-commands"] if name == "mysql" else []  # lets a script give commands to the shell
    done = subprocess.run(
        [find(name), *arguments(endpoint), *own, *options],
        input=script,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode != 0) == fails, f"{name} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stderr if fails else done.stdout


@pytest.fixture(params=["mysql", "mariadb"])
def shell(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True)
def empty_schemas(server: Server) -> Iterator[None]:
    """Both schemas as they were before."""
    yield
    for name in ("app", "app2"):
        server.query(f"DROP DATABASE {name}")
        server.query(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")


SCRIPT = """
DROP TABLE IF EXISTS t; CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, word VARCHAR(20), at DATETIME(3));
DROP PROCEDURE IF EXISTS p; DROP TRIGGER IF EXISTS tr; DROP FUNCTION IF EXISTS f;
INSERT INTO t (word, at) VALUES ('f\u00fcr \U0001f40e', '2024-02-29 12:00:00.5'), (NULL, NULL);
delimiter //
CREATE FUNCTION f (n INT) RETURNS INT NO SQL
BEGIN
  RETURN n * 2; -- not the end
END//
CREATE PROCEDURE p (IN n INT)
BEGIN
  SELECT id, word FROM t WHERE id <= n ORDER BY id;
  INSERT INTO t (word) VALUES (CONCAT('p', n));
  SELECT ROW_COUNT(), f(n);
END//
CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW BEGIN SET NEW.word = UPPER(NEW.word); END//
delimiter ;
CALL p(2);
CALL p(3);
LOAD DATA LOCAL INFILE '{file}' INTO TABLE t FIELDS TERMINATED BY ',' (word);
SELECT * FROM t ORDER BY id\\G
START TRANSACTION; DELETE FROM t; ROLLBACK;
SELECT COUNT(*) FROM t;
USE app2
SELECT DATABASE();
connect app
SELECT DATABASE(), @@autocommit;
SELECT CAST('12x' AS SIGNED);
SHOW WARNINGS;
SELECT REPEAT('long', 50000) AS l;
"""


@pytest.mark.parametrize("transport", ["tcp", "unix"])
def test_script(shell: str, server: Server, through: Endpoint, proxy, direct: Endpoint, tmp_path: pathlib.Path, transport: str):
    """Delimiters, routines, several results, an upload, \\G, USE, connecting again."""
    file = tmp_path / "words.csv"
    file.write_text("".join(f"word {n}\n" for n in range(1000)))
    script = SCRIPT.replace("{file}", str(file))
    endpoint = through if transport == "tcp" else Endpoint(0, through.user, through.password, "app", socket=proxy.socket)
    options = ["--local-infile=1", "--default-character-set=utf8mb4", "app"]
    seen = without_ids(run(shell, endpoint, *options, script=script))
    own = {"mysql": "mysql", "mariadb": "mariadb"}[server.flavor]
    if shell == own:
        assert seen == without_ids(run(shell, direct, *options, script=script))
    assert "word: F\u00dcR \U0001f40e" in seen.upper().replace("WORD:", "word:")
    assert "1004" in seen.splitlines()
    assert "longlong" in seen


def without_ids(text: str) -> str:
    """The shell's output without the connection ids that `connect` tells."""
    return re.sub(r"Connection id: +\d+", "Connection id: 0", text)


def test_types_are_told(shell: str, through: Endpoint):
    text = run(shell, through, "--column-type-info", "--table", "-e", "SELECT 1 AS n, 'x' AS s, NULL AS o, 1.5 AS d")
    assert "LONG" in text
    assert "VAR_STRING" in text or "VARCHAR" in text
    assert re.search(r"\| 1 \| x \| NULL \| 1.5 \|", text)


def test_status(shell: str, server: Server, through: Endpoint):
    text = run(shell, through, "app", script="status\n")
    assert server.version in text
    assert re.search(r"Current database:\s+app", text)
    assert re.search(r"SSL:\s+Not in use", text)
    assert "Uptime:" in text


def test_errors_end_the_shell(shell: str, through: Endpoint):
    text = run(shell, through, "app", script="SELECT 1;\nSELECT * FROM nosuch;\nSELECT 2;\n", fails=True)
    assert "ERROR 1146 (42S02) at line 2: Table 'app.nosuch' doesn't exist" in text


def test_errors_are_passed_over_when_told_so(shell: str, through: Endpoint):
    assert "after" in run(shell, through, "--force", "app", script="SELECT * FROM nosuch;\nSELECT 'after';\n")


def test_a_wrong_user_is_refused(shell: str, through: Endpoint):
    wrong = Endpoint(through.port, "nobody", through.password, "app")
    assert "ERROR 1045 (28000)" in run(shell, wrong, "-e", "SELECT 1", fails=True)


OBJECTS = """
CREATE TABLE parent (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(50) NOT NULL COMMENT 'it''s', UNIQUE (name))
  AUTO_INCREMENT = 7;
CREATE TABLE child (id BIGINT UNSIGNED PRIMARY KEY, parent INT, body LONGBLOB, moment DATETIME(6), amount DECIMAL(30,10),
  ratio DOUBLE, kind ENUM('a', 'b'), bits BIT(12), note TEXT CHARACTER SET latin1, FOREIGN KEY (parent) REFERENCES parent (id));
INSERT INTO parent (name) VALUES ('f\u00fcr \U0001f40e'), ('two'), ('back\\\\slash ''quote'' "double" \\n');
INSERT INTO child WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900)
  SELECT i, 7 + i % 3, UNHEX(REPEAT(LPAD(HEX(i % 256), 2, '0'), i * 3)), '2024-02-29 12:34:56.789' + INTERVAL i MINUTE,
    i / 7, i / 3, ELT(i % 2 + 1, 'a', 'b'), i, CONCAT('caf\u00e9 ', i) FROM n;
INSERT INTO child VALUES (18446744073709551615, NULL, REPEAT('\\0\\'"\\\\\\n\\r', 100000), NULL, NULL, NULL, NULL, NULL, NULL);
CREATE VIEW seen AS SELECT child.id, parent.name FROM child JOIN parent ON parent.id = child.parent;
delimiter //
CREATE TRIGGER touched BEFORE UPDATE ON child FOR EACH ROW BEGIN SET NEW.note = 'touched'; END//
CREATE PROCEDURE told (IN n INT) BEGIN SELECT n; SELECT COUNT(*) FROM child; END//
CREATE FUNCTION twice (n INT) RETURNS INT NO SQL RETURN n * 2//
delimiter ;
"""

DUMPS = {
    "mysql": ("mysqldump", "mysql", ["--no-tablespaces", "--set-gtid-purged=OFF", "--column-statistics=0"]),
    "mariadb": ("mariadb-dump", "mariadb", []),
}


@pytest.mark.parametrize("extended", [True, False], ids=["extended inserts", "a row at a time"])
def test_dump_and_restore(server: Server, through: Endpoint, direct: Endpoint, extended: bool):
    """A schema with everything, dumped and restored through Warmwire, is the same schema."""
    dump, shell, options = DUMPS[server.flavor]
    run(shell, through, "--default-character-set=utf8mb4", "app", script=OBJECTS)
    options = [*options, "--routines", "--triggers", "--single-transaction", "--hex-blob", "--skip-dump-date", "--quick"]
    options += ["--default-character-set=utf8mb4", "--skip-comments", *([] if extended else ["--skip-extended-insert"]), "app"]
    text = run(dump, through, *options)
    assert text == run(dump, direct, *options)
    assert "CREATE TABLE `child`" in text
    run(shell, through, "--default-character-set=utf8mb4", "app2", script=text)
    for statement in (
        "CHECKSUM TABLE {0}.parent, {0}.child",
        "SELECT * FROM {0}.seen ORDER BY id",
        "SHOW CREATE TABLE {0}.child",
    ):
        original, copy = (plain(server.query(statement.format(name))) for name in ("app", "app2"))
        assert original == copy
    routines = "SELECT routine_name, routine_definition FROM information_schema.routines WHERE routine_schema = '{}' ORDER BY 1"
    assert server.query(routines.format("app")) == server.query(routines.format("app2"))
    assert len(server.query(routines.format("app2"))) == 2
    triggers = "SELECT trigger_name, action_statement FROM information_schema.triggers WHERE trigger_schema = '{}'"
    assert server.query(triggers.format("app")) == server.query(triggers.format("app2"))
    assert len(server.query(triggers.format("app2"))) == 1


def plain(rows: list[tuple[object, ...]]) -> str:
    """Rows as text, without the name of their schema."""
    return repr(rows).replace("app2.", "app.")


@pytest.mark.parametrize("prepared", ["auto", "disable"])
def test_sysbench(server: Server, through: Endpoint, prepared: str):
    """Several threads that read and write, with server-side prepared statements and without."""
    options = [
        "--db-driver=mysql", "--mysql-host=127.0.0.1", f"--mysql-port={through.port}", f"--mysql-user={through.user}",
        f"--mysql-password={through.password}", "--mysql-db=app", "--tables=2", "--table-size=1000", "--threads=4",
        "--events=300", "--time=60", f"--db-ps-mode={prepared}", "--rand-seed=7",
    ]  # fmt: skip
    texts = []
    for action in ("prepare", "run"):
        done = subprocess.run(
            [find("sysbench"), "oltp_read_write", *options, action], capture_output=True, text=True, timeout=100, check=False
        )
        texts.append(done.stdout + done.stderr)
        assert done.returncode == 0, texts[-1]
    assert re.search(r"transactions: +30[0-9] ", texts[1]), texts[1]
    assert re.search(r"reconnects: +0 ", texts[1]), texts[1]
    assert server.query("SELECT COUNT(*) FROM app.sbtest1") == [(1000,)]
