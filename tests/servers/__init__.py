"""Real MySQL and MariaDB servers, private to the process that starts them.

    with Server.start("mysql", ["--max-connections=5"]) as server:
        server.query("SELECT 1")        # as root
        connect(server.url())           # as `app`, to the database `app`

`python -m tests.servers.provision` fetches what is missing. Nothing here installs anything by itself.
Needs the standard library and PyMySQL only, so that the demo and the benchmarks can use it as well.
"""

from tests.servers.programs import FLAVORS, program
from tests.servers.server import Server, ServerError, find

__all__ = ["FLAVORS", "Server", "ServerError", "find", "program", "start"]

start = Server.start
