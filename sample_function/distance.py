"""A network in front of the demo's database: a TCP relay on 127.0.0.1 that holds every byte back for a while.

A database on the same machine answers in no time, one in a VPC does not. Only the bytes are held back, not the opening of
a connection, so connecting through this is quicker than over a real network of the same delay.
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future

CHUNK = 65536


class Distance:
    """The relay. It runs on a thread of its own, see `at`."""

    def __init__(self, host: str, port: int, seconds: float) -> None:
        self._there = host, port
        self._seconds = seconds
        self._stopped = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._clients: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def serve(self, listening: "Future[Distance]") -> None:
        """Relay until `stop`. The result of `listening` is this relay, once its port is known."""
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        listening.set_result(self)
        await self._stopped.wait()
        server.close()
        for client in self._clients:
            client.close()

    def stop(self) -> None:
        """End it, from any thread."""
        self._loop.call_soon_threadsafe(self._stopped.set)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        try:
            there_reader, there_writer = await asyncio.open_connection(*self._there)
        except OSError:
            writer.close()
        else:
            await asyncio.gather(self._carry(reader, there_writer), self._carry(there_reader, writer))
        finally:
            self._clients.discard(writer)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one direction, its end included; a chunk does not wait for the one before it to arrive."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        arriving = asyncio.ensure_future(self._arrive(under_way, writer))
        data = b"more"
        while data:
            try:
                data = await reader.read(CHUNK)
            except ConnectionError:
                data = b""
            under_way.put_nowait((self._loop.time() + self._seconds, data))
        await arriving

    async def _arrive(self, under_way: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter) -> None:
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(due - self._loop.time())
            if not data:
                writer.close()
                return
            writer.write(data)


@contextlib.contextmanager
def at(host: str, port: int, seconds: float) -> Iterator[int]:
    """Put a server `seconds` away, each way, and give the port of 127.0.0.1 where it is to be found."""
    listening: Future[Distance] = Future()

    async def serve() -> None:
        await Distance(host, port, seconds).serve(listening)

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="distance")
    thread.start()
    distance = listening.result()
    try:
        yield distance.port
    finally:
        distance.stop()
        thread.join()
