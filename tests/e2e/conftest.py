"""The layer as it is delivered: built by build.sh, unpacked as Lambda unpacks it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from warmwire.emulator.layers import unpacked

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def layer() -> Iterator[Path]:
    """The folder that would be /opt."""
    built = subprocess.run(
        [ROOT / "build.sh"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False
    )
    assert built.returncode == 0, built.stdout
    with unpacked(ROOT / "dist" / "warmwire-layer.zip") as folder:
        yield folder
