"""Every dependency of pyproject.toml has a line in docs/explanation/dependencies.md."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
GROUPS = {"core": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}


def listed() -> set[str]:
    """Return the packages in the tables of the page, by the column that names packages."""
    page = (ROOT / "docs/explanation/dependencies.md").read_text(encoding="utf-8")
    names: set[str] = set()
    column = 0
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            column = -1
        elif "package" in cells:
            column = cells.index("package")
        elif column >= 0:
            names |= set(re.split(r",\s+", cells[column]))
    return names


@pytest.mark.parametrize("group", GROUPS)
def test_every_dependency_has_a_line(group):
    required = {re.split(r"[<>=!~ ]", requirement)[0] for requirement in GROUPS[group]}
    assert required
    assert required <= listed()


@pytest.mark.parametrize("group", GROUPS)
def test_no_dependency_is_stated_twice(group):
    names = [re.split(r"[<>=!~ \[]", requirement)[0].lower().replace("_", "-") for requirement in GROUPS[group]]
    assert len(set(names)) == len(names)
