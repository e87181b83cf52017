"""The demo, at the smallest size that runs every step."""

from html.parser import HTMLParser

import pytest

from tomostain.cli.main import run
from tomostain.demo import DemoConfig, DemoSpecimen, run_demo
from tomostain.errors import InputError
from tomostain.io import load_model, open_stained, open_volume

SMALL = DemoConfig(
    shape=(16, 48, 48),
    voxel_um=100.0,
    pixel_um=50.0,
    specimens=(
        DemoSpecimen(id="a", material="Mg-10Gd", weeks=8, seed=1),
        DemoSpecimen(id="b", material="Ti", weeks=4, seed=2),
        DemoSpecimen(id="held-out", material="Mg-10Gd", weeks=8, seed=3),
    ),
    steps=2,
    truth_slices=2,
    find_sections=False,
)


class Pictures(HTMLParser):
    """Counts embedded pictures and outside references."""

    def __init__(self) -> None:
        super().__init__()
        self.embedded, self.outside = 0, 0

    def handle_starttag(self, tag, attrs):
        source = dict(attrs).get("src") or ""
        self.embedded += source.startswith("data:image/")
        self.outside += source.startswith("http")


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return run_demo(tmp_path_factory.mktemp("demo") / "out", SMALL)


def test_everything_it_promises_is_there(result):
    assert open_volume(result.folder / "specimens/held-out/volume").shape == (16, 48, 48)
    assert open_stained(result.stained).shape == (16, 48, 48)
    assert load_model(result.model).spec.steps == 2
    assert set(result.table.rows) == {"trained model", "raw µCT", "grey-value look-up"}
    page = Pictures()
    page.feed(result.report.read_text(encoding="utf-8"))
    assert page.embedded >= 6
    assert page.outside == 0
    for name in ("slices.png", "planes.png", "rendering.png"):
        assert (result.folder / name).stat().st_size > 1000


def test_the_held_out_specimen_is_not_trained_on(result):
    from tomostain.dataset.dataset import load_dataset

    split = load_dataset(result.dataset).split(0)
    assert split.test == ("held-out",)
    assert "held-out" not in split.train


def test_a_repeat_continues_and_draws_nothing_anew(result):
    files = [result.model / "SHA256SUMS", result.stained / "zarr.json", result.dataset / "dataset.yaml"]
    before = [path.stat().st_mtime_ns for path in files]
    again = run_demo(result.folder, SMALL)
    assert [path.stat().st_mtime_ns for path in files] == before
    assert again.table.to_csv() == result.table.to_csv()


def test_other_settings_are_refused(result):
    with pytest.raises(InputError, match="other settings"):
        run_demo(result.folder, SMALL.model_copy(update={"steps": 3}))


def test_dry_run_writes_nothing(tmp_path, capsys):
    assert run(["demo", str(tmp_path / "new"), "--dry-run"]) == 0
    assert "memory: below 6 GB" in capsys.readouterr().out
    assert not (tmp_path / "new").exists()
