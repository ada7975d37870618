"""Debian packages without installing them: apt resolves and fetches, the files go to a folder of their own.

Needs no root and starts no service. The programs run through the C library of the same suite, so that those of a newer
one (MySQL 9 is in Debian's unstable only) run on an older system. apt does it from a state of its own, in which nothing
is installed yet, and with the machine's own settings: mirror, proxy, certificates, keys.
"""

import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

_KEYRINGS = tuple(f"/usr/share/keyrings/debian-archive-keyring.{ending}" for ending in ("pgp", "gpg"))
# Not needed to run a program.
_LEFT_OUT = ("./usr/share/doc", "./usr/share/man", "./usr/share/locale", "./usr/include", "./usr/share/lintian")
_NOT_UNPACKED = ("perl", "libperl", "debconf")

_WRAPPER = """#!/bin/sh
home="${{0%/*}}/.."
root="$home/root"
export OPENSSL_CONF=/dev/null OPENSSL_MODULES="$root/{library}/ossl-modules"
export MARIADB_PLUGIN_DIR="$root/{library}/libmariadb3/plugin"
{settings}exec "$root/{loader}" --library-path "{libraries}" "$root/{program}" {arguments}"$@"
"""


class PackageError(Exception):
    """apt could not do it; the text is what it said."""


@dataclass(frozen=True)
class Tree:
    """Packages to unpack together, and the programs wanted from them.

    `libraries` (folders below the tree's root), `settings` (lines of shell) and `arguments` are for programs that do not
    find their own parts where they were not installed; `$root` is the folder with usr/.
    """

    name: str
    packages: tuple[str, ...]
    programs: tuple[str, ...]
    suites: tuple[str, ...] = ("",)  # where to look, in order; "" is what the machine itself is set up for
    libraries: tuple[str, ...] = ()
    settings: str = ""
    arguments: str = ""


def usable() -> bool:
    """Whether this is a machine with apt."""
    return all(shutil.which(name) for name in ("apt-get", "apt-cache", "dpkg-deb", "tar"))


class Apt:
    """apt with a state of its own in `directory`, for one suite."""

    def __init__(self, directory: Path, suite: str = "", site: str = "") -> None:
        for name in ("state/lists/partial", "cache/archives/partial"):
            (directory / name).mkdir(parents=True)
        (directory / "status").touch()
        self.archives = directory / "cache/archives"
        self._options = [
            f"Dir::State={directory}/state", f"Dir::State::status={directory}/status", f"Dir::Cache={directory}/cache",
            "APT::Install-Recommends=false", "APT::Sandbox::User=root", "Acquire::Languages=none",
            "Acquire::Retries=2", "Acquire::http::Timeout=60", "Acquire::https::Timeout=60",
        ]  # fmt: skip
        if suite:
            keyring = next((path for path in _KEYRINGS if Path(path).exists()), None)
            source = directory / "sources.list"
            source.write_text(f"deb {f'[signed-by={keyring}] ' if keyring else ''}{site} {suite} main\n")
            self._options += [
                f"Dir::Etc::sourcelist={source}", "Dir::Etc::sourceparts=/dev/null",
                "Dir::Etc::preferences=/dev/null", "Dir::Etc::preferencesparts=/dev/null",
                # A mirror that stands still for a while is good enough here; the signature is checked all the same.
                "Acquire::Check-Valid-Until=false",
            ]  # fmt: skip
        # Its exit code is not asked: a foreign source of the machine that fails does not matter, a missing package does.
        self.warnings = self._run("apt-get", "update").stderr.strip()

    def names(self, prefix: str) -> list[str]:
        """The packages whose names begin so."""
        return self._run("apt-cache", "pkgnames", prefix).stdout.split()

    def debian_mirrors(self) -> list[str]:
        """The addresses in the machine's sources that carry Debian itself."""
        lines = self._run("apt-get", "indextargets", "--format", "$(LABEL) $(SITE)", "Identifier: Packages").stdout
        pairs = [line.split(" ", 1) for line in lines.splitlines()]
        return [site for label, site in pairs if label == "Debian"]

    def fetch(self, packages: list[str]) -> list[Path]:
        """The .deb files of these packages and of all they depend on."""
        done = self._run("apt-get", "install", "--yes", "--download-only", *packages)
        if done.returncode != 0:
            raise PackageError(f"apt-get install {' '.join(packages)}: {self.warnings}\n{done.stderr.strip()}")
        return sorted(self.archives.glob("*.deb"))

    def clean(self) -> None:
        """Forget the .deb files fetched so far."""
        self._run("apt-get", "clean")

    def _run(self, command: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        options = [part for option in self._options for part in ("-o", option)]
        return subprocess.run(
            [command, *options, *arguments], capture_output=True, text=True, timeout=900, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip


class Archive:
    """The suites of one provisioning run; each is asked for its lists once."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._suites: dict[str, Apt] = {}

    def suite(self, name: str) -> Apt:
        """The machine's own suite ("") or another of the same mirror."""
        if name not in self._suites:
            site = ""
            if name:
                mirrors = self.suite("").debian_mirrors()
                if not mirrors:
                    raise PackageError(
                        f"the machine's apt sources name no Debian mirror to ask for {name!r}. {self.suite('').warnings}"
                    )
                site = mirrors[0]
            self._suites[name] = Apt(self._scratch / f"suite-{name or 'own'}", name, site)
        return self._suites[name]

    def unpack(self, tree: Tree, directory: Path) -> None:
        """Fetch `tree` from the first suite that has it and put it at `directory`, whole or not at all."""
        for suite in tree.suites:
            apt = self.suite(suite)
            packages = [_exact(apt, package) for package in tree.packages]
            if all(packages):
                break
        else:
            raise PackageError(f"no {' and '.join(tree.packages)} in this machine's apt sources. {apt.warnings}")
        partial = self._scratch / tree.name
        shutil.rmtree(partial, ignore_errors=True)
        root = partial / "root"
        # Old suites still ship files in /lib; merge them, as an installed system does.
        for name in ("lib", "lib64", "bin", "sbin"):
            (root / "usr" / name).mkdir(parents=True)
            (root / name).symlink_to(f"usr/{name}")
        for package in apt.fetch(packages):
            if not package.name.startswith(_NOT_UNPACKED):
                _extract(package, root)
        apt.clean()
        _wrap(tree, partial)
        directory.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(directory, ignore_errors=True)
        partial.rename(directory)


def _exact(apt: Apt, package: str) -> str:
    """The package of that name, or its newest versioned one (mysql-server-core-8.0 in Ubuntu)."""
    names = apt.names(package)
    versioned = [name for name in names if name.removeprefix(package).lstrip("-").replace(".", "").isdigit()]
    return package if package in names else max(versioned, default="")


def _extract(package: Path, root: Path) -> None:
    stream = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE)
    left_out = [f"--exclude={path}" for path in _LEFT_OUT]
    done = subprocess.run(
        ["tar", "-x", "--no-same-owner", "--keep-directory-symlink", *left_out, "-C", str(root)],
        stdin=stream.stdout, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    if stream.stdout is not None:
        stream.stdout.close()
    if stream.wait() != 0 or done.returncode != 0:
        raise PackageError(f"{package.name} could not be unpacked: {done.stderr.strip()}")


def _wrap(tree: Tree, directory: Path) -> None:
    """bin/ with a small script for each program, and share/ and lib/ beside it as the programs expect them."""
    root = directory / "root"
    library = next((path.parent for path in sorted(root.glob("usr/lib/*/libc.so.6"))), None)
    loader = next((path for path in sorted(root.glob("usr/lib/*/ld-linux*.so.*")) if not path.is_symlink()), None)
    if library is None or loader is None:
        raise PackageError(f"the packages of {tree.name} brought no C library")
    libraries = [str(library.relative_to(root)), *tree.libraries]
    (directory / "bin").mkdir()
    (directory / "sbin").symlink_to("bin")
    (directory / "share").symlink_to("root/usr/share")
    (directory / "lib").symlink_to("root/usr/lib")
    used = set()
    for name in tree.programs:
        found = next((path for path in (root / "usr/sbin" / name, root / "usr/bin" / name) if path.exists()), None)
        if found is None:
            raise PackageError(f"the packages of {tree.name} brought no {name}")
        used |= {found, found.resolve()}
        script = directory / "bin" / name
        if found.read_bytes()[:2] == b"#!":
            script.symlink_to(f"../{found.relative_to(directory)}")
            continue
        script.write_text(
            _WRAPPER.format(
                library=libraries[0],
                libraries=":".join(f"$root/{path}" for path in libraries),
                loader=loader.relative_to(root),
                program=found.relative_to(root),
                settings=f"{tree.settings}\n" if tree.settings else "",
                arguments=f"{tree.arguments} " if tree.arguments else "",
            )
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    # A third of the bytes: programs that nobody asked for.
    for path in [*(root / "usr/bin").iterdir(), *(root / "usr/sbin").iterdir()]:
        if path not in used and not path.is_dir():
            path.unlink()
