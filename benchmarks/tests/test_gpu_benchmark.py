"""The GPU benchmark at toy size: its measurements, and that no failure stops it."""

import json
import time

import pytest

from benchmarks import gpu, gpu_kernels, gpu_volume
from benchmarks.gpu_items import Item, Journal, Options, started_items, work
from benchmarks.gpu_report import WANTED, collect, tables
from benchmarks.gpu_size import CARD, TOY
from benchmarks.gpu_training import recipe_of


def test_one_command_measures_parts_at_toy_size_and_writes_tables(tmp_path, capsys):
    assert gpu.main([str(tmp_path / "out"), "--only", "sampler", "layers", "peer", "--commit", "abc"]) == 0
    results = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert results["about"]["commit"] == "abc"
    assert list(results["parts"]) == ["sampler", "layers", "peer"]
    assert [row["batch"] for row in results["parts"]["sampler"]["rows"]] == list(TOY.sampler_batches)
    # Without a checkout the part says how to get it.
    assert "git clone" in results["parts"]["peer"]["errors"][0]["error"]
    text = (tmp_path / "out" / "gpu.md").read_text()
    assert "patches/s" in text
    assert capsys.readouterr().out.strip() == text.strip()


def journal_of(tmp_path, items, limits=60.0):
    journal = Journal(tmp_path / "gpu.jsonl")
    work({"part": lambda size, options: items}, {"part": limits}, TOY, Options(), journal)
    return journal.read()


def test_an_item_that_fails_is_recorded_and_the_rest_runs(tmp_path):
    def rows():
        yield {"name": "a"}
        raise MemoryError("out of memory")

    events = journal_of(tmp_path, [Item("rows", rows), Item("row", lambda: {"name": "b"})])
    part = collect(events, {})["parts"]["part"]
    assert [row["name"] for row in part["rows"]] == ["a", "b"]
    assert [(e["item"], e["error"]) for e in part["errors"]] == [("rows", "MemoryError: out of memory")]
    assert "- not measured: rows: MemoryError: out of memory" in tables(collect(events, {}))


def test_a_part_ends_at_its_time_limit(tmp_path):
    items = [Item("slow", lambda: time.sleep(0.05) or {"name": "slow"}), Item("late", lambda: {"name": "late"})]
    part = collect(journal_of(tmp_path, items, limits=0.01), {})["parts"]["part"]
    assert [row["name"] for row in part["rows"]] == ["slow"]
    assert "the part's 0 s are over" in part["errors"][0]["error"]


def test_a_new_process_skips_started_items(tmp_path):
    Journal(tmp_path / "gpu.jsonl").write(event="started", part="part", item="crashed")
    events = journal_of(tmp_path, [Item("crashed", pytest.fail), Item("next", lambda: {"name": "next"})])
    assert [event["row"]["name"] for event in events if event["event"] == "row"] == ["next"]
    assert started_items(events) == {("part", "crashed"), ("part", "next")}


def test_the_summary_compares_with_the_targets():
    rows = [{"name": "paired-cyclegan", "batch": 4, "samples_s": 100.0, "of_peak": 0.1}]
    text = tables({"about": {}, "parts": {"training": {"rows": rows, "errors": [], "seconds": 1.0}}})
    assert "| training, name paired-cyclegan, batch 4, samples/s | 83 | 100 | yes |" in text
    assert "of the bf16 peak | 0.2 | 0.1 | NO |" in text
    assert "| hours of 500 epochs, paired-cyclegan | at most 6.7 | 5.6 | yes |" in text


def test_the_summary_lists_what_was_not_measured_and_the_largest_deviation():
    rows = [{"name": "`tomostain`", "run": "again", "mvoxel_s": 92.0, "side_1500_s": 40.0}]
    deviations = [
        {"name": "a", "largest_loss": 0.001, "largest_gradient": None},
        {"name": "b", "largest_loss": 0.0002, "largest_gradient": 0.004},
        {"name": "c", "precision": "float16", "largest_grey_levels": 2},
        {"name": "d", "precision": "float16", "largest_grey_levels": 3},
    ]
    parts = {name: {"rows": part, "errors": [], "seconds": 1.0} for name, part in (("volume", rows), ("sampler", []))}
    text = tables({"about": {}, "parts": parts})
    assert "| volume, name `tomostain`, run again, Mvoxel/s | 150 | 92 | NO |" in text
    assert "| volume, name `tomostain`, run again, 1500³ / s | at most 60 | 40 | yes |" in text
    assert "| sampler, batch 4, patches/s | 4000 | not measured | |" in text
    assert "Largest deviation from the CPU in float32: not measured." in text
    text = tables({"about": {}, "parts": {"deviation": {"rows": deviations, "errors": [], "seconds": 1.0}}})
    expected = (
        "0.001 of a loss in ten steps (relative), 0.004 of a gradient (relative), 3 of 255 grey levels in float16."
    )
    assert f"Largest deviation from the CPU in float32: {expected}" in text


def part_of(*rows, errors=()):
    return {"rows": list(rows), "errors": list(errors), "seconds": 1.0}


def test_toy_figures_are_not_compared_with_those_of_a_card():
    rows = [{"name": "`tomostain`", "run": "again", "mvoxel_s": 0.07, "side_1500_s": 49321.0}]
    parts = {"volume": part_of(*rows), "deviation": part_of({"name": "a", "largest_loss": 0.001})}
    toy, card = (tables({"about": {"size": size}, "parts": parts}) for size in ("toy", "card"))
    assert "Toy size" in toy
    assert "Toy size" not in card
    assert ("wanted" in toy, "NO" in toy) == (False, False)
    assert "| 150 | 0.07 | NO |" in card
    for text in (toy, card):
        assert "Largest deviation from the CPU in float32: 0.001 of a loss in ten steps (relative)." in text
        assert "| `tomostain` | again | 0.07 | 49321 |" in text


def test_the_output_states_the_size(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "_attend", lambda run, *_: run.journal.write(event="part ended", part="sampler"))
    assert gpu.main([str(tmp_path), "--only", "sampler", "--size", "toy"]) == 1
    assert json.loads((tmp_path / "gpu.json").read_text())["about"]["size"] == "toy"
    assert "Toy size" in (tmp_path / "gpu.md").read_text()


def test_each_thing_that_was_not_measured_is_one_plain_line():
    over = {"item": "", "error": "300 s are over"}
    parts = {
        "plain": part_of({"name": "a", "ms": 1.0}, errors=[over]),
        "layers": part_of(errors=[over]),
        "deviation": part_of(errors=[{"item": "steps, cycles", "error": "the part's 20 s are over"}]),
    }
    lines = [line for line in tables({"about": {}, "parts": parts}).splitlines() if line.startswith("- ")]
    assert lines == [
        "- the rest was not measured: 300 s are over",
        "- not measured: 300 s are over",
        "- not measured: steps, cycles: the part's 20 s are over",
    ]


def test_the_reason_that_the_time_is_over_is_stated_once(tmp_path):
    assert gpu.main([str(tmp_path), "--only", "sampler", "--seconds", "0"]) == 1
    assert "- not measured: 0 s are over\n" in (tmp_path / "gpu.md").read_text()


def test_grey_levels_are_compared_before_the_steps():
    names = [item.name for item in gpu.PARTS["deviation"](TOY, Options())]
    kinds = [name.split(",")[0] for name in names]
    assert kinds == ["stained"] * kinds.count("stained") + ["steps"] * kinds.count("steps")
    assert min(kinds.count("stained"), kinds.count("steps")) > 0


def test_the_summary_compares_every_wanted_figure():
    training = [
        {"name": "paired-cyclegan", "batch": 4, "samples_s": 90.0, "first_step_s": 31.0},
        {"name": "pix2pix", "batch": 16, "samples_s": 533.0},
    ]
    samplers = [{"name": "sampler", "batch": 16, "patches_s": 5334.0}]
    slices = [{"way": "`tomostain`, exact tiles", "precision": "float16", "ms": 2.9, "times": 469.0}]
    search = [{"device": "cuda", "run": "again", "voxels_apart": 0.2}, {"device": "cpu", "voxels_apart": 0.06}]
    parts = {"training": training, "sampler": samplers, "staining": slices, "registration": search}
    lines = tables({"about": {}, "parts": {name: part_of(*rows) for name, rows in parts.items()}}).splitlines()
    for line in (
        "| training, name pix2pix, batch 16, samples/s | 533 | 533 | NO |",
        "| training, name paired-cyclegan, batch 4, first step / s | at most 30 | 31 | NO |",
        "| sampler, batch 16, patches/s | 5333 | 5334 | yes |",
        "| staining, way `tomostain`, exact tiles, precision float16, ms | at most 9.5 | 2.9 | yes |",
        "| registration, device cpu, voxels from the section of the card | at most 0.05 | 0.06 | NO |",
    ):
        assert line in lines


def test_the_ratio_to_pytorch_gan_has_a_verdict_for_each_precision():
    steps = part_of({"name": "paired-cyclegan", "batch": 4, "samples_s": 150.0})
    peers = [{"batch": 16, "precision": "fp32", "samples_s": 1.0}, {"batch": 4, "precision": "fp32", "samples_s": 31.0}]
    text = tables({"about": {}, "parts": {"training": steps, "peer": part_of(*peers)}})
    assert "| paired-cyclegan against PyTorch-GAN, fp32, batch 4, times | 3 | 4.84 | yes |" in text
    assert "| paired-cyclegan against PyTorch-GAN, bf16 autocast, batch 4, times | 2.4 | not measured | |" in text
    peers.append({"batch": 4, "precision": "bf16 autocast", "samples_s": 100.0})
    text = tables({"about": {}, "parts": {"training": steps, "peer": part_of(*peers)}})
    assert "| paired-cyclegan against PyTorch-GAN, bf16 autocast, batch 4, times | 2.4 | 1.5 | NO |" in text


def test_the_limits_of_the_parts_fit_into_the_total():
    assert list(gpu.LIMITS) == list(gpu.PARTS)
    assert sum(gpu.LIMITS.values()) <= gpu.TOTAL_S
    assert list(gpu.PARTS)[:2] == ["sampler", "volume"]


def test_recipes_with_wanted_figures_are_measured_first():
    names = [item.name for item in gpu.PARTS["training"](CARD, Options())][1:]
    wanted = {target.selected["name"] for target in WANTED if target.part == "training"}
    batches = {target.selected["batch"] for target in WANTED if target.part == "training"}
    assert set(names[: len(wanted) * len(batches)]) == {f"{n}, batch {batch}" for n in wanted for batch in batches}


def test_a_cpu_has_operators_and_no_kernels():
    (row,) = gpu_kernels._kernels("tomostain", 1, TOY)
    assert sorted(row) == ["batch", "name", "operators_a_step"]
    # That of ten steps includes reading the losses.
    counted = gpu_kernels._operators("tomostain", 1, TOY)["operators_a_step"]
    assert row["operators_a_step"] == pytest.approx(counted, rel=0.1)


def test_a_part_that_cannot_be_imported_is_recorded(tmp_path):
    def broken(size, options):
        raise ImportError("no module")

    journal = Journal(tmp_path / "gpu.jsonl")
    parts = {"broken": broken, "next": lambda size, options: [Item("row", lambda: {"name": "row"})]}
    work(parts, dict.fromkeys(parts, 60.0), TOY, Options(), journal)
    results = collect(journal.read(), {})["parts"]
    assert results["broken"]["errors"][0]["error"] == "ImportError: no module"
    assert results["next"]["rows"] == [{"name": "row"}]


def test_an_item_under_way_too_long_is_stopped():
    started = {"event": "started", "part": "sampler", "item": "sampler", "time": time.time() - 20}
    assert gpu.overdue([started]) == ""
    assert gpu.overdue([started | {"time": time.time() - 1000}]).startswith("the part took 1000 s")
    assert gpu.overdue([started | {"time": 0}, {"event": "ended", "part": "sampler", "item": "sampler"}]) == ""


def test_the_process_after_a_stopped_item_may_continue(tmp_path):
    journal = Journal(tmp_path / "gpu.jsonl")
    journal.write(event="started", part="sampler", item="sampler")
    events = [event | {"time": 0} for event in journal.read()]
    assert gpu.overdue(events)
    run = gpu.Run(tmp_path, ["sampler", "layers"], TOY, 300.0, "", None)
    gpu._record_end(run, "stopped")
    assert gpu.overdue([*events, *journal.read()[1:]]) == ""


@pytest.mark.parametrize("name", CARD.recipes)
def test_a_card_measures_the_recipe_itself(name):
    recipe = recipe_of(name, CARD, 4)
    assert (recipe.batch, recipe.patch_px, recipe.generator["width"]) == (4, 256, 64)
    assert recipe_of(name, TOY, 1).generator["width"] <= 4


def test_a_volume_is_stained_from_tiff_to_ome_zarr_and_each_stage_is_timed():
    rows = list(gpu_volume.measure(TOY))
    assert [(row["name"], row["run"]) for row in rows] == [
        (name, run) for name in ("nearly no network", "`tomostain`") for run in ("first", "again")
    ]
    for row in rows:
        assert all(row[column] > 0 for column in {**gpu_volume.BEFORE, **gpu_volume.DURING} if column != "wait_s")
        before = sum(row[column] for column in gpu_volume.BEFORE)
        assert before <= row["before_s"] <= row["whole_s"] - row["staining_s"] + 1e-9
        assert 0.1 < row["compressed"] < 1.1
        assert row["mvoxel_s"] >= row["whole_mvoxel_s"]
    json.dumps(rows)
