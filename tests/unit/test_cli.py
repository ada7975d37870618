import pytest

from warmwire import __version__, app, cli


@pytest.fixture
def ran(monkeypatch):
    """Which commands were carried out, in place of carrying them out."""
    monkeypatch.delenv("AWS_LAMBDA_RUNTIME_API", raising=False)
    commands = []
    for name, code in (("run", 10), ("serve", 11), ("check", 12)):
        monkeypatch.setattr(app, name, lambda name=name, code=code: commands.append(name) or code)
    return commands


@pytest.mark.parametrize(("command", "code"), [("serve", 11), ("check", 12)])
def test_a_command_is_carried_out_and_its_exit_code_is_ours(ran, command, code):
    assert cli.main([command]) == code
    assert ran == [command]


@pytest.mark.parametrize("arguments", [["run"], []])
def test_in_lambda_the_extension_is_run(ran, monkeypatch, arguments):
    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")
    assert cli.main(arguments) == 10
    assert ran == ["run"]


def test_the_arguments_are_the_processs_by_default(ran, monkeypatch):
    monkeypatch.setattr("sys.argv", ["warmwire", "check"])
    assert cli.main() == 12


def test_outside_lambda_it_says_what_run_needs(ran, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["run"])
    assert ended.value.code == 2
    assert "run needs AWS_LAMBDA_RUNTIME_API; outside Lambda use serve or emulate" in capsys.readouterr().err
    assert ran == []


@pytest.mark.parametrize("arguments", [[], ["swerve"], ["serve", "--port", "1"], ["check", "it"]])
def test_a_bad_command_line_ends_with_2(ran, capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage: warmwire" in capsys.readouterr().err
    assert ran == []


def test_help_names_every_command(ran, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for command in ("run", "serve", "emulate", "check"):
        assert f"\n    {command} " in shown


@pytest.mark.parametrize("command", ["run", "serve", "emulate", "check"])
def test_each_command_has_help_of_its_own(ran, capsys, command):
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    assert f"usage: warmwire {command}" in capsys.readouterr().out


def test_the_version(ran, capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"warmwire {__version__}\n"
