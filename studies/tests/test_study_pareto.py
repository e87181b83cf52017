"""The experiment on lean generators: points that resume to the same bits, students, the front, the tables."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from studies.table1 import pareto
from studies.table1.distil import Distilled
from studies.table1.pareto_report import difference, front, gather, report, table
from tomostain.dataset.dataset import load_dataset
from tomostain.dataset.pair import Pair
from tomostain.dataset.writer import save_dataset
from tomostain.networks.build import build_network
from tomostain.train import load_recipe

TINY = {"name": "shuffle", "width": 4, "blocks": 1, "kernel": 3, "detail": 2, "norm": "channel"}


def recipe(point="tiny"):
    changes = {"name": point, "generator": TINY, "patch_px": 32, "residual_registration": 2}
    small = load_recipe("tomostain-cpu").model_copy(update=changes)
    return small.model_copy(update={"discriminator": {"name": "patch", "width": 2, "layers": 1}})


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    pairs = [
        Pair(
            f"p{i}",
            rng.integers(8000, 38000, (48, 48)).astype(np.uint16),
            rng.integers(0, 255, (48, 48, 3)).astype(np.uint8),
            np.ones((48, 48), bool),
            20.0,
        )
        for i in range(4)
    ]
    return load_dataset(save_dataset(tmp_path / "noise", pairs).path)


def weights(trainer):
    return torch.cat([value.flatten() for value in trainer.state.networks.staining.state_dict().values()])


def test_a_stopped_point_resumes_to_the_same_bits(data, tmp_path):
    whole, first, second = (pareto.Trainer(recipe(), data, None, 0, "cpu") for _ in range(3))
    pareto.train_to(whole, tmp_path / "whole", 5)
    pareto.train_to(first, tmp_path / "parts", 3)
    pareto.train_to(second, tmp_path / "parts", 5)
    assert torch.equal(weights(whole), weights(second))
    assert not torch.equal(weights(whole), weights(first))
    translator = pareto.load_translator(tmp_path / "parts" / "step-5", "cpu")
    assert translator.spec.steps == 5
    assert translator.spec.metrics["seconds"] > 0
    assert (tmp_path / "parts" / "step-3").is_dir()


def test_a_student_matches_its_teacher_and_its_judge_sees_real_histology(data):
    teacher = build_network(TINY | {"in_channels": 1}, torch.Generator().manual_seed(9)).eval()
    slices = [np.full((3, 40, 40), 7.0, np.float32)]  # no µCT: nothing else is 7
    student = Distilled(recipe(), data, None, 0, teacher=teacher, slices=slices)
    judged = []
    d_y = student.state.networks.d_y
    d_y.register_forward_hook(lambda module, inputs, output: judged.append(inputs[0]))
    for step in range(4):
        student.state.step = step
        batch = student.sampler.draw(torch.Generator().manual_seed(step))
        assert torch.equal(batch.y, teacher(batch.x))
        assert bool((batch.x == 7).all()) == (step % 2 == 1)
        assert not torch.equal(student.real, batch.y)
    student.state.step = 0
    student.take_step()
    real, _ = judged[-1].chunk(2)  # real and generated, together
    assert torch.equal(real, student.real)
    assert not student.state.affines  # the teacher's pictures have the correct position


def test_a_student_learns_to_draw_as_its_teacher(data):
    teacher = build_network(TINY | {"in_channels": 1}, torch.Generator().manual_seed(9)).eval()
    noise = np.random.default_rng(1).normal(size=(3, 48, 48)).astype(np.float32)
    student = Distilled(
        recipe().model_copy(update={"average": 0.5}), data, None, 0, teacher=teacher, slices=[noise.clip(-1, 1)]
    )
    image = torch.from_numpy(noise.clip(-1, 1))[:, None]

    def far():
        with torch.no_grad():
            return float((student.state.networks.staining(image) - teacher(image)).abs().mean())

    before = far()
    for _ in range(60):
        student.take_step()
    assert far() < 0.9 * before  # of 60 steps, with a different judge


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=12), st.booleans())
def test_nothing_as_cheap_as_a_point_of_the_front_is_as_good(points, larger):
    costs, values = (list(column) for column in zip(*points, strict=True))
    chosen = front(costs, values, larger)
    sign = -1 if larger else 1
    for n in range(len(points)):
        beaten = any(costs[m] <= costs[n] and sign * values[m] <= sign * values[n] for m in chosen)
        assert beaten  # by itself, or by one that is not more expensive and not worse
    for n in chosen:
        assert not any(costs[m] <= costs[n] and sign * values[m] < sign * values[n] for m in range(len(points)))


def judged(point, multiply_adds, lpips, steps=7):
    def records(values):
        return [{"pair": f"p{n // 2}", "ssim": 0.5, "lpips": value, "psnr": 20.0} for n, value in enumerate(values)]

    return {
        "point": point,
        "generator": {"name": point.split("-")[0]},
        "taught_by": "unet-24" if point.endswith("taught") else None,
        "steps": steps,
        "multiply_adds": multiply_adds,
        "weights": 1000,
        "halo_px": None if point == "resnet-12" else 56,
        "seconds_of_training": 3.0,
        "validation": records(lpips),
        "test": {"aligned": records(lpips), "paper": records(lpips)},
        "made": {},
    }


def test_the_report_says_what_was_judged(tmp_path, capsys):
    points = {"resnet-12": (4e6, [0.3, 0.3, 0.3, 0.3]), "unet-14": (2e6, [0.2, 0.4, 0.2, 0.4])}
    points |= {"shuffle-32": (1e6, [0.1, 0.3, 0.1, 0.3]), "shuffle-32-taught": (1e6, [0.2, 0.4, 0.2, 0.4])}
    for name, (cost, lpips) in points.items():
        folder = tmp_path / "points" / name
        folder.mkdir(parents=True)
        for steps, more in ((3, 0.5), (7, 0.0)):
            values = judged(name, cost, [value + more for value in lpips], steps)
            (folder / f"judged-{steps}.json").write_text(json.dumps(values), encoding="utf-8")
    timing = {"name": "shuffle-32", "ratio": 20.0, "least_ratio": 18.0, "most_ratio": 22.0}
    (tmp_path / "points" / "staining.json").write_text(json.dumps({"timings": [timing]}), encoding="utf-8")
    values = gather(tmp_path / "points", 7)
    assert [point["point"] for point in values["points"]][-2:] == ["unet-14", "resnet-12"]
    by_name = {point["point"]: point for point in values["points"]}
    less = difference(by_name["shuffle-32"], by_name["unet-14"], "lpips", "aligned")
    assert less.median == pytest.approx(-0.1)
    assert less.excludes_zero
    lines = table(values, "aligned").splitlines()
    taught = next(line for line in lines if "`shuffle-32-taught`" in line)
    assert "| 1 | 0.25 | 1 | 56 | 20.0 (18.0–22.0) |" in taught  # its network is the untaught one's

    record, plot = tmp_path / "pareto.json", tmp_path / "pareto.png"
    report(tmp_path / "points", 7, record, plot)
    assert plot.stat().st_size > 10_000
    first = capsys.readouterr().out
    assert "0.200 / 20.0 | 3: 0.700, 7: 0.200" in first
    report(record, 7, None, plot)
    assert capsys.readouterr().out == first
