"""A study: finished specimens are reused while their inputs are unchanged. A failure is reported and stops nothing."""

import csv
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from tomostain.errors import InputError
from tomostain.io import open_slide, open_volume, write_image, write_stack
from tomostain.prepare import study as registration
from tomostain.prepare.study import COLUMNS, SpecimenTask, _workers, is_done, left_out, register_study
from tomostain.register.config import RegisterConfig
from tomostain.register.inputs import fingerprint

FACTS = {"confidence": 0.98, "detail": 0.7, "margin": 0.2, "warnings": ["check its pixel size"]}


@pytest.fixture
def task(tmp_path):
    """A registered specimen: its pair.yaml records the inputs."""
    rng = np.random.default_rng(0)
    write_stack(tmp_path / "volume", rng.integers(0, 60000, (4, 10, 12)).astype(np.uint16), voxel_um=(5.0,) * 3)
    write_image(tmp_path / "slide.png", rng.integers(0, 255, (30, 40, 3)).astype(np.uint8))
    task = SpecimenTask("done", tmp_path / "volume", tmp_path / "slide.png", pixel_um=2.0, options={"seed": 3})
    volume, slide = open_volume(task.volume), open_slide(task.slide, pixel_um=2.0)
    options = RegisterConfig(seed=3).to_pair()
    write_facts(
        tmp_path / "study" / "done",
        {"inputs": fingerprint(volume, slide), "hinted": False, "made_by": "study"},
        options,
    )
    return task


def write_facts(folder, values, options):
    folder.mkdir(parents=True, exist_ok=True)
    values = values | {
        "registration": FACTS | {"options": options},
        "similarity": {"normalised_mutual_information": 1.2},
    }
    (folder / "pair.yaml").write_text(yaml.safe_dump(values))


def test_a_bad_specimen_is_left_out_with_its_reason_and_a_finished_one_is_preserved(tmp_path, task):
    pair = tmp_path / "study" / "done" / "pair.yaml"
    text = pair.read_text()
    tasks = [task, SpecimenTask("bad", tmp_path / "no-volume", tmp_path / "no-slide.png")]
    heard = []
    progress = lambda label, n, total: heard.append((label, n, total))  # noqa: E731
    results = register_study(tasks, tmp_path / "study", jobs=1, progress=progress)
    assert results == {"done": pair}
    assert pair.read_text() == text
    assert "no-volume: no such file" in left_out(tmp_path / "study")["bad"]
    with (tmp_path / "study" / "scores.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == COLUMNS
    table = pd.DataFrame(lines, columns=list(COLUMNS)).to_csv(index=False, lineterminator="\r\n")
    assert (tmp_path / "study" / "scores.csv").read_bytes() == table.encode()
    assert [line["result"] for line in lines] == ["found", "left out"]
    assert lines[0]["confidence"] == "0.98"
    assert lines[0]["message"] == "check its pixel size"
    assert heard[-1] == ("registering", 2, 2)


def test_other_files_sizes_or_options_are_registered_again(tmp_path, task):
    pair = tmp_path / "study" / "done" / "pair.yaml"
    assert is_done(task, pair)
    for change in ({"pixel_um": 2.1}, {"voxel_um": 6.0}, {"options": {"seed": 3, "material": "light"}}):
        assert not is_done(SpecimenTask(**(vars(task) | change)), pair)
    write_image(task.slide, np.full((30, 40, 3), 7, np.uint8), overwrite=True)
    assert not is_done(task, pair)
    assert not is_done(task, tmp_path / "nowhere" / "pair.yaml")


def test_manual_registrations_are_preserved_or_confirmed(tmp_path, task):
    pair = tmp_path / "study" / "done" / "pair.yaml"
    values = yaml.safe_load(pair.read_text())
    pair.write_text(yaml.safe_dump(values | {"made_by": "person"}))
    assert is_done(SpecimenTask(**(vars(task) | {"options": {"seed": 4}})), pair)
    changed = SpecimenTask(**(vars(task) | {"pixel_um": 2.1}))
    with pytest.raises(InputError, match=r"registered by a user, from other files or sizes"):
        is_done(changed, pair)
    # The specimen is left out, and none of its files are lost.
    assert register_study([changed], tmp_path / "study", jobs=1) == {}
    assert "registered by a user" in left_out(tmp_path / "study")["done"]
    assert pair.is_file()


def test_registrations_without_recorded_inputs_stay(tmp_path, task):
    pair = tmp_path / "study" / "done" / "pair.yaml"
    values = yaml.safe_load(pair.read_text())
    for key in ("inputs", "hinted", "made_by"):
        del values[key]
    pair.write_text(yaml.safe_dump(values))
    assert is_done(SpecimenTask(**(vars(task) | {"options": {"seed": 4}})), pair)


def test_an_option_that_did_not_exist_then_has_its_default(tmp_path, task):
    pair = tmp_path / "study" / "done" / "pair.yaml"
    values = yaml.safe_load(pair.read_text())
    del values["registration"]["options"]["most_strain"]
    pair.write_text(yaml.safe_dump(values))
    assert is_done(task, pair)
    assert not is_done(SpecimenTask(**(vars(task) | {"options": {"seed": 3, "most_strain": 0.01}})), pair)


def test_ctrl_c_begins_nothing_more(tmp_path, monkeypatch):
    calls = []

    class Pool:
        def __init__(self, *_, **__):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return False

        def submit(self, *_):
            calls.append("submit")
            return Future()

        def shutdown(self, wait, cancel_futures):
            calls.append((wait, cancel_futures))

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(registration, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(registration, "as_completed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        register_study([SpecimenTask("a", tmp_path / "v", tmp_path / "s")], tmp_path / "study", jobs=1)
    assert calls == ["submit", (False, True)]


def test_no_table_no_names(tmp_path):
    assert left_out(tmp_path) == {}


@pytest.mark.parametrize(
    ("memory", "jobs", "expected"),
    [(None, 0, 8), (80e9, 0, 8), (8e9, 0, 3), (1e9, 0, 1), (8e9, 5, 5)],
    ids=["cpu", "large", "small", "tiny", "asked"],
)
def test_no_more_processes_than_fit_into_the_gpu(memory, jobs, expected, monkeypatch):
    monkeypatch.setattr("tomostain.devices.gpu_memory", lambda device: memory and int(memory))
    tasks = [SpecimenTask(str(number), Path("volume"), Path("slide")) for number in range(20)]
    assert _workers(tasks, jobs, cores=16) == expected
