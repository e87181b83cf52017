"""The notebook of the tutorial runs, and its stored outputs are small and free of paths of a machine."""

from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "tutorial" / "pipeline.ipynb"


@pytest.fixture
def notebook():
    nbformat = pytest.importorskip("nbformat")
    return nbformat.read(PAGE, as_version=4)


def test_the_notebook_runs(notebook, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    client = nbclient.NotebookClient(
        notebook,
        timeout=600,
        startup_timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": tmp_path}},
    )
    client.execute()
    assert (tmp_path / "measures" / "measures.csv").is_file()
    printed = "".join(
        output.get("text", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.get("name") == "stdout"
    )
    assert "20 x 160 x 160 voxels" in printed
    assert "mean difference" in printed


def test_its_stored_outputs_are_small(notebook):
    text = PAGE.read_text(encoding="utf-8")
    assert len(text) < 200_000
    assert "/work/" not in text
    assert "/home/" not in text
    pictures = [o for cell in notebook.cells for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(pictures) == 1
