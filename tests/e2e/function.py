"""The function of the end-to-end tests: does what the event says, with PyMySQL pointed at 127.0.0.1.

Copied into a folder of its own and run by awslambdaric, so it imports nothing of the tests.
"""

import os
import threading
import time

import pymysql

kept = []
"""Connections that outlive their invocation, as a handler with a bug or a pool of its own leaves them."""


def connect(**options):
    where = {"unix_socket": options.pop("socket")} if "socket" in options else {"host": "127.0.0.1"}
    return pymysql.connect(**where, port=int(os.environ["WARMWIRE_PORT"]), user="app", database="app", **options)


def query(connection, sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def connection_id(**options):
    connection = connect(**options)
    [(number,)] = query(connection, "SELECT CONNECTION_ID()")
    connection.close()
    return number


def several(count):
    connections = [connect() for _ in range(count)]
    numbers = [query(connection, "SELECT CONNECTION_ID()")[0][0] for connection in connections]
    for connection in connections:
        connection.close()
    return numbers


def keep(sql):
    connection = connect()
    kept.append(connection)
    for statement in sql:
        query(connection, statement)


def keep_and_hang(sql):
    keep(sql)
    time.sleep(60)


def keep_and_raise(sql):
    keep(sql)
    raise ValueError("the handler has a bug")


def keep_running(sql, endless):
    """Leave a statement running behind the handler's back."""
    keep(sql)
    threading.Thread(target=query, args=(kept[-1], endless), daemon=True).start()
    time.sleep(0.2)


def use_kept(sql):
    return query(kept[-1], sql)


def error_of(doing, *arguments):
    began = time.monotonic()
    try:
        doing(*arguments)
    except pymysql.MySQLError as error:
        return {"errno": error.args[0], "text": error.args[1], "seconds": time.monotonic() - began}
    return None


def exit_within(sql):
    keep(sql)
    os._exit(1)


if os.environ.get("CONNECT_AT_INIT"):
    print("connected during Init as", connection_id(), flush=True)

ACTIONS = {
    "connection_id": connection_id,
    "several": several,
    "keep": keep,
    "keep_and_hang": keep_and_hang,
    "keep_running": keep_running,
    "keep_and_raise": keep_and_raise,
    "use_kept": use_kept,
    "exit_within": exit_within,
    "error_of_connect": lambda: error_of(connect),
    "error_of_use": lambda sql: error_of(use_kept, sql),
}


def handler(event, context):
    return ACTIONS[event["do"]](*event.get("with", []), **event.get("options", {}))
