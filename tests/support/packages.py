"""Packages that exist only for a test: a module, with entry points, that this process finds as installed."""

import sys
from pathlib import Path

import pytest


def install_package(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, code: str, entry_points: str) -> None:
    """Make a package importable, with its entry points, until the end of the test.

    Parameters
    ----------
    folder : Path
        A new folder that gets the files.
    name, code : str
        The module and its text.
    entry_points : str
        The text of ``entry_points.txt``.
    """
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / f"{name}.py").write_text(code, encoding="utf-8")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(entry_points, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))


def install_models(monkeypatch: pytest.MonkeyPatch, folder: Path, **models: Path) -> None:
    """Install model folders as built-in models of another package; underscores in a name become dashes."""
    code = "from pathlib import Path\n" + "".join(f"{name} = Path({str(path)!r})\n" for name, path in models.items())
    points = "".join(f"{name.replace('_', '-')} = shipped_models:{name}\n" for name in models)
    install_package(monkeypatch, folder, "shipped_models", code, f"[tomostain.models]\n{points}")
    monkeypatch.delitem(sys.modules, "shipped_models", raising=False)
