"""The layers that `[tool.importlinter]` in pyproject.toml states, as `make test` checks them too."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_packages_import_only_from_lower_layers():
    pytest.importorskip("importlinter.cli")
    # In its own process: import-linter disables the loggers of the process that it runs in.
    config = str(ROOT / "pyproject.toml")
    code = f"import sys; from importlinter.cli import lint_imports as lint; sys.exit(lint({config!r}, no_cache=True))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_package_is_checked_for_cycles_between_its_modules():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    checked = next(contract["ancestors"] for contract in contracts if contract["id"] == "module-cycles")
    packages = (ROOT / "src" / "tomostain").glob("*/__init__.py")
    assert sorted(checked) == sorted(f"tomostain.{package.parent.name}" for package in packages)


def test_contributing_states_the_same_layers():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(contract["layers"] for contract in contracts if contract["id"] == "layers")
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d+ \| (.*) \|$", page, flags=re.MULTILINE)
    assert [set(re.findall(r"`(\w+)`", row)) for row in rows] == [set(layer.split(" | ")) for layer in layers]
