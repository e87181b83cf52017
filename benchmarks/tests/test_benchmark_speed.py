"""The speed benchmark: its candidates give equal results, and its tables state the measurements."""

import argparse
import json

from benchmarks import networks, report, run, sampling, staining, training
from benchmarks.measure import as_rows, paired


def test_the_loop_over_scikit_image_cuts_what_the_sampler_cuts():
    result = sampling.measure(1, patch=48, batch=6)
    assert result["largest_difference"] < 2e-3  # the sampler's places are float32


def test_ratios_are_taken_within_a_round_and_reported_with_their_range():
    ticks = iter([0, 4, 4, 5, 5, 15, 15, 20])
    rows = as_rows(paired({"a": int, "b": int}, 2, warm=False, flop=10, clock=lambda: next(ticks)))
    assert report.timing_table(rows, 10.0)[-1] == "| b | 3 (1–5) | 3.00 (2.00–4.00) | 0 | 33% |"


def test_a_recipes_networks_are_timed_both_ways():
    result = networks.measure(1, ("tomostain-cpu",))
    assert [row["layer"] for row in result] == ["`tomostain-cpu`, generator", "`tomostain-cpu`, discriminator"]
    assert all(row[kind][1]["ratio"] > 0 for row in result for kind in ("inference", "training"))


def test_the_faster_ways_are_compared_with_the_papers():
    result = staining.measure(1, 128, "paired-cyclegan-cpu", "tomostain-cpu")
    names = [row["name"] for row in result["timings"]]
    assert names[0].startswith("the paper's method")
    assert result["timings"][0]["ratio"] == 1


def test_steps_of_training_are_compared_with_plain_kernels(monkeypatch):
    taken = []
    steps = {name: (lambda name=name: taken.append(name)) for name in ("tomostain, plain kernels", "tomostain")}
    monkeypatch.setattr(training, "our_steps", lambda patch: steps)
    assert [row["name"] for row in training.measure(2)["timings"]] == list(steps)
    assert taken == 3 * list(steps)


def test_every_part_is_measured_by_its_own_process(tmp_path, monkeypatch, capsys):
    out = tmp_path / "bench.json"
    monkeypatch.setattr(run, "gemm_peak", lambda: 1e9)
    parts = {"a": lambda options: [{"rounds": options.rounds}], "b": lambda options: []}
    parser = run.parser_of(parts, None)
    run.run(parts, parser, "benchmarks.run", [str(out), "--rounds", "2", "--here", "a"])
    result = json.loads(capsys.readouterr().out)
    assert result["results"] == [{"rounds": 2}]
    commands = []

    def process(command, **_):
        commands.append(command)
        return argparse.Namespace(stdout=f"log\n{json.dumps(result)}\n")

    monkeypatch.setattr(run.subprocess, "run", process)
    run.run(parts, parser, "benchmarks.run", [str(out), "--only", "b"])
    run.run(parts, parser, "benchmarks.run", [str(out)])
    assert [command[-1] for command in commands] == ["b", "a"]
    assert set(json.loads(out.read_text())) == {"a", "b"}
