import subprocess
import sys

import pytest

from warmwire.errors import WarmwireError
from warmwire.protocol import borrowed

CODE = """
import sys
from warmwire.protocol.borrowed import mimic_packets, pymysql_auth
before = set(sys.modules)
packets, auth = mimic_packets(), pymysql_auth()
left = [name for name in set(sys.modules) - before if name.partition(".")[0] in ("mysql_mimic", "pymysql", "cryptography")]
assert not left, left
assert "sqlglot" not in sys.modules and "cryptography" not in sys.modules
assert packets is mimic_packets() and auth is pymysql_auth()
import pymysql, pymysql._auth
assert pymysql._auth is not auth and pymysql.connections.Connection
import mysql_mimic, mysql_mimic.packets
assert mysql_mimic.MysqlServer and "sqlglot" in sys.modules
print("as it was")
"""


def test_the_borrowed_modules_bring_nothing_with_them_and_the_whole_packages_can_still_be_imported():
    code = f"import sys; sys.path[:] = {sys.path!r}" + CODE
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (found.stdout, found.stderr) == ("as it was\n", "")


def test_modules_that_were_loaded_before_stay_as_they_are():
    import pymysql._auth

    before = dict(sys.modules)
    borrowed.mimic_packets()
    borrowed.pymysql_auth()
    assert sys.modules["pymysql._auth"] is pymysql._auth
    assert {name for name in before if sys.modules.get(name) is not before[name]} == set()


def test_a_package_that_is_missing_is_named():
    with pytest.raises(WarmwireError, match="the package nowhere_to_be_found is missing from this installation"):
        borrowed._load("nowhere_to_be_found", "module", {})


def test_a_failing_import_leaves_no_trace():
    before = dict(sys.modules)
    with pytest.raises(ModuleNotFoundError):
        borrowed._load("mysql_mimic", "no_such_module", {"some_stand_in": None})
    assert sys.modules == before
