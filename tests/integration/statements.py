"""The schema that conversations use, and the statements that they are made of.

``%d`` is replaced by a number below 100, ``%(lock)s`` by a lock name of the conversation's own. What a statement answers
depends on nothing but the session and a fresh ``schema()``: no clock, no randomness, no ids that the server hands out.
"""

SCHEMA = "wire"
"""The schema that ``schema()`` makes and conversations use."""

OTHER_SCHEMA = "wire_other"


def schema() -> list[str]:
    """Statements that make the schema afresh."""
    return [
        f"DROP DATABASE IF EXISTS {SCHEMA}",
        f"DROP DATABASE IF EXISTS {OTHER_SCHEMA}",
        f"CREATE DATABASE {SCHEMA} CHARACTER SET utf8mb4",
        f"CREATE DATABASE {OTHER_SCHEMA} CHARACTER SET utf8mb4",
        f"USE {SCHEMA}",
        """
        CREATE TABLE item (
          id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(40) UNIQUE, price DECIMAL(10,2), made DATETIME(6), body LONGBLOB,
          ratio DOUBLE, small TINYINT UNSIGNED, kind ENUM('a','b','c') DEFAULT 'b', note TEXT)
        """,
        """
        INSERT INTO item (name, price, made, body, ratio, small, note) VALUES
          ('one', 1.10, '2020-01-02 03:04:05.678901', X'00FF00', 0.1, 1, 'first'),
          ('two', -2.20, NULL, '', -1e300, 255, ''),
          ('three', NULL, '1999-12-31', NULL, NULL, 0, NULL),
          ('fo\u00fcr \U0001f40e', 99999999.99, '9999-12-31 23:59:59', 'x', 1e-300, 7, 'n')
        """,
        "CREATE TABLE many (seq INT PRIMARY KEY, pad VARCHAR(300))",
        """
        INSERT INTO many WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)
          SELECT i, REPEAT(CHAR(97 + i % 26), i % 300) FROM n
        """,
        "CREATE TABLE loaded (id INT PRIMARY KEY, word VARCHAR(20))",
        f"CREATE TABLE {OTHER_SCHEMA}.item (id INT PRIMARY KEY, word VARCHAR(10) DEFAULT 'other')",
        "CREATE FUNCTION doubled (n INT) RETURNS INT NO SQL RETURN n * 2",
        "CREATE FUNCTION stains (n INT) RETURNS INT NO SQL BEGIN SET @stain = n; RETURN n; END",
        """
        CREATE PROCEDURE several (IN n INT) BEGIN
          SELECT id, name FROM item WHERE id <= n ORDER BY id;
          SELECT n AS n, 'two' AS t;
          UPDATE item SET small = small WHERE id = 1;
          SELECT seq FROM many WHERE seq < 300 ORDER BY seq;
        END
        """,
        """
        CREATE PROCEDURE fails () BEGIN
          SELECT 1 AS before_it;
          SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'it failed';
        END
        """,
        "CREATE PROCEDURE gives (IN a INT, OUT b INT, INOUT c VARCHAR(20)) BEGIN SET b = a * 2; SET c = CONCAT(c, '!'); END",
        """
        CREATE PROCEDURE walks () BEGIN
          DECLARE n INT;
          DECLARE c CURSOR FOR SELECT seq FROM many ORDER BY seq;
          OPEN c;
          FETCH c INTO n;
          SELECT n AS n;
          SELECT seq, pad FROM many WHERE seq < 4 ORDER BY seq;
          CLOSE c;
        END
        """,
        """
        CREATE PROCEDURE begins () BEGIN
          START TRANSACTION;
          SET @began = 1;
          SET SESSION group_concat_max_len = 4321;
          INSERT INTO item (name) VALUES ('begun');
          INSERT INTO item (id) VALUES (1);
        END
        """,
    ]


READS = (
    "SELECT 1",
    "SELECT NULL, -1, 1.5e10, 'text', _binary X'0001FF', DATE '2020-01-02', TIME '-11:22:33.5', CAST(1.5 AS DECIMAL(5,2))",
    "SELECT * FROM item ORDER BY id",
    "SELECT id AS number, it.name FROM item AS it WHERE id > 2 ORDER BY id DESC",
    "SELECT seq, pad FROM many ORDER BY seq",
    "SELECT seq FROM many WHERE seq < 5 ORDER BY seq",
    "SELECT " + ", ".join(f"{n} AS c{n}" for n in range(300)),
    "SELECT '' AS empty, REPEAT('x', 250) AS a, REPEAT('y', 251) AS b, REPEAT('z', 70000) AS c",
    "SELECT REPEAT('\\0', 300000) AS zeros",
    "SELECT 1 FROM item WHERE id = -1",
    "SELECT doubled(21), stains(3)",
    "SELECT @stain",
    "SELECT @a, @b, @@sql_mode, @@autocommit, @@time_zone",
    "SELECT DATABASE(), CURRENT_USER()",
    "SELECT LAST_INSERT_ID()",
    "SELECT @@warning_count, @@error_count",
    "SELECT COUNT(*), SUM(id), MAX(name) FROM item",
    "SELECT GROUP_CONCAT(seq ORDER BY seq) AS g FROM many WHERE seq <= 100",
    "SELECT word FROM loaded ORDER BY id",
    "SELECT /* a comment */ 'it''s', \"double\" -- the end",
    "/*!50000 SELECT 'version' AS comment */",
    "SELECT id FROM item WHERE id = 1 FOR UPDATE",
    "SELECT CHARSET('x'), COLLATION('x'), HEX('\u00e4\u20ac'), LENGTH('\U0001f40e')",
    "SELECT name FROM item WHERE id = 4",
    "SELECT @@character_set_client, @@character_set_results, @@collation_connection",
    "SHOW TABLES",
    "SHOW FULL COLUMNS FROM item",
    "SHOW CREATE TABLE many",
    "SHOW CREATE PROCEDURE fails",
    "SHOW WARNINGS",
    "SHOW COUNT(*) WARNINGS",
    "SHOW ERRORS",
    "SHOW SESSION VARIABLES LIKE 'character_set%'",
    "SHOW SESSION VARIABLES LIKE 'collation%'",
    "DESCRIBE item",
    "CHECKSUM TABLE many",
    "SELECT 1 UNION SELECT 2 UNION ALL SELECT 3",
    "SELECT 'a\\'b', 'c''d'",
    "SELECT COUNT( *) FROM item",
    "SELECT COUNT (*) FROM item",
)

ERRORS = (
    "SELEC 1",
    "",
    ";",
    "-- nothing",
    "SELECT * FROM nosuch",
    "SELECT nosuch FROM item",
    "SELECT nosuch()",
    "SELECT * FROM nosuch.item",
    "USE nosuch",
    "SELECT seq, IF(seq = 300, (SELECT 1 UNION SELECT 2), 0) AS boom FROM many ORDER BY seq",
    "SELECT seq, EXP(seq * 4) AS boom FROM many ORDER BY seq",
    "SIGNAL SQLSTATE '45001' SET MESSAGE_TEXT = 'by hand', MYSQL_ERRNO = 5555",
    "INSERT INTO item (id) VALUES (1)",
    "INSERT INTO item (name) VALUES ('one')",
    "INSERT INTO item (name) VALUES (REPEAT('x', 41))",
    "SET nosuch = 1",
    "SET GLOBAL max_connections = 10",
    "SET autocommit = 'maybe'",
    "SET NAMES nosuch",
    "SET NAMES ucs2",
    "DROP TABLE nosuch",
    "KILL 4294967",
    "CALL nosuch()",
    "CALL several()",
    "EXECUTE nosuch",
    "ROLLBACK TO nosuch",
    "SELECT 1/0",
    "SELECT CAST('12abc' AS SIGNED)",
    "SHUTDOWN NOW",
    "LOAD DATA LOCAL INFILE 'x' INTO TABLE nosuch",
    "SELECT 1; SELECT 2",
    "SELECT id, name FROM item PROCEDURE ANALYSE()",
)

WRITES = (
    "INSERT INTO item (name, price) VALUES ('n%d', %d)",
    "INSERT INTO item (name) VALUES ('m%d'), ('k%d')",
    "INSERT INTO item (id, name) VALUES (%d + 1000, 'explicit')",
    "INSERT IGNORE INTO item (id, small) VALUES (1, 1), (2, %d)",
    "INSERT INTO item (id, name) VALUES (1, 'x') ON DUPLICATE KEY UPDATE small = %d %% 200",
    "UPDATE item SET small = 1 WHERE id = 1",
    "UPDATE item SET small = %d %% 256, note = 'n' WHERE id < 4",
    "UPDATE IGNORE item SET small = 300 WHERE id = 2",
    "DELETE FROM item WHERE id = %d %% 7",
    "REPLACE INTO item (id, name) VALUES (2, 'replaced')",
    "TRUNCATE TABLE loaded",
    "ALTER TABLE loaded ADD COLUMN more%d INT",
    "CREATE TEMPORARY TABLE tmp (n INT)",
    "INSERT INTO tmp VALUES (%d)",
    "SELECT * FROM tmp",
    "DROP TEMPORARY TABLE IF EXISTS tmp",
    "CREATE TABLE item (id INT)",
    "CREATE TABLE IF NOT EXISTS item (id INT)",
    "INSERT INTO many SELECT seq + 1000, pad FROM many WHERE seq < 10",
)

SESSION = (
    "SET @a = %d, @b = 'text'",
    "SELECT @a := %d",
    "SELECT id INTO @b FROM item WHERE id = 1",
    "SET NAMES latin1",
    "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
    "SET NAMES utf8mb4",
    "SET NAMES cp1251",
    "SET NAMES binary",
    "SET CHARACTER SET utf8mb4",
    "SET character_set_results = NULL",
    "SET character_set_results = latin1",
    "SET collation_connection = utf8mb4_unicode_ci",
    "SET sql_mode = ''",
    "SET sql_mode = 'ANSI_QUOTES,STRICT_ALL_TABLES'",
    "SET sql_mode = 'NO_BACKSLASH_ESCAPES'",
    "SET sql_mode = CONCAT(@@sql_mode, ',PIPES_AS_CONCAT')",
    "SET autocommit = 0",
    "SET autocommit = 1",
    "SET time_zone = '+05:30'",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET SESSION TRANSACTION READ ONLY",
    "SET SESSION TRANSACTION READ WRITE",
    "SET SESSION group_concat_max_len = 1%d",
    "SET SESSION sort_buffer_size = 400000, lc_time_names = 'de_DE'",
    "SET foreign_key_checks = 0, unique_checks = 0",
    "SET SESSION wait_timeout = 1%d",
    "SET last_insert_id = %d",
    "SET SESSION sql_safe_updates = 1",
    "SET SESSION sql_select_limit = 3",
    "SET SESSION max_sort_length = 10%d",
    "USE wire_other",
    "USE wire",
    "SELECT * FROM item ORDER BY id LIMIT 2",
    "PREPARE s FROM 'SELECT ?, @a'",
    "EXECUTE s USING @a",
    "DEALLOCATE PREPARE s",
    "DO GET_LOCK('%(lock)s', 10)",
    "SELECT GET_LOCK('%(lock)s', 10) AS got, IS_FREE_LOCK('%(lock)s') AS free",
    "SELECT RELEASE_LOCK('%(lock)s') AS released",
    "SELECT RELEASE_ALL_LOCKS() AS released",
    "LOCK TABLES item WRITE, many READ",
    "UNLOCK TABLES",
    "HANDLER item OPEN",
    "HANDLER item READ FIRST",
    "HANDLER item CLOSE",
)

TRANSACTIONS = (
    "BEGIN",
    "START TRANSACTION READ ONLY",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT",
    "COMMIT",
    "COMMIT AND CHAIN",
    "ROLLBACK",
    "SAVEPOINT sp",
    "ROLLBACK TO sp",
    "RELEASE SAVEPOINT sp",
    "XA START 'xa%d'",
    "XA END 'xa%d'",
    "XA ROLLBACK 'xa%d'",
)

CALLS = (
    "CALL several(2)",
    "CALL several(%d)",
    "CALL fails()",
    "CALL gives(%d, @a, @b)",
    "CALL begins()",
    "CALL walks()",
)

MULTIPLE = (
    "SELECT SQL_CALC_FOUND_ROWS seq FROM many ORDER BY seq LIMIT 2;SELECT FOUND_ROWS()",
    "UPDATE item SET small = 9 WHERE id = 3;SELECT ROW_COUNT()",
    "SET timestamp = 1600000000;SELECT NOW(), UTC_TIMESTAMP();SET timestamp = DEFAULT",
    "SET @a = 1;SELECT @a;SET @a = NULL",
    "INSERT INTO item (name) VALUES ('late');SELECT LAST_INSERT_ID()",
    "SELECT 1;SELECT * FROM nosuch;SELECT 3",
    "SELECT 1;CALL several(1);SELECT 2",
    "DO 1;DO 2;SELECT seq FROM many WHERE seq < 270 ORDER BY seq;DO 3",
    "SELECT 1;",
    "USE wire_other;USE wire",
    "START TRANSACTION;UPDATE item SET small = 5;SELEC",
)

OWN = {
    "mariadb": (
        "SET STATEMENT sort_buffer_size = 500000 FOR SELECT @@sort_buffer_size",
        "BEGIN NOT ATOMIC SELECT 1; SELECT 2; END",
        "SELECT seq FROM seq_1_to_300",
        "INSERT INTO item (name) VALUES ('r%d') RETURNING id, name",
        "SELECT @@tx_isolation, @@tx_read_only",
        "SET SESSION max_statement_time = 20",
        "SET ROLE nosuch",
        "SELECT VALUE(1)",
    ),
    "mysql": (
        "SELECT /*+ SET_VAR(sort_buffer_size = 500000) */ @@sort_buffer_size",
        "SELECT JSON_OBJECT('a', 1, 'b', JSON_ARRAY(1, 2)) AS j",
        "VALUES ROW(1, 2), ROW(3, 4)",
        "TABLE loaded ORDER BY id",
        "SELECT @@transaction_isolation, @@transaction_read_only",
        "SET SESSION max_execution_time = 20000",
        "SET ROLE ALL",
        "SELECT COUNT(*) FROM item WHERE id IN (SELECT id FROM item)",
    ),
}
"""Statements that only one of the servers knows."""

PREPARABLE = (
    ("SELECT ?, ?, ? AS third", 3),
    ("SELECT * FROM item WHERE id > ? ORDER BY id", 1),
    ("SELECT id, name FROM item WHERE name LIKE ? OR price > ? ORDER BY id", 2),
    ("INSERT INTO item (name, price, made, body, ratio, note) VALUES (?, ?, ?, ?, ?, ?)", 6),
    ("UPDATE item SET body = ? WHERE id = ?", 2),
    ("SELECT LENGTH(?), MD5(?)", 2),
    ("DELETE FROM item WHERE id = ?", 1),
    ("CALL several(?)", 1),
    ("CALL fails()", 0),
    ("CALL gives(?, @a, @b)", 1),
    ("CALL gives(?, ?, ?)", 3),
    ("CALL walks()", 0),
    ("SELECT seq, pad FROM many ORDER BY seq", 0),
    ("SELECT seq FROM many WHERE seq < ? ORDER BY seq", 1),
    ("SELECT 1", 0),
    ("SET @a = ?", 1),
    ("SET NAMES latin1", 0),
    ("DO 1", 0),
    ("SHOW TABLES", 0),
    ("INSERT INTO item (id) VALUES (1)", 0),
    ("COMMIT", 0),
    ("BEGIN", 0),
    ("SELECT " + ", ".join("?" * 40), 40),
)
"""Statements to prepare and how many parameters they have."""

UNPREPARABLE = (
    ("SELECT * FROM nosuch", 0),
    ("SELECT nosuch FROM item WHERE id = ?", 1),
    ("SELEC ?", 1),
    ("", 0),
    ("SELECT 1; SELECT 2", 0),
    ("USE wire", 0),
    ("LOAD DATA LOCAL INFILE 'x' INTO TABLE loaded", 0),
)
"""The same for statements that the servers refuse to prepare, mostly."""
