"""The demo, at the smallest size that runs every step."""

import contextlib
import re
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml

from tomostain.cli.main import run
from tomostain.demo import DemoConfig, DemoSpecimen, Margin, margins, plan_stages, run_demo, verdict
from tomostain.demo.facts import install_command, next_commands, program
from tomostain.demo.page import _flank
from tomostain.demo.run import _SEARCH, _Demo
from tomostain.demo.stages import OVERALL, StageRunner
from tomostain.errors import InputError, InterruptedRunError
from tomostain.evaluate import Table
from tomostain.figures.detail import square_around
from tomostain.io import load_model, open_stained, open_volume
from tomostain.progress import never
from tomostain.register.config import RegisterConfig

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


class Listener:
    """Stores the notices and the progress of a demo."""

    def __init__(self):
        self.notices, self.reports = [], []

    def announce(self, notice):
        self.notices.append(notice)

    def progress(self, label, done, total):
        self.reports.append((label, done, total))


@pytest.fixture(scope="module")
def listener():
    return Listener()


@pytest.fixture(scope="module")
def result(tmp_path_factory, listener):
    out = tmp_path_factory.mktemp("demo") / "out"
    return run_demo(out, SMALL, progress=listener.progress, announce=listener.announce)


@pytest.fixture(scope="module")
def page(result):
    return result.report.read_text(encoding="utf-8")


def test_everything_it_promises_is_there(result, page):
    assert open_volume(result.folder / "specimens/held-out/volume").shape == (16, 48, 48)
    assert open_stained(result.stained).shape == (16, 48, 48)
    assert load_model(result.model).spec.steps == 2
    assert set(result.table.rows) == {"trained model", "raw µCT", "mean training image", "grey-value look-up"}
    pictures = Pictures()
    pictures.feed(page)
    assert pictures.embedded >= 10
    assert pictures.outside == 0
    names = ("slices.png", "planes.png", "rendering.png", "detail-ct.png", "detail-stained.png", "detail-truth.png")
    for name in names:
        assert (result.folder / name).stat().st_size > 1000
    assert (result.folder / "truth-comparison" / "table.txt").read_text() == result.table.to_text()


def test_the_held_out_specimen_is_not_trained_on(result):
    from tomostain.dataset.dataset import load_dataset

    split = load_dataset(result.dataset).split(None)
    assert split.test == ("held-out",)
    assert split.train == ("a", "b")
    assert load_model(result.model).spec.fold is None


def test_the_page_names_stain_colours_pairs_machine_and_commands(result, page):
    assert "The stain is toluidine blue" in page
    assert "rgb(118, 108, 100)" in page  # the degradation layer of the stain
    assert "degradation layer of a magnesium screw" in page
    training = page.split("<h2>Training</h2>")[1].split("<h2>")[0]
    assert re.findall(r'alt="([\w-]+)"', training)[:2] == ["a", "b"]
    assert "These 2 pairs were trained on, for 2 steps" in page
    assert "cores" in page.split("How this page was made")[1]
    for command in result.next_commands:
        assert command in page.replace("&#39;", "'")
    assert result.verdict in page
    order = [page.index(text) for text in ('class="panels"', "<h2>In three dimensions", "<h2>Numbers")]
    assert order == sorted(order)


def test_the_next_commands_work_in_this_folder(result, tmp_path):
    assert shlex.split(program())[0].startswith(str(Path(sys.executable).parent))
    commands = result.next_commands
    assert commands[0] == f"cd {result.folder}"
    # The pair of this small demo is smaller than a patch of the evaluation.
    first, *others = (command for command in commands[1:] if " evaluate " not in command)
    done = subprocess.run(
        f"{commands[0]} && {first}", shell=True, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{first}: {done.stderr}"
    # The others in this process: a new one takes seconds to import PyTorch.
    with contextlib.chdir(result.folder):
        for command in others:
            assert command.startswith(f"{program()} ")
            assert run(shlex.split(command.removeprefix(program()))) == 0, command
    assert open_stained(result.folder / "a.ome.zarr").shape == (16, 48, 48)


def test_fine_tuning_takes_weights_and_recipe_of_the_model(result, tmp_path):
    config = SMALL.model_copy(update={"init": str(result.model), "recipe": None})
    out = tmp_path / "out"
    shutil.copytree(result.folder, out, ignore=shutil.ignore_patterns("run*", "stained*", "truth*", "report.html"))
    (out / "demo.yaml").write_text(config.to_yaml(), encoding="utf-8")
    tuned = run_demo(out, config)
    assert load_model(tuned.model).spec.recipe == "tomostain-cpu"
    text = tuned.report.read_text(encoding="utf-8")
    assert f"The model {result.model} was fine-tuned on 2 of them" in text
    assert f"tomostain-cpu, 2 steps from {result.model}" in text
    assert f"--init {result.model}" in tuned.next_commands[-1]


def test_commands_are_quoted_and_name_the_init(tmp_path):
    config = SMALL.model_copy(update={"init": "builtin:phantom-tb"})
    commands = next_commands(tmp_path / "my demo", config)
    assert shlex.split(commands[0]) == ["cd", str(tmp_path / "my demo")]
    assert "--init builtin:phantom-tb" in commands[-1]
    assert install_command("render").endswith("-m pip install 'tomostain[render]'")


def test_stages_are_announced_with_their_time_and_the_progress_is_whole(result, listener):
    names = ["specimens", "registration", "pairs", "training", "staining", "evaluation", "report"]
    assert [notice.stage.name for notice in listener.notices] == names
    assert str(listener.notices[3]).startswith("stage 4 of 7, training: train tomostain-cpu from random weights on 2 ")
    assert "left in all" in str(listener.notices[3])
    assert any(label.startswith("4/7 training") for label, _, _ in listener.reports)
    overall = [done for label, done, _ in listener.reports if label == OVERALL]
    assert overall == sorted(overall)
    assert overall[-1] == 100
    seconds = yaml.safe_load((result.folder / "stages.yaml").read_text())
    assert list(seconds) == names


def test_a_repeat_continues_and_draws_nothing_again(result):
    names = [result.model / "SHA256SUMS", result.stained / "zarr.json", result.dataset / "dataset.yaml", result.report]
    before = [path.stat().st_mtime_ns for path in names]
    listener = Listener()
    again = run_demo(result.folder, SMALL, announce=listener.announce)
    assert [path.stat().st_mtime_ns for path in names] == before
    assert again.table.to_csv() == result.table.to_csv()
    assert all(notice.reused for notice in listener.notices)


def test_a_request_to_stop_ends_every_stage_and_the_demo_continues(tmp_path):
    stopped_in = []
    for _ in range(30):
        listener = Listener()
        try:
            # Stops at the first question of the first stage that has work left.
            run_demo(
                tmp_path / "out",
                SMALL,
                announce=listener.announce,
                should_stop=lambda notices=listener.notices: (
                    notices[-1].stage.name not in stopped_in and not notices[-1].reused
                ),
            )
        except InterruptedRunError:
            stopped_in.append(listener.notices[-1].stage.name)
        else:
            break
    assert {"specimens", "pairs", "training", "staining", "evaluation"} <= set(stopped_in)
    assert (tmp_path / "out" / "report.html").is_file()


def test_the_device_is_that_of_every_stage(tmp_path, monkeypatch):
    devices = {}

    def stage(name):
        return lambda *arguments, **options: devices.update({name: options.get("device", arguments[-2:-1])})

    for name in ("write_study", "read_table", "find_sections", "prepare_specimens", "train_model", "stain_volume"):
        monkeypatch.setattr(f"tomostain.demo.run.{name}", stage(name))
    searching = SMALL.model_copy(update={"find_sections": True})
    demo = _Demo(tmp_path, searching, StageRunner(plan_stages(searching), tmp_path / "stages.yaml"), never, "cuda:7")
    demo.prepare(), demo.train(), demo.stain()
    assert devices["find_sections"] == ("cuda:7",)
    assert {devices[name] for name in ("prepare_specimens", "train_model", "stain_volume")} == {"cuda:7"}


def test_the_device_is_an_option_of_the_command_line(tmp_path, capsys):
    assert run(["demo", str(tmp_path / "demo"), "--device", "nonsense"]) == 2
    assert "--device nonsense: not a device" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()


def test_other_settings_are_refused(result):
    with pytest.raises(InputError, match="other settings"):
        run_demo(result.folder, SMALL.model_copy(update={"steps": 3}))


def test_dry_run_refuses_what_the_run_refuses(tmp_path, capsys):
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "notes.txt").write_text("mine", encoding="utf-8")
    assert run(["demo", str(tmp_path / "junk"), "--dry-run", "--from-scratch"]) == 2
    assert "junk" in capsys.readouterr().err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "demo.yaml").write_text(SMALL.to_yaml(), encoding="utf-8")
    assert run(["demo", str(tmp_path / "other"), "--dry-run", "--from-scratch"]) == 2
    assert "contains a demo with other settings" in capsys.readouterr().err


def test_dry_run_writes_nothing(tmp_path, capsys):
    assert run(["demo", str(tmp_path / "new"), "--dry-run", "--from-scratch"]) == 0
    out = capsys.readouterr().out
    assert "memory: below 2 GB" in out
    assert "stage 7 of 7, report" in out
    assert "training starts from random weights" in out
    assert not (tmp_path / "new").exists()


def test_fine_tuning_needs_the_model_that_comes_with_tomostain(monkeypatch):
    import tomostain.models

    monkeypatch.setattr(tomostain.models, "builtin_names", list)
    assert DemoConfig.default().init is None
    monkeypatch.setattr(tomostain.models, "builtin_names", lambda: ["phantom-tb"])
    assert DemoConfig.default().init == "builtin:phantom-tb"
    assert "fine-tune builtin:phantom-tb on 5 pairs" in plan_stages(DemoConfig.default())[3].doing


def a_table(medians):
    records = [
        {"model": name, "ssim": ssim, "lpips": lpips, "psnr": psnr} for name, (ssim, lpips, psnr) in medians.items()
    ]
    return Table.from_records(records)


def test_margins_are_over_the_strongest_baseline_of_each_metric():
    rows = {
        "trained model": (0.6, 0.4, 19.0),
        "raw µCT": (0.1, 0.7, 5.0),
        "mean training image": (0.2, 0.8, 19.5),
        "grey-value look-up": (0.54, 0.3, 18.5),
    }
    results = {margin.metric: margin for margin in margins(a_table(rows))}
    assert {name: margin.name for name, margin in results.items()} == {
        "ssim": "grey-value look-up",
        "lpips": "grey-value look-up",
        "psnr": "mean training image",
    }
    assert results["ssim"].gain == pytest.approx(0.06)
    assert results["lpips"].gain == pytest.approx(-0.1)
    text = verdict(tuple(results.values()))
    assert text.startswith("The model is better than every baseline in SSIM.")
    assert "In LPIPS the grey-value look-up is better (0.300, model 0.400)." in text
    rows["trained model"] = (0.9, 0.1, 30.0)
    assert verdict(margins(a_table(rows))) == "The model is better than every baseline in all three metrics."


def test_equal_is_not_better():
    equal = Margin("ssim", "SSIM", 0.5, 0.5, "raw µCT", True, 3)
    assert "In SSIM the raw µCT is as good" in verdict((equal,))


def test_the_time_left_follows_the_measured_speed(tmp_path):
    stages, time = plan_stages(SMALL), [0.0]
    listener = Listener()
    runner = StageRunner(stages, tmp_path / "stages.yaml", announce=listener.announce, clock=lambda: time[0])
    expected = sum(stage.seconds for stage in stages)
    with runner.stage("specimens") as progress:
        progress("growing", 1, 2)
        time[0] += 3 * stages[0].seconds  # a machine three times as slow
    with runner.stage("registration", reused=True):
        pass
    assert listener.notices[0].left_s == pytest.approx(expected)
    assert listener.notices[1].left_s == pytest.approx(3 * (expected - stages[0].seconds))
    assert str(listener.notices[1]) == "stage 2 of 7, registration: done before"
    with contextlib.suppress(InterruptedRunError), runner.stage("pairs"):
        time[0] += 5
        raise InterruptedRunError("stopped")
    again = StageRunner(stages, tmp_path / "stages.yaml", clock=lambda: time[0])
    with again.stage("pairs"):
        time[0] += 2
    assert yaml.safe_load((tmp_path / "stages.yaml").read_text())["pairs"] == pytest.approx(7)
    (tmp_path / "stages.yaml").write_text("- broken", encoding="utf-8")
    assert StageRunner(stages, tmp_path / "stages.yaml").seconds == {}


def test_the_opening_picture_shows_the_flank_of_the_screw():
    screw = np.zeros((100, 200), bool)
    screw[20:80, 60:100] = True
    row, end_row, column, end_column = square_around(_flank(screw, 60), 60)
    assert (row, end_row) == (20, 80)
    assert (column, end_column) == (81, 141)  # 19 columns of the screw, 41 of what is next to it
    empty = np.zeros((100, 200), bool)
    assert square_around(_flank(empty, 60), 60) == (20, 80, 70, 130)


def test_the_search_of_the_demo_is_smaller_than_the_default():
    assert _SEARCH.candidates < RegisterConfig().candidates
    assert _SEARCH.threshold == RegisterConfig().threshold
