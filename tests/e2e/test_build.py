"""The layer as it is shipped: built twice here, then looked at as Lambda would unpack it."""

import ast
import importlib.util
import marshal
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import zipfile

import pymysql
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAUNCHER = "extensions/warmwire"
SIZE_BUDGET = 5_000_000
# PEP 552: the flags of a compiled file that names its source by hash and is to be trusted without reading that source.
UNCHECKED_HASH = (1).to_bytes(4, "little")
# What may lie directly under warmwire/ in the zip.
CARRIED = {"__main__.py", "__pycache__", "licenses", "mysql_mimic", "pymysql", "warmwire"}


def build(*arguments: str) -> str:
    finished = subprocess.run(
        [ROOT / "build.sh", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300
    )
    assert finished.returncode == 0, finished.stdout
    return finished.stdout


@pytest.fixture(scope="module")
def output():
    return build()


@pytest.fixture(scope="module")
def layer(output):
    with zipfile.ZipFile(ROOT / "dist" / "warmwire-layer.zip") as opened:
        yield opened


@pytest.fixture(scope="module")
def compiled_versions(output):
    [versions] = re.findall(r"^build: compiled for Python: (.*)$", output, re.MULTILINE)
    return versions.split()


@pytest.fixture(scope="module")
def opt(layer, tmp_path_factory):
    root = tmp_path_factory.mktemp("opt")
    for entry in layer.infolist():
        path = pathlib.Path(layer.extract(entry, root))
        path.chmod(entry.external_attr >> 16)
    return root


def run(*command, **keywords):
    return subprocess.run(command, capture_output=True, text=True, timeout=30, **keywords)


def test_two_builds_are_the_same_bytes(layer):
    first = pathlib.Path(layer.filename).read_bytes()
    build()
    assert (ROOT / "dist" / "warmwire-layer.zip").read_bytes() == first


def test_unpacked_build_has_the_files_and_modes_of_the_zip(layer, tmp_path):
    build("tree", str(tmp_path / "opt"))
    files = {
        path.relative_to(tmp_path / "opt").as_posix(): (path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
        for path in (tmp_path / "opt").rglob("*")
        if path.is_file()
    }
    assert files == {entry.filename: (layer.read(entry), stat.S_IMODE(entry.external_attr >> 16)) for entry in layer.infolist()}


def test_launcher_is_the_only_extension_and_the_only_executable(layer):
    modes = {entry.filename: entry.external_attr >> 16 for entry in layer.infolist()}
    assert [name for name in modes if name.startswith("extensions/")] == [LAUNCHER]
    assert modes.pop(LAUNCHER) == stat.S_IFREG | 0o755
    assert set(modes.values()) == {stat.S_IFREG | 0o644}


def test_layer_carries_only_what_it_needs(layer):
    names = [pathlib.PurePosixPath(name) for name in layer.namelist()]
    assert {name.parts[0] for name in names} == {"extensions", "warmwire"}
    assert {name.parts[1] for name in names if name.parts[0] == "warmwire"} == CARRIED
    assert {name.suffix for name in names} == {"", ".py", ".pyc"}
    assert not [name for name in names if "emulator" in name.parts]


def test_layer_has_every_module_of_the_package_but_the_emulator(layer):
    package = ROOT / "extension" / "warmwire"
    modules = {path.relative_to(package).as_posix() for path in package.rglob("*.py")}
    shipped = {name.removeprefix("warmwire/warmwire/") for name in layer.namelist() if name.endswith(".py")}
    assert {name for name in modules if not name.startswith("emulator/")} <= shipped


def test_licences_of_carried_packages_are_carried(layer):
    for package in ("PyMySQL", "mysql-mimic"):
        assert b"Permission is hereby granted" in layer.read(f"warmwire/licenses/{package}/LICENSE")


def test_every_module_is_compiled_for_each_version_that_the_build_names(layer, compiled_versions):
    names = set(layer.namelist())
    tags = [f"cpython-{version.replace('.', '')}" for version in compiled_versions]
    assert f"cpython-{sys.version_info[0]}{sys.version_info[1]}" in tags
    expected = {
        f"{module.parent}/__pycache__/{module.stem}.{tag}.pyc"
        for module in map(pathlib.PurePosixPath, names)
        if module.suffix == ".py"
        for tag in tags
    }
    assert {name for name in names if name.endswith(".pyc")} == expected


def test_compiled_files_are_trusted_by_hash_and_name_no_path_of_the_build(layer):
    compiled = [name for name in layer.namelist() if name.endswith(".pyc")]
    for name in compiled:
        content = layer.read(name)
        assert content[4:8] == UNCHECKED_HASH, name
        folder, _, file = name.partition("__pycache__/")
        assert f"/opt/{folder}{file.split('.')[0]}.py".encode() in content, name


def test_compiled_files_hold_the_code_of_their_sources(layer):
    tag = sys.implementation.cache_tag
    for name in layer.namelist():
        if name.endswith(f"{tag}.pyc"):
            folder, _, file = name.partition("__pycache__/")
            source = f"{folder}{file.split('.')[0]}.py"
            content = layer.read(name)
            assert content[:4] == importlib.util.MAGIC_NUMBER
            assert content[8:16] == importlib.util.source_hash(layer.read(source)), name
            assert marshal.loads(content[16:]).co_filename == f"/opt/{source}"


def test_layer_is_small(layer):
    assert pathlib.Path(layer.filename).stat().st_size <= SIZE_BUDGET


def test_unpacked_layer_runs_isolated_from_the_environment(opt, tmp_path):
    # What a function may well have: modules of its own, in a folder that its PYTHONPATH names, called like ours or like
    # some of the standard library.
    for name in ("warmwire", "json", "pymysql"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the function\\'s module was imported')")
    helped = run(sys.executable, "-I", opt / "warmwire", "--help", env={"PYTHONPATH": str(tmp_path)}, cwd=tmp_path)
    assert helped.returncode == 0, helped.stderr
    assert "serve" in helped.stdout


def test_unpacked_layer_imports_its_own_modules_from_the_compiled_files(opt):
    helped = run(sys.executable, "-I", "-v", opt / "warmwire", "--help")
    assert helped.returncode == 0, helped.stderr
    loaded = re.findall(rf"code object from '?{re.escape(str(opt))}/warmwire/(\S*?)'?$", helped.stderr, re.MULTILINE)
    assert f"warmwire/__pycache__/cli.{sys.implementation.cache_tag}.pyc" in loaded
    assert not [file for file in loaded if not file.endswith(".pyc")]


def test_every_carried_module_is_one_that_is_loaded(opt, layer):
    # -S: no site-packages, so what is missing here cannot be found elsewhere.
    load = "import sys; sys.path.insert(0, sys.argv[1]); from warmwire.protocol.borrowed import *"
    finished = run(sys.executable, "-I", "-S", "-v", "-c", f"{load}; mimic_packets(); pymysql_auth()", opt / "warmwire")
    assert finished.returncode == 0, finished.stderr
    borrowed = re.compile(r"warmwire/((?:pymysql|mysql_mimic)/\S*\.py)$")
    loaded = re.findall(rf"matches {re.escape(str(opt))}/(\S*\.py)$", finished.stderr, re.MULTILINE)
    assert set(filter(borrowed.match, loaded)) == set(filter(borrowed.match, layer.namelist()))


def launch(opt, *arguments, path):
    return run(opt / LAUNCHER, *arguments, env={"PATH": str(path)})


@pytest.fixture
def interpreters(tmp_path):
    """A folder for the PATH whose interpreters only say how they were called."""

    def make(*names, folder="bin"):
        (tmp_path / folder).mkdir(exist_ok=True)
        for name in names:
            interpreter = tmp_path / folder / name
            interpreter.write_text('#!/bin/sh\necho "${0##*/}" "$@"\n')
            interpreter.chmod(0o755)
        return tmp_path / folder

    return make


def test_launcher_takes_the_newest_interpreter_and_isolates_it(opt, interpreters):
    path = interpreters("python3", "python3.11", "python3.13", "python3.9")
    launched = launch(opt, "run", path=path)
    assert launched.stdout == f"python3.13 -I {opt}/warmwire run\n"


def test_launcher_takes_an_interpreter_of_unknown_version_last(opt, interpreters):
    launched = launch(opt, path=interpreters("python3", "python3.9"))
    assert launched.stdout == f"python3 -I {opt}/warmwire\n"


def test_launcher_passes_over_pyenv_scripts(opt, interpreters):
    shims, real = interpreters("python3.13", folder="shims"), interpreters("python3.12")
    launched = launch(opt, path=f"{shims}{os.pathsep}{real}")
    assert launched.stdout == f"python3.12 -I {opt}/warmwire\n"


def test_launcher_says_in_one_line_that_the_runtime_has_no_python(opt, interpreters):
    launched = launch(opt, path=interpreters("node"))
    assert launched.returncode == 1
    assert launched.stderr.count("\n") == 1
    assert "python3.11 or later" in launched.stderr


def test_launcher_becomes_the_extension_process(opt, interpreters):
    path = interpreters()
    (path / "python3.11").write_text("#!/bin/sh\necho $$\n")
    (path / "python3.11").chmod(0o755)
    with subprocess.Popen([opt / LAUNCHER], env={"PATH": str(path)}, stdout=subprocess.PIPE, text=True) as launched:
        printed, _ = launched.communicate(timeout=30)
    assert int(printed) == launched.pid


def test_an_old_runtime_is_told_what_is_needed(opt):
    as_an_old_python = "import runpy, sys; sys.version_info = (3, 10, 13); runpy.run_path(sys.argv[1], run_name='__main__')"
    refused = run(sys.executable, "-I", "-c", as_an_old_python, opt / "warmwire")
    assert refused.returncode == 1
    assert refused.stderr.startswith("warmwire: needs a runtime of python3.11 or later")
    ast.parse((opt / "warmwire" / "__main__.py").read_text(), feature_version=(3, 7))


def test_build_explains_itself_when_called_wrongly():
    refused = run(ROOT / "build.sh", "everything")
    assert refused.returncode == 2
    assert "dist/warmwire-layer.zip" in refused.stdout


def test_build_refuses_a_dependency_that_was_changed_after_its_installation(tmp_path):
    # A copy of the environment's package folder, in front of the real one, with one byte more in one file.
    site = pathlib.Path(pymysql.__file__).parents[1]
    for folder in [*site.glob("pymysql*"), *site.glob("mysql_mimic*")]:
        shutil.copytree(folder, tmp_path / folder.name)
    with (tmp_path / "pymysql" / "err.py").open("a") as changed:
        changed.write("\n")
    assemble = ROOT / "layer" / "assemble.py"
    refused = run(sys.executable, assemble, "stage", tmp_path / "opt", env={"PYTHONPATH": str(tmp_path)})
    assert refused.returncode == 1
    assert "pymysql/err.py differs from what PyMySQL" in refused.stderr
