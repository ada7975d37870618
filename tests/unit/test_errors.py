import re
from pathlib import Path

import pytest

from warmwire import errors

# From design.md, section 3.4, and MySQL's own numbers.
ANSWERS = {
    "AccessDenied": (1045, "28000"),
    "CheckoutTimeout": (1040, "08004"),
    "DatabaseUnreachable": (1105, "HY000"),
    "UpstreamLost": (1152, "08S01"),
    "TransactionRolledBack": (1213, "40001"),
    "UnsupportedCommand": (1047, "08S01"),
    "MalformedPacket": (1047, "08S01"),
    "PacketTooLarge": (1153, "08S01"),
    "HandshakeTimeout": (1159, "08S01"),
    "ShuttingDown": (1053, "08S01"),
}
CLASSES = {name: found for name, found in vars(errors).items() if isinstance(found, type)}


@pytest.mark.parametrize(("name", "answer"), ANSWERS.items())
def test_each_error_that_a_client_is_told_has_its_number_and_state(name, answer):
    problem = CLASSES[name]("it happened")
    assert isinstance(problem, errors.ClientError)
    assert (problem.errno, problem.sqlstate, str(problem)) == (*answer, "it happened")


def test_no_error_is_missing_from_the_list_above():
    told = {name for name, found in CLASSES.items() if issubclass(found, errors.ClientError)}
    assert told == {*ANSWERS, "ClientError", "ServerRefused"}


def test_the_tree_in_the_modules_description_is_the_tree():
    drawn = re.findall(r"^[│ ]*[├└]── (\w+)(?: +(\d+))?", errors.__doc__, re.MULTILINE)
    assert {name for name, _ in drawn} == CLASSES.keys() - {"WarmwireError"}
    assert {name: int(number) for name, number in drawn if number} == {name: errno for name, (errno, _) in ANSWERS.items()}
    assert all(issubclass(found, errors.WarmwireError) for found in CLASSES.values())


def test_what_the_server_refused_carries_the_servers_own_words():
    problem = errors.ServerRefused(1049, "42000", "Unknown database 'x'")
    assert (problem.errno, problem.sqlstate, str(problem)) == (1049, "42000", "Unknown database 'x'")


def test_a_config_error_holds_all_problems_and_says_them_in_one_line():
    problem = errors.ConfigError(["A is bad", "B: no such setting"])
    assert problem.problems == ["A is bad", "B: no such setting"]
    assert str(problem) == "A is bad; B: no such setting"


def test_a_refusal_by_lambda_says_which_call_and_how():
    problem = errors.LambdaApiError("/extension/register", 403, "Extension.Forbidden")
    assert str(problem) == "/extension/register was answered with HTTP 403 Extension.Forbidden"
    assert (problem.status, problem.error_type) == (403, "Extension.Forbidden")


def test_errno_and_sqlstate_are_written_in_no_other_module():
    package = Path(errors.__file__).parent
    pairs = re.compile(r"\b1\d{3}, ?[\"'][0-9A-Z]{5}[\"']")
    found = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if "emulator" not in path.parts and pairs.search(path.read_text())
    }
    assert found == {"errors.py", "relay/listener.py"}  # the latter has no client yet to raise anything to
