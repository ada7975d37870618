"""What the start and the service may cost: modules, and memory. Time is measured by benchmarks/, not here."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.mysqld import Mysqld
from tests.servers.local import free_port

EXTENSION = Path(__file__).parents[2] / "extension"
HEAVY = {"boto3", "botocore", "requests", "urllib3", "sqlglot", "cryptography", "pymysql", "mysql_mimic", "argparse"}
"""Never before /register: the function's own start waits for it."""
NEVER = HEAVY - {"urllib3", "pymysql", "mysql_mimic", "argparse"}
REGISTERING_MODULES = 20
"""At most so many modules more than those that asyncio and http.client need themselves."""
REGISTERING_MIB = 28
SERVING_MIB = 32
"""Resident memory, measured by the kernel; the interpreter itself is two thirds of it."""

START = f"""
import json, os, sys
sys.path[:0] = [{str(EXTENSION)!r}, *{[path for path in sys.path if path.endswith("site-packages")]!r}]

def cost():
    with open("/proc/self/status") as file:
        status = dict(line.split(":", 1) for line in file)
    return json.dumps({{"modules": sorted(sys.modules), "mib": int(status["VmRSS"].split()[0]) / 1024}})

from warmwire import cli
from warmwire.lambda_api.extensions import ExtensionsApi
"""

REGISTER = """
def register(self, events):
    print(cost(), flush=True)
    os._exit(0)

ExtensionsApi.register = register
cli.main(["run"])
"""

SERVE = """
import socket

def converse(api):
    # A blocking client of a few lines: one connection after the other, each with a few queries.
    def read(stream):
        header = stream.read(4)
        return stream.read(int.from_bytes(header[:3], "little"))
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", int(os.environ["WARMWIRE_PORT"]))) as wire, wire.makefile("rb") as stream:
            greeting = read(stream)
            assert greeting[0] == 10, greeting
            login = (0x000AA205).to_bytes(4, "little") + bytes(4) + b"\\x2d" + bytes(23)
            login += b"app\\0\\x00mysql_native_password\\0"
            wire.sendall(len(login).to_bytes(3, "little") + b"\\x01" + login)
            assert read(stream)[0] == 0
            for _ in range(50):
                wire.sendall(b"\\x05\\x00\\x00\\x00\\x03DO 0")
                assert read(stream)[0] == 0
            wire.sendall(b"\\x01\\x00\\x00\\x00\\x01")
    print(cost(), flush=True)
    return {"eventType": "SHUTDOWN", "shutdownReason": "spindown"}

ExtensionsApi.register = lambda self, events: {}
ExtensionsApi.subscribe = lambda self, uri: True
ExtensionsApi.next_event = converse
sys.exit(cli.main(["run"]))
"""


def environment(**settings):
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("WARMWIRE_", "AWS_", "PYTHON"))}
    chosen = {
        "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9", "WARMWIRE_DB_HOST": "127.0.0.1", "WARMWIRE_DB_USER": "app",
        "WARMWIRE_PORT": str(free_port()), "WARMWIRE_SOCKET": "", **settings,
    }  # fmt: skip
    return {**inherited, **chosen}


def loaded(names):
    return {name.partition(".")[0] for name in names}


@pytest.fixture(scope="module")
def registering():
    """What is loaded, and how much memory used, at the moment of registering."""
    found = subprocess.run(
        [sys.executable, "-I", "-c", START + REGISTER], env=environment(), capture_output=True, text=True, timeout=30
    )
    assert found.stderr == ""
    return json.loads(found.stdout)


def test_before_registering_nothing_heavy_is_loaded(registering):
    assert "warmwire.app" in registering["modules"]
    assert not loaded(registering["modules"]) & HEAVY


def test_before_registering_only_the_light_modules_of_our_own_are_loaded(registering):
    ours = {name for name in registering["modules"] if name.startswith("warmwire.")}
    assert not {name for name in ours if name.startswith(("warmwire.pool", "warmwire.protocol", "warmwire.upstream"))}
    assert not ours & {"warmwire.relay.client", "warmwire.relay.listener", "warmwire.lambda_api.telemetry"}


def test_before_registering_few_modules_are_loaded_beyond_asyncio_and_http(registering):
    code = "import asyncio, http.client, json, logging, sys; print(json.dumps(sorted(sys.modules)))"
    plain = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=30)
    more = set(registering["modules"]) - set(json.loads(plain.stdout))
    assert len(more) <= REGISTERING_MODULES, sorted(more)


def test_before_registering_memory_is_little_more_than_the_interpreters(registering):
    assert 0 < registering["mib"] <= REGISTERING_MIB


async def test_after_serving_no_library_is_loaded_that_is_not_needed_and_memory_is_within_bounds():
    async with Mysqld().serving() as mysqld:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-c", START + SERVE,
            env=environment(WARMWIRE_DB_PORT=str(mysqld.port), WARMWIRE_DB_TLS="disabled", WARMWIRE_LOG_LEVEL="error"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(30):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert (process.returncode, err.decode()) == (0, ""), out.decode()
        found = json.loads(out)
        assert "warmwire.relay.client" in found["modules"]
        assert not loaded(found["modules"]) & NEVER
        assert 0 < found["mib"] <= SERVING_MIB
        assert [session.has_quit for session in mysqld.sessions] == [True]
