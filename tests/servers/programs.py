"""Where the programs are: unpacked in the cache by `provision`, or installed on this machine."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

FLAVORS = ("mariadb", "mysql")
REPOSITORY = Path(__file__).resolve().parents[2]
# What the tests rely on: session tracking, caching_sha2_password on MySQL, TLS with SAN on both.
OLDEST = {"mariadb": (10, 5), "mysql": (8, 0)}
# Besides PATH: where systems put daemons that ordinary users are not meant to run.
SEARCHED = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/libexec"]
_DAEMONS = {"mariadb": ("mariadbd", "mysqld"), "mysql": ("mysqld",)}


def cache() -> Path:
    """The folder that keeps what was fetched or prepared; `WARMWIRE_CACHE` moves it out of the repository."""
    moved = os.environ.get("WARMWIRE_CACHE")
    return (Path(moved).resolve() if moved else REPOSITORY / ".cache") / "servers"


def program(name: str) -> str | None:
    """The path of a program, or None. What `provision` unpacked comes first: it did so because it was needed.

    On Debian `mysql` and `mysqldump` are MariaDB's under another name; those are not taken for MySQL's.
    """
    for candidate in sorted(cache().glob(f"trees/*/bin/{name}")):
        return str(candidate)
    found = _installed(name)
    if found and name.startswith("mysql") and "MariaDB" in version_text(found):
        return None
    return found


def version_text(path: str) -> str:
    """What `<program> --version` prints."""
    done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, check=False)
    return done.stdout + done.stderr


@dataclass(frozen=True)
class Daemon:
    """A server program that can be started."""

    flavor: str
    path: str
    version: str  # as in "9.7.4" or "10.11.19"

    @property
    def home(self) -> Path:
        """The folder that has bin/, share/ and lib/ of this program (`basedir` in the manuals)."""
        return self.tree or Path(self.path).resolve().parent.parent

    @property
    def tree(self) -> Path | None:
        """The unpacked tree it belongs to; None for a program installed on the machine."""
        parent = Path(self.path).parent.parent
        return parent if parent.parent == cache() / "trees" else None

    @property
    def arguments(self) -> list[str]:
        """How to find its own files; a program installed on the machine knows."""
        if self.tree is None:
            return []
        share = self.home / "share/mysql"
        return [
            f"--basedir={self.home}",
            f"--lc-messages-dir={share}",
            f"--character-sets-dir={share}/charsets",
            f"--plugin-dir={self.home}/lib/mysql/plugin",
        ]


def daemon(flavor: str) -> Daemon | None:
    """The server program of this flavor, new enough for the tests, or None."""
    for name in _DAEMONS[flavor]:
        for path in _candidates(flavor, name):
            text = version_text(path)
            found = re.search(r"Ver (\d+)\.(\d+)\.(\d+)", text)
            if found is None or ("MariaDB" in text) != (flavor == "mariadb"):
                continue
            version = tuple(int(part) for part in found.groups())
            if version >= OLDEST[flavor]:
                return Daemon(flavor, path, ".".join(found.groups()))
    return None


def _candidates(flavor: str, name: str) -> list[str]:
    unpacked = cache() / "trees" / flavor / "bin" / name
    return [path for path in (str(unpacked) if unpacked.exists() else None, _installed(name)) if path]


def _installed(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *SEARCHED]))


def docker() -> str | None:
    """The `docker` command if its daemon answers, else None."""
    found = shutil.which("docker")
    if found is None:
        return None
    try:
        done = subprocess.run([found, "info"], capture_output=True, timeout=15, check=False)
    except subprocess.TimeoutExpired:
        return None
    return found if done.returncode == 0 else None
