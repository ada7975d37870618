"""A Lambda function that counts its visits in MySQL, with a stock driver that is pointed at 127.0.0.1.

It connects anew at every invocation, as if that cost nothing. Through Warmwire it does: the connection to the database is
there already, and its CONNECTION_ID() stays the same from one invocation to the next.

Environment: DB_USER and DB_NAME. DB_HOST (127.0.0.1), DB_PORT (3306), DB_PASSWORD (none) and DB_TLS_CA (no TLS) describe
Warmwire and need not be set; set to what describes the database itself, they let the same handler go there directly.
"""

import contextlib
import os
import ssl
import time

import pymysql

certificates = os.environ.get("DB_TLS_CA")
DATABASE = {
    "host": os.environ.get("DB_HOST", "127.0.0.1"),
    "port": int(os.environ.get("DB_PORT", "3306")),
    "user": os.environ["DB_USER"],
    "password": os.environ.get("DB_PASSWORD", ""),
    "database": os.environ["DB_NAME"],
    "connect_timeout": 10,
    # A connection to Warmwire never leaves the execution environment; Warmwire encrypts the one that does.
    "ssl_disabled": certificates is None,
    "ssl": ssl.create_default_context(cafile=certificates) if certificates else None,
}

CREATE = "CREATE TABLE IF NOT EXISTS visits (id INT AUTO_INCREMENT PRIMARY KEY, request_id VARCHAR(64) NOT NULL)"

# A connection whose transaction nobody ended, see `forget` below: it lives until the next invocation begins.
forgotten: pymysql.Connection | None = None
table_exists = False


def handler(event, context):
    """Record one visit and say how that went.

    Args:
        event: With {"forget": true} the visit is neither committed nor the connection closed, the way a handler with a
            bug leaves them behind: an exception's traceback or an ORM's session still refers to the connection.
        context: Lambda's; its request id is what is recorded.

    Returns:
        connection_id: CONNECTION_ID() as the database sees it. visits: how many are committed, plus this one.
        connect_ms: milliseconds that `pymysql.connect` took.
    """
    global forgotten, table_exists
    forgotten = None
    began = time.perf_counter()
    connection = pymysql.connect(**DATABASE)
    connect_ms = (time.perf_counter() - began) * 1000
    with contextlib.ExitStack() as at_the_end, connection.cursor() as cursor:
        if not event.get("forget"):
            at_the_end.callback(connection.close)
        if not table_exists:
            cursor.execute(CREATE)
            table_exists = True
        cursor.execute("INSERT INTO visits (request_id) VALUES (%s)", (context.aws_request_id,))
        cursor.execute("SELECT CONNECTION_ID(), COUNT(*) FROM visits")
        connection_id, visits = cursor.fetchone()
        if event.get("forget"):
            forgotten = connection
        else:
            connection.commit()
    return {"connection_id": connection_id, "visits": visits, "connect_ms": round(connect_ms, 3)}
