"""The study of speed: its candidates give equal results, and its tables state the measurements."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.staining import translator
from studies.speed import engines, growth, memory, registration
from studies.speed.staining import slice_flop
from tomostain.io import read_image
from tomostain.stain import StainConfig


def test_a_slices_operations_are_those_of_its_patches():
    model = translator("paired-cyclegan-cpu", fast=True)
    patch = slice_flop(model, 128, StainConfig())
    assert slice_flop(model, 256, StainConfig(stride_px=64)) == 9 * patch
    # A convolution's operations grow with the area, but for the borders that reflection adds.
    channel = translator("paired-cyclegan-cpu", fast=True, norm="channel")
    whole = slice_flop(channel, 256, StainConfig(blend="exact"))
    assert whole == 4 * patch


@pytest.mark.parametrize("kind", growth.KINDS)
def test_a_point_is_timed_once_and_states_its_memory(kind, monkeypatch):
    done = []
    monkeypatch.setattr(growth, "_repeat", lambda act: done.append(act()) or 1.0)
    measured = growth.point(kind, 128 if kind == "edge" else 2)
    assert (len(done), measured["cpu_s"]) == (1, 1.0)
    assert measured["peak_mb"] > 50


def test_growth_is_drawn_with_its_lines(tmp_path):
    measured = {}
    for kind, (_, against, sizes) in growth.KINDS.items():
        points = [{"size": n, "cpu_s": 1.0 + against(n), "peak_mb": 300.0} for n in sizes]
        x = [against(n) for n in sizes]
        fits = {name: growth.line(x, [row[name] for row in points]) for name in ("cpu_s", "peak_mb")}
        assert max(map(abs, fits["cpu_s"]["relative_residuals"])) < 1e-9
        measured[kind] = {"points": points, **fits}
    growth.draw(measured, tmp_path / "growth.png")
    assert read_image(tmp_path / "growth.png").std() > 10


def test_the_stages_of_a_registration_add_up_to_its_time():
    ticks = iter([0.0, 1.0, 3.0, 3.0, 7.0, 7.5, 7.5, 9.0])
    stages = registration.Stages(lambda: next(ticks))
    for label, done in (("reading", 0), ("reading", 2), ("searching", 1), ("searching", 2)):
        stages(label, done, 2)
    assert stages.end() == {"opening": 1.0, "reading": 2.0, "ending": 5.5, "searching": 0.5}


def test_ways_of_training_have_their_own_time_and_peak(monkeypatch):
    lines = iter(
        [{"cpu_s": 4.0, "before_mb": 100.4, "peak_mb": 900.0}, {"cpu_s": 5.0, "before_mb": 100, "peak_mb": 300}]
    )
    process = SimpleNamespace(run=lambda *_, **__: SimpleNamespace(stdout=json.dumps(next(lines))), PIPE=-1)
    monkeypatch.setattr(memory, "subprocess", process)
    result = memory.measure(1, ("as it is", "accumulate: 4"))
    assert [row["ratio"] for row in result["timings"]] == [1.0, 0.8]
    assert (result["before the first step_mb"], result["as it is_mb"], result["accumulate 4_mb"]) == (100, 900, 300)


@pytest.mark.parametrize("way", [*memory.SMALL, *memory.LARGE])
def test_ways_of_training_are_recipes(way, monkeypatch):
    taken = []
    monkeypatch.setattr(memory, "Trainer", lambda recipe, *_: SimpleNamespace(take_step=lambda: taken.append(recipe)))
    monkeypatch.setattr(memory, "keep_freed_memory", lambda: taken.append("kept"))
    result = memory.step_of(way)
    assert 0 < result["before_mb"] <= result["peak_mb"]
    assert taken[:-4] == (["kept"] if way.endswith("kept") else [])
    recipe = taken[-1]
    assert recipe.patch_px == (256 if way in memory.LARGE else 128)
    assert (recipe.accumulate, recipe.checkpoint_activations) == (4 if "accum" in way else 1, "checkpoint" in way)


def test_without_engines_only_ours_is_measured_and_the_packages_are_named(monkeypatch, capsys):
    monkeypatch.setattr(engines, "find_spec", lambda name: None if name in {"onnx", "openvino"} else name)
    result = engines.measure(1, (("tomostain-cpu", "channel", 64),))
    assert [row["name"] for row in result["timings"]] == ["`tomostain-cpu`, 64 px: tomostain"]
    assert result["least_std_grey_levels"] > 1
    assert capsys.readouterr().err.splitlines() == [
        "engines: onnxruntime skipped; pip install onnx",
        "engines: openvino skipped; pip install onnx openvino",
    ]


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_engines_draw_what_we_draw(engine):
    for package in ("onnx", "onnxscript", engine):
        pytest.importorskip(package)
    image = np.random.default_rng(0).uniform(-1, 1, (1, 1, 64, 64)).astype(np.float32)
    ours, theirs = (run(image) for run in engines.runs("tomostain-cpu", "channel", image, [engine]).values())
    assert ours.std() > 1 / 127.5  # so narrow a network has a small contrast: differences are compared with it
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-4 * ours.std())
