"""template.yaml under AWS's own tools: validated, linted and built, without credentials and without the network."""

import os
import pathlib
import subprocess
import sys

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "template.yaml"


class Intrinsic(yaml.SafeLoader):
    """Reads CloudFormation's short forms: `!Ref X` becomes {"Ref": "X"}."""


def _intrinsic(loader, suffix, node):
    build = {"scalar": loader.construct_scalar, "sequence": loader.construct_sequence, "mapping": loader.construct_mapping}
    return {suffix: build[node.id](node)}


Intrinsic.add_multi_constructor("!", _intrinsic)


def run(program, *arguments, home):
    # No credentials, no configuration of the person at the keyboard, no news for anybody.
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        # build.sh compiles with every Python that it finds, those of pyenv too.
        "PYENV_ROOT": os.environ.get("PYENV_ROOT", str(pathlib.Path.home() / ".pyenv")),
        "AWS_DEFAULT_REGION": "eu-central-1",
        "SAM_CLI_TELEMETRY": "0",
        "__SAM_CLI_APP_DIR": str(home / "sam"),
    }
    program = pathlib.Path(sys.executable).with_name(program)
    command = [sys.executable, program, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=180
    )


@pytest.fixture(scope="module")
def template():
    return yaml.load(TEMPLATE.read_text(), Intrinsic)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    folder = home / "build"
    finished = run("sam", "build", "--build-dir", folder, "--cache-dir", home / "cache", home=home)
    assert finished.returncode == 0, finished.stdout
    return folder


def test_template_is_valid_and_without_lint(tmp_path):
    validated = run("sam", "validate", "--lint", home=tmp_path)
    assert validated.returncode == 0, validated.stdout
    assert "is a valid SAM Template" in validated.stdout


def test_cfn_lint_has_nothing_to_say(tmp_path):
    linted = run("cfn-lint", "--include-checks", "I", "--", str(TEMPLATE), home=tmp_path)
    assert (linted.returncode, linted.stdout.strip()) == (0, "")


@pytest.mark.timeout(240)
def test_sam_build_makes_the_layer_that_build_sh_makes(built, tmp_path):
    subprocess.run([ROOT / "build.sh", "tree", tmp_path / "opt"], check=True, stdout=subprocess.DEVNULL, timeout=120)
    assert contents(built / "WarmwireLayer") == contents(tmp_path / "opt")
    assert os.access(built / "WarmwireLayer" / "extensions" / "warmwire", os.X_OK)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.timeout(240)
def test_sam_build_gives_the_sample_function_its_driver(built):
    # -S and -I: nothing but the folder itself and the standard library.
    load = "import os, sys; sys.path.insert(0, sys.argv[1]); os.environ.update(DB_USER='u', DB_NAME='d'); import app"
    loaded = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"{load}; print(app.pymysql.__file__)", built / "SampleFunction"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert loaded.stdout == f"{built}/SampleFunction/pymysql/__init__.py\n", loaded.stderr


def test_function_is_told_what_the_handler_reads(template):
    variables = template["Resources"]["SampleFunction"]["Properties"]["Environment"]["Variables"]
    assert {"DB_USER", "DB_NAME"} <= variables.keys()
    # Anything else of these would lead the handler away from Warmwire.
    assert not {"DB_HOST", "DB_PORT", "DB_PASSWORD"} & variables.keys()


def test_settings_in_the_template_are_settings_of_warmwire(template):
    from warmwire.config import Config

    variables = template["Resources"]["SampleFunction"]["Properties"]["Environment"]["Variables"]
    # What the template's defaults and the least that a person answers come to.
    answers = {"DbHost": "db", "DbUser": "app", "DbPassword": "secret", "DbName": "shop"}
    values = {name: answers.get(name, parameter.get("Default")) for name, parameter in template["Parameters"].items()}
    settings = {name: str(values[value["Ref"]]) for name, value in variables.items() if name.startswith("WARMWIRE_")}
    config = Config.from_env(settings)
    assert (config.database, config.db_tls, config.db_tls_ca, config.pool_size) == ("db:3306", "verify-full", "", 1)


def test_password_is_not_shown(template):
    assert template["Parameters"]["DbPassword"]["NoEcho"] is True


def test_role_allows_no_more_than_logs_of_its_own_and_network_interfaces(template):
    properties = template["Resources"]["SampleRole"]["Properties"]
    assert "ManagedPolicyArns" not in properties
    statements = [statement for policy in properties["Policies"] for statement in policy["PolicyDocument"]["Statement"]]
    allowed = [statement for statement in statements if statement["Effect"] == "Allow"]
    everywhere = {action for statement in allowed if statement["Resource"] == "*" for action in statement["Action"]}
    narrow = [(statement["Action"], statement["Resource"]) for statement in allowed if statement["Resource"] != "*"]
    assert narrow == [(["logs:CreateLogStream", "logs:PutLogEvents"], {"GetAtt": "SampleLogs.Arn"})]
    assert {action.partition(":")[0] for action in everywhere} == {"ec2"}
    assert not [action for action in everywhere if "*" in action]
