"""What the documentation says about settings is what the code knows."""

import re
from pathlib import Path

import pytest

from warmwire.config import Config, reference_table

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCUMENTS = [README, ROOT / "template.yaml", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
SETTINGS = {field.metadata["name"] for field in Config.__dataclass_fields__.values()}
# Not settings of the extension: what the layer's launcher and the project's own tests and demo read.
OTHER = re.compile(r"WARMWIRE_(LAYER_ROOT|TEST_\w+|CACHE\w*|FUZZ_\w+)$")


def test_the_readme_holds_the_table_of_settings_as_it_is_generated():
    assert reference_table() in README.read_text()


@pytest.mark.parametrize("document", [path for path in DOCUMENTS if path.exists()], ids=lambda path: path.name)
def test_every_setting_that_is_named_exists(document):
    named = set(re.findall(r"\bWARMWIRE_[A-Z0-9_]*[A-Z0-9]\b", document.read_text()))
    assert {name for name in named if not OTHER.match(name)} <= SETTINGS


def test_every_document_that_the_readme_links_to_is_there():
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", README.read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []
