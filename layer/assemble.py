"""What the layer is made of, and how it becomes a zip. build.sh calls this, with the Python that has the dependencies.

The zip mirrors /opt: `extensions/warmwire` (the launcher, the only file there: Lambda executes every one of them) and
`warmwire/` (our package, what it needs of its dependencies, and their licences). Everything is pure Python, so that one
zip serves every version of the runtime and both architectures.
"""

import base64
import hashlib
import importlib.metadata
import pathlib
import re
import shutil
import stat
import sys
import zipfile
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parent.parent
LAUNCHER = "extensions/warmwire"

# Distribution -> the files taken from it, as patterns inside site-packages: just those that protocol/borrowed.py loads.
# Neither package's own __init__ is among them: they bring in sqlglot and a whole driver (docs/adr/0001).
CARRIED = {
    "PyMySQL": ["pymysql/_auth.py", "pymysql/err.py", "pymysql/constants/__init__.py", "pymysql/constants/ER.py"],
    "mysql-mimic": [
        f"mysql_mimic/{name}.py" for name in ("charset", "constants", "errors", "packets", "prepared", "results", "types")
    ],
}
# The sample function's own dependency, whole: a function brings its driver along.
SAMPLE_CARRIED = {"PyMySQL": ["pymysql/*.py", "pymysql/constants/*.py"]}
# The emulator is a development tool; it never ships.
LEFT_OUT = "emulator"

# The oldest moment that a zip can hold: no build differs from another by its date.
EPOCH = (1980, 1, 1, 0, 0, 0)


def stage(tree: pathlib.Path) -> None:
    """Fill the folder `tree`, empty or not there yet, with everything but the compiled files."""
    code = tree / "warmwire"
    package = ROOT / "extension" / "warmwire"
    for module in sorted(package.rglob("*.py")):
        inside = module.relative_to(package)
        if inside.parts[0] != LEFT_OUT:
            copy(module, code / "warmwire" / inside)
    copy(ROOT / "layer" / "warmwire" / "__main__.py", code / "__main__.py")
    carry(CARRIED, code)
    copy(ROOT / "layer" / LAUNCHER, tree / LAUNCHER)


def stage_sample(folder: pathlib.Path) -> None:
    """Fill `folder` with the sample function, as Lambda has it in /var/task, and the CA files put beside it."""
    sample = ROOT / "sample_function"
    for source in [sample / "app.py", *sorted(sample.glob("*.pem"))]:
        copy(source, folder / source.name)
    carry(SAMPLE_CARRIED, folder)


def carry(distributions: dict[str, list[str]], folder: pathlib.Path) -> None:
    """Copy the named files of installed distributions to where `folder`, on sys.path, makes them importable."""
    for name, patterns in distributions.items():
        for source, place in carried_files(name, patterns):
            copy(source, folder / place)


def copy(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copy one file, with the mode that the zip gives it, so that an unpacked zip and a staged tree are the same."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755 if target.parent.name == "extensions" else 0o644)


def carried_files(name: str, patterns: list[str]) -> Iterator[tuple[pathlib.Path, pathlib.PurePath]]:
    """Yield (installed file, its place in the layer) for what is carried of the distribution `name`, licences included.

    Stops the build if the installed version is not the locked one, or if a file is not as its maker published it.
    """
    distribution = importlib.metadata.distribution(name)
    locked = locked_version(name)
    if distribution.version != locked:
        sys.exit(f"build: {name} {distribution.version} is installed, but {locked} is locked: run ./setup.sh demo")
    wanted = dict.fromkeys([*patterns, "*.dist-info/licenses/*"], 0)
    for file in distribution.files or []:
        pattern = next((pattern for pattern in wanted if file.match(pattern)), None)
        if pattern is None:
            continue
        wanted[pattern] += 1
        source = pathlib.Path(str(file.locate()))
        if file.hash is None or digest(source, file.hash.mode) != file.hash.value:
            sys.exit(f"build: {file} differs from what {name} {locked} was published with: install it anew")
        is_licence = file.parts[0].endswith(".dist-info")
        yield source, pathlib.PurePath("licenses", name, file.name) if is_licence else pathlib.PurePath(file)
    if absent := [pattern for pattern, found in wanted.items() if not found]:
        sys.exit(f"build: {name} {locked} has no {', '.join(absent)}")


def locked_version(name: str) -> str:
    """Return the version that requirements.lock pins for a distribution."""
    pinned = re.search(rf"^{re.escape(name.lower())}==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    return pinned[1] if pinned else sys.exit(f"build: {name} is not in requirements.lock")


def digest(path: pathlib.Path, algorithm: str) -> str:
    """Hash a file the way a wheel's RECORD writes it: URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(hashlib.new(algorithm, path.read_bytes()).digest()).rstrip(b"=").decode()


def pack(tree: pathlib.Path, output: pathlib.Path) -> None:
    """Zip the folder `tree`: sorted names, one date, two modes. The same tree gives the same bytes."""
    with zipfile.ZipFile(output, "w") as layer:
        for source in sorted(path for path in tree.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(source.relative_to(tree).as_posix(), EPOCH)
            entry.create_system = 3  # Unix: the upper half of external_attr is then a mode
            entry.external_attr = (stat.S_IFREG | stat.S_IMODE(source.stat().st_mode)) << 16
            layer.writestr(entry, source.read_bytes(), zipfile.ZIP_DEFLATED, compresslevel=9)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["stage", tree]:
            stage(pathlib.Path(tree))
        case ["stage-sample", folder]:
            stage_sample(pathlib.Path(folder))
        case ["pack", tree, output]:
            pack(pathlib.Path(tree), pathlib.Path(output))
        case _:
            sys.exit("usage: assemble.py stage TREE | stage-sample FOLDER | pack TREE OUTPUT")
