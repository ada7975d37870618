"""Loads the parts that Warmwire uses of mysql-mimic and PyMySQL, without the rest of those packages.

``import mysql_mimic`` runs sqlglot (27 MB, 120 ms) and ``import pymysql._auth`` runs its whole driver and, where it is
installed, cryptography (50 ms). The modules used here need neither: the package's own ``__init__`` is passed over by
putting a bare package in its place while the module is imported. Afterwards ``sys.modules`` is as it was, so the same
process can still import the whole package. Figures: docs/adr/0001-runtime-dependencies.md.
"""

import functools
import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

from warmwire.errors import WarmwireError


def _load(package: str, module: str, stand_ins: dict[str, ModuleType | None]) -> Any:
    whole = f"{package}.{module}"
    if whole in sys.modules:
        return sys.modules[whole]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise WarmwireError(f"the package {package} is missing from this installation")
    bare = ModuleType(package)
    bare.__path__ = list(spec.submodule_search_locations)
    before = dict(sys.modules)
    try:
        sys.modules[package] = bare
        sys.modules.update(stand_ins)  # type: ignore[arg-type]  # None in sys.modules blocks an import
        return importlib.import_module(whole)
    finally:
        for name in [name for name in sys.modules if name == package or name.startswith(package + ".")]:
            del sys.modules[name]
        for name in stand_ins:
            sys.modules.pop(name, None)
        sys.modules.update((name, found) for name, found in before.items() if name not in sys.modules)


@functools.cache
def mimic_packets() -> Any:
    """The module ``mysql_mimic.packets``: builders of the packets that a server sends."""
    utils = ModuleType("mysql_mimic.utils")  # the real one needs sqlglot; packets only imports these names
    for name in ("aiterate", "anext_compat", "chain_async", "seq"):
        setattr(utils, name, None)
    return _load("mysql_mimic", "packets", {"mysql_mimic.utils": utils})


@functools.cache
def pymysql_auth() -> Any:
    """The module ``pymysql._auth``: the scrambles of the authentication plugins, without its RSA part."""
    return _load("pymysql", "_auth", {"cryptography": None})
