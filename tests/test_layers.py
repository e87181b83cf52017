"""The layers that `[tool.importlinter]` in pyproject.toml states, as `make test` checks them too."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_packages_import_only_from_lower_layers(monkeypatch, capsys):
    linter = pytest.importorskip("importlinter.cli")
    monkeypatch.chdir(ROOT)
    code = linter.lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert code == 0, capsys.readouterr().out
