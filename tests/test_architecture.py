"""The picture of the architecture shows the imports of the code."""

import pkgutil
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "tomostain"


def test_the_picture_has_the_imports_of_the_code():
    grimp = pytest.importorskip("grimp")
    graph = grimp.build_graph("tomostain", cache_dir=None)
    packages = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()}
    text = (ROOT / "docs" / "contributing" / "architecture.svg").read_text(encoding="utf-8")
    boxes = set(re.findall(r'id="package-(\w+)"', text)) - {"base"}
    assert boxes >= packages, "run `python docs/contributing/draw_architecture.py`"
    edges = set()
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            ends = tuple([*name.split("."), ""][1] for name in (importer, imported))
            if ends[0] != ends[1] and boxes >= set(ends):
                edges.add(ends)
    drawn = {tuple(edge) for edge in re.findall(r'id="edge-(\w+)-(\w+)"', text)}
    assert drawn == edges, "run `python docs/contributing/draw_architecture.py`"


def test_the_walks_name_code_that_exists():
    text = (ROOT / "docs" / "contributing" / "architecture.md").read_text(encoding="utf-8")
    names = set(re.findall(r"`(tomostain(?:\.\w+)+)`", text.partition("## How `stain` processes a volume")[2]))
    assert len(names) > 20
    missing = []
    for name in sorted(names):
        try:
            pkgutil.resolve_name(name)
        except (ImportError, AttributeError):
            missing.append(name)
    assert not missing
