"""The whole pipeline in a notebook: the code of the page runs in memory, without a path and without a file."""

import ast
import contextlib
import tempfile
from pathlib import Path

import numpy as np
import pytest

import tomostain as ts
from tests.support.docs_pages import read_blocks

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "notebook.md"
CODE = "\n".join(block.text for block in read_blocks(PAGE) if block.kind == "python")


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """Run the page in an empty folder, with an empty temporary folder; return its variables and both folders."""
    names, folders = (
        {"__name__": "__main__"},
        [tmp_path_factory.mktemp("notebook"), tmp_path_factory.mktemp("temporary")],
    )
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folders[0]):
        patch.setattr(tempfile, "tempdir", str(folders[1]))
        exec(compile(CODE, str(PAGE), "exec"), names)
    return names, folders


def test_no_path_is_given_and_no_file_is_written(notebook):
    texts = [node.value for node in ast.walk(ast.parse(CODE)) if isinstance(node, ast.Constant)]
    texts = [text for text in texts if isinstance(text, str)]
    assert "builtin:phantom-tb" in texts
    assert not [text for text in texts if "/" in text or "." in text]
    _, folders = notebook
    # Not empty folders: torch makes one for the cache of its compiler.
    assert not [path for folder in folders for path in folder.rglob("*") if path.is_file()]


def test_the_pairs_are_arrays_on_one_grid(notebook):
    names, _ = notebook
    dataset, registration = names["dataset"], names["registration"]
    assert isinstance(dataset, ts.LoadedDataset)
    assert (dataset.ids, dataset.test) == (("a", "b"), ("b",))
    for pair in (*map(dataset.load, dataset.ids), registration.pair):
        assert pair.ct.shape == pair.mask.shape == pair.histology.shape[:2]
        assert pair.mask.any()
    assert dataset.details["a"]["source"] == {"volume": "a", "slide": "a (slide)", "section": "registration"}
    assert 0 <= registration.confidence <= 1


def test_the_model_has_losses_and_is_evaluated(notebook):
    names, _ = notebook
    model, scores = names["model"], names["scores"]
    assert isinstance(model, ts.TrainedModel)
    assert model.spec.steps == model.losses["step"].iloc[-1] == 2
    assert np.isfinite(model.losses["total"]).all()
    assert set(scores["pair"].dropna()) == {"b"}
    median = scores.groupby("model")["psnr"].median()
    assert median[model.spec.recipe] > median["raw µCT"]


def test_the_stained_volumes_are_measured_and_compared(notebook):
    names, _ = notebook
    assert names["stained"].shape == (8, 160, 160, 3)
    assert names["stained"].dtype == np.uint8
    values, groups = names["study"].values, names["study"].groups
    assert names["study"].out is None
    assert list(values[values["measure"] == "bic_surface"]["group"]) == ["Mg-10Gd", "Ti"]
    assert values["value"].dtype == float
    compared = groups[groups["comparison"] == "all groups"]
    assert not compared.duplicated(["measure", "region"]).any()
