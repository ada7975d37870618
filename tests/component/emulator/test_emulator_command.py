import argparse
import io
import json
import zipfile

import pytest

from tests.component.emulator.workshop import PLAIN
from warmwire.emulator import command
from warmwire.emulator.layers import extension_files, unpacked

FUNCTION = """
runtime = Runtime()
while True:
    event = runtime.next()
    if event == "hang":
        time.sleep(60)
    runtime.respond([os.environ.get("A"), os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"], event])
"""


@pytest.fixture
def emulate(workshop, capsys):
    """Runs the command on a function with one extension: exit code, stdout, stderr."""
    workshop.extension(PLAIN)
    workshop.program(workshop.function / "bootstrap", FUNCTION)
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)

    def run(*arguments):
        defaults = ["--function", str(workshop.function), "--layer", str(workshop.layer)]
        code = command.run(parser.parse_args([*defaults, *arguments]))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_each_invocation_is_a_row_and_the_log_goes_to_stderr(emulate):
    code, out, err = emulate("-n", "2", "--idle", "0.1", "--env", "A=b=c", "--memory", "256", "--event", "[1]")
    assert code == 0
    header, first, second, *shutdown = out.splitlines()
    assert " ".join(header.split()) == "request status init ms response ms held ms billed ms frozen s response"
    assert first.split()[1] == second.split()[1] == "success"
    assert first.endswith('["b=c", "256", [1]]')
    assert float(second.split()[5]) >= 0.1
    assert shutdown[0].startswith("SHUTDOWN spindown took ")
    assert [line.split(" after ")[0] for line in shutdown[1:]] == [
        "  runtime: signal: terminated",
        "  extension toy: exit status 0",
    ]
    assert "[extension toy] shut down" in err and "[platform] START RequestId: " in err


def test_an_invocation_that_fails_makes_the_exit_code_one(emulate):
    code, out, _ = emulate("--event", '"hang"', "--timeout", "0.3")
    assert code == 1
    assert out.splitlines()[1].split()[1] == "timeout"
    assert out.splitlines()[2].startswith("SHUTDOWN timeout took ")
    assert out.splitlines()[-1] == "SHUTDOWN spindown: nothing was left to end"


def test_a_row_has_the_whole_error_and_a_traceback_has_its_lines(emulate, workshop):
    workshop.program(
        workshop.function / "bootstrap",
        """
print("[ERROR] it failed\\rTraceback:\\r  line 1\\r", flush=True)
Runtime().next()
os._exit(3)
""",
    )
    code, out, err = emulate()
    assert code == 1
    assert out.splitlines()[1].endswith(" Error: Runtime exited with error: exit status 3")
    assert "[function] [ERROR] it failed\n  Traceback:\n    line 1\n" in err


def test_the_settings_of_this_shell_are_the_functions_too(emulate, workshop, monkeypatch):
    monkeypatch.setenv("WARMWIRE_DB_HOST", "db.example")
    monkeypatch.setenv("WARMWIRE_DB_USER", "of the shell")
    monkeypatch.setenv("WARMWIRE_TEST_ANYTHING", "1")
    monkeypatch.setenv("A", "1")
    workshop.program(
        workshop.function / "bootstrap",
        """
names = ("A", "WARMWIRE_TEST_ANYTHING", "WARMWIRE_DB_HOST", "WARMWIRE_DB_USER")
runtime = Runtime()
while True:
    runtime.next()
    runtime.respond([os.environ.get(name) for name in names])
""",
    )
    _, out, _ = emulate("--env", "WARMWIRE_DB_USER=app")
    assert out.splitlines()[1].endswith('[null, null, "db.example", "app"]')


def test_json_has_everything(emulate):
    code, out, _ = emulate("--json", "-n", "2")
    document = json.loads(out)
    assert code == 0
    assert [invocation["status"] for invocation in document["invocations"]] == ["success", "success"]
    assert document["invocations"][0]["response"] == {"payload": [None, "128", {}], "error_type": None}
    assert document["invocations"][0]["init"]["phase"] == "init" and document["invocations"][1]["init"] is None
    assert document["shutdown"]["clean"] is True


def test_a_zip_is_unpacked_with_its_modes(emulate, workshop, tmp_path):
    archive = tmp_path / "layer.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for file in extension_files(workshop.layer):
            opened.write(file, f"extensions/{file.name}")
    with unpacked(archive) as folder:
        assert (folder / "extensions" / "toy").stat().st_mode & 0o777 == 0o755
    assert not folder.exists()
    code, _, err = emulate("--layer", str(archive))
    assert code == 0 and "[extension toy] shut down" in err


def test_the_event_comes_from_a_file_or_from_stdin(tmp_path, monkeypatch):
    file = tmp_path / "event.json"
    file.write_text('{"from": "file"}')
    monkeypatch.setattr("sys.stdin", io.StringIO('{"from": "stdin"}'))
    assert command.read_event(str(file)) == {"from": "file"}
    assert command.read_event("-") == {"from": "stdin"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--event", "{"], "--event { is not JSON: Expecting"),
        (["--event", "nowhere.json"], "nowhere.json"),
        (["--layer", "nowhere.zip"], "nowhere.zip"),
        (["--layer", __file__], "test_emulator_command.py is neither a folder nor a zip file"),
        (["--function", "nowhere"], "nowhere is not a folder"),
        (["--function", "tests"], "tests has no bootstrap: name one, or a --handler"),
    ],
)
def test_what_cannot_be_started_is_said_in_words(emulate, arguments, words):
    code, out, err = emulate(*arguments)
    assert code == 2 and out == "" and words in err


@pytest.mark.parametrize("arguments", [["-n", "0"], ["--idle", "-1"], ["--timeout", "inf"], ["--env", "A"], ["--env", "=a"]])
def test_a_wrong_argument_is_refused_by_the_parser(emulate, arguments, capsys):
    with pytest.raises(SystemExit):
        emulate(*arguments)
    assert "error: argument" in capsys.readouterr().err
