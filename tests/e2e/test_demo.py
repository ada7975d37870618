"""`make demo` on each database that it may find: what its table says must be true, and is what the README promises."""

import pathlib
import re
import subprocess
import sys

import pytest

from tests import servers

ROOT = pathlib.Path(__file__).resolve().parents[2]
INVOCATIONS = 10
FORGOTTEN = 2  # every fifth

pytestmark = [pytest.mark.lambda_runtime, pytest.mark.timeout(240)]


@pytest.fixture(scope="module", params=[*servers.FLAVORS, "stand-in"])
def shown(request):
    subprocess.run([ROOT / "build.sh"], check=True, stdout=subprocess.DEVNULL, timeout=120)
    options = [f"--invocations={INVOCATIONS}", "--freeze=0.15", f"--database={request.param}"]
    finished = subprocess.run(
        [sys.executable, "-m", "sample_function.demo", *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
    )
    assert finished.returncode == 0, finished.stdout
    return finished.stdout


@pytest.fixture(scope="module")
def figures(shown):
    """Row of the table -> (directly, through Warmwire), as numbers."""
    rows = re.findall(r"^  (\S.*?|  \S.*?)\s{2,}\+?([\d.]+)(?: ms)?\s{2,}\+?([\d.]+)(?: ms)?$", shown, re.MULTILINE)
    return {name.strip(): (float(directly), float(warm)) for name, directly, warm in rows}


def test_every_invocation_connects_anew_directly_and_shares_one_connection_through_warmwire(figures):
    assert figures["connections opened at the database"] == (INVOCATIONS, 1)
    assert figures["different CONNECTION_ID()s"] == (INVOCATIONS, 1)


def test_connection_ids_are_shown_as_they_come(shown):
    [direct] = re.findall(r"^  directly\s+((?:\d+\*? )+)$", shown, re.MULTILINE)
    [warm] = re.findall(r"^  through Warmwire\s+((?:\d+\*? )+)$", shown, re.MULTILINE)
    assert direct.count("*") == warm.count("*") == FORGOTTEN
    assert len(set(direct.replace("*", "").split())) == INVOCATIONS
    assert len(set(warm.replace("*", "").split())) == 1


def test_forgotten_transactions_survive_a_freeze_only_directly(figures):
    assert figures["transactions left open in a freeze"] == (FORGOTTEN, 0)
    assert figures["rolled back and logged"] == (0, FORGOTTEN)


def test_both_ways_commit_the_same(figures):
    assert figures["visits committed"] == (INVOCATIONS - FORGOTTEN, INVOCATIONS - FORGOTTEN)


def test_warmwire_closes_politely(figures):
    assert figures["connections open after SHUTDOWN"][1] == 0
    assert figures["Aborted_clients at the database"] == (FORGOTTEN, 0)


def test_one_connection_is_held_in_a_freeze(figures):
    assert figures["connections held in a freeze, at most"][1] == 1


def test_the_last_rollback_is_shown_as_it_was_logged(shown):
    assert re.search(r"^What Warmwire logged.*\n\n  .*rolled back", shown, re.MULTILINE)
