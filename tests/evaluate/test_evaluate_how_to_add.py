"""docs/how-to/add-a-metric.md works: its one file adds a metric to the table, the CSV files and the figure."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from skimage.io import imread

from tests.evaluate.test_evaluate_run import OPTIONS, make_model, toy_pair
from tomostain.dataset.writer import save_dataset
from tomostain.errors import InputError
from tomostain.evaluate import compare, evaluate_models
from tomostain.evaluate.metrics import base
from tomostain.io import Volume

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "add-a-metric.md"


@pytest.fixture
def added(monkeypatch):
    """Run the file of the page, with a separate registry."""
    monkeypatch.setattr(base, "REGISTRY", dict(base.REGISTRY))
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL):
        exec(compile(code, "mae.py", "exec"), {"__name__": "mae"})


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    root = tmp_path_factory.mktemp("add-a-metric")
    dataset = save_dataset(root / "dataset", [toy_pair(n, f"p{n}") for n in range(3)], test=["p2"])
    return [make_model(root / "a"), make_model(root / "b", seed=1)], dataset.path


def test_the_metric_is_in_table_csv_and_figure(added, inputs, tmp_path):
    models, dataset = inputs
    plain = compare(tmp_path / "plain", models, dataset, lpips=None, **OPTIONS)
    table = compare(tmp_path / "out", models, dataset, lpips=None, metrics=["mae"], **OPTIONS)
    assert plain.metrics == ("ssim", "psnr")
    assert table.metrics == ("ssim", "psnr", "mae")
    assert "MAE / grey levels ↓" in (tmp_path / "out" / "table.txt").read_text()
    assert set(pd.read_csv(tmp_path / "out" / "table.csv")["metric"]) == {"ssim", "psnr", "mae"}
    patches = pd.read_csv(tmp_path / "out" / "metrics.csv")
    assert list(patches.columns[-2:]) == ["psnr", "mae"]
    assert np.allclose(patches[patches.model == "a"]["mae"].median(), table.rows["a"]["mae"].median)
    for protocol in ("without-screw", "shift-tolerant"):
        assert "mae" in pd.read_csv(tmp_path / "out" / f"metrics-{protocol}.csv")
        assert "MAE" in (tmp_path / "out" / f"table-{protocol}.txt").read_text()
    assert {"mae"} < set(pd.read_csv(tmp_path / "out" / "intervals.csv")["metric"])
    # One panel more.
    widths = [imread(tmp_path / name / "boxplots.png").shape[1] for name in ("plain", "out")]
    assert widths[1] == widths[0] * 3 // 2


def test_the_metrics_of_other_scopes_on_the_page(added, inputs):
    models, dataset = inputs
    names = ["red_share", "mean_colour"]
    frame = evaluate_models(models[0], dataset, lpips=None, metrics=names, **OPTIONS)
    assert frame.loc[frame.scope == "image", "red_share.difference"].between(0, 1).all()
    assert (frame.loc[frame.scope == "set", "mean_colour"] >= 0).all()
    volume = Volume.from_array(np.arange(3, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8), voxel_um=5)
    assert base.REGISTRY["change_along_z"].compute(volume, volume) == 1


def test_an_unknown_metric_is_refused_before_anything_is_stained(inputs, tmp_path):
    models, dataset = inputs
    with pytest.raises(InputError, match="metric 'lacunas': unknown; did you mean 'lacunae'"):
        compare(tmp_path / "out", models, dataset, lpips=None, metrics=["lacunas"], **OPTIONS)
    assert not (tmp_path / "out").exists()


def test_a_name_is_given_once(monkeypatch):
    monkeypatch.setattr(base, "REGISTRY", dict(base.REGISTRY))
    with pytest.raises(InputError, match="metric 'ssim': the name is already taken by"):

        @base.register_metric("ssim", label="mine", larger_is_better=True)
        def other(stained, real):
            return 0.0
