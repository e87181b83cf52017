"""The benchmark's own pieces: how far sections are misplaced, labels on the pair's grid, what the tables say."""

import csv
import json
import zipfile
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from studies.table1.data import centred, labels_on_pair, make, misplaced
from studies.table1.editions import DIFFICULTIES, EDITIONS, laboratory, materials
from studies.table1.figures import generated_ct, most_varied
from studies.table1.keep import keep
from studies.table1.report import REFERENCE, difference, interval, patches, report, table
from studies.table1.run import PET_MRI, Run, recipe_of
from studies.table1.unseen import regions, without
from tomostain.dataset.dataset import load_dataset
from tomostain.dataset.pair import Pair
from tomostain.errors import InputError
from tomostain.evaluate.baselines import raw_ct
from tomostain.geometry.section import Section
from tomostain.io import ModelSpec
from tomostain.phantom.tissue import Label
from tomostain.stain import StainConfig, Translator
from tomostain.train import load_recipe

PIXEL_UM = 20.0
AFFINE = np.array([[0.99, 0.01, 300.0], [-0.01, 1.0, -200.0]])
TRUTH = Section(np.array([900.0, 800.0, 700.0]), np.array([0.6, 0.8, 0.0]), np.array([0.0, 0.0, 1.0]), AFFINE)
MIDDLE_UM = np.array([2000.0, 2500.0])


@settings(deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(DIFFICULTIES))
def test_a_section_is_misplaced_as_far_as_the_difficulty_states(seed, difficulty):
    true = centred(TRUTH, MIDDLE_UM)
    section = misplaced(true, difficulty, PIXEL_UM, np.random.default_rng(seed))
    where = [s.to_volume_um(s.slide_to_section_um(MIDDLE_UM)) for s in (true, section)]
    moved = (where[1] - where[0]) / PIXEL_UM
    off_plane = abs(moved @ true.normal)
    in_plane = np.linalg.norm(moved - (moved @ true.normal) * true.normal)
    assert off_plane <= difficulty.plane_px + 1e-6
    assert difficulty.shift_px[0] - 1e-6 <= in_plane <= difficulty.shift_px[1] + 1e-6
    turn = np.degrees(np.arccos(np.clip(section.normal @ true.normal, -1, 1)))
    assert turn <= np.sqrt(3) * difficulty.turn_deg + 1e-6
    strain = section.slide_to_section[:, :2] @ np.linalg.inv(true.slide_to_section[:, :2]) - np.eye(2)
    assert np.abs(strain).max() <= difficulty.strain + 1e-9


def test_aligned_means_the_truth():
    aligned = next(d for d in DIFFICULTIES if d.name == "aligned")
    section = misplaced(TRUTH, aligned, PIXEL_UM, np.random.default_rng(0))
    assert section.to_dict() == TRUTH.to_dict()
    assert laboratory(aligned)["soft_shift_um"] == 0.0


def test_centring_moves_nothing():
    points = np.random.default_rng(0).uniform(0, 4000, (20, 2))
    places = [s.to_volume_um(s.slide_to_section_um(points)) for s in (TRUTH, centred(TRUTH, MIDDLE_UM))]
    np.testing.assert_allclose(places[0], places[1])


def test_labels_lie_under_their_pixels():
    # A slide of 10 µm a pixel that lies 40 µm down and 60 µm right of the pair's grid of 20 µm.
    labels = np.arange(600, dtype=np.uint16).reshape(20, 30).astype(np.uint8)
    affine = np.array([[1.0, 0.0, 40.0], [0.0, 1.0, 60.0]])
    section = Section(np.zeros(3), np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), affine)
    on_pair = labels_on_pair(labels, 10.0, section, (8, 10), 20.0)
    assert (on_pair[:2] == 0).all()
    assert (on_pair[:, :3] == 0).all()
    np.testing.assert_array_equal(on_pair[2:, 3:], labels[:12:2, :14:2])


def test_the_materials_are_those_of_the_paper():
    for edition in EDITIONS.values():
        kinds = Counter(name[:2] for name in materials(edition.specimens))
        assert kinds["Mg"] > kinds["PE"] >= kinds["Ti"] >= 1
    assert {name[:2] for name in materials(30)[-8:]} == {"Mg", "Ti", "PE"}


@pytest.mark.parametrize("edition", EDITIONS.values(), ids=list(EDITIONS))
def test_every_row_has_a_recipe(edition):
    for row in ("paired-cyclegan", "pix2pix", "cyclegan-inverted", "cyclegan"):
        assert load_recipe(recipe_of(row, edition)).name == f"{row}{edition.suffix}"


def write_patches(out, row, values):
    place = Run(row, "paper", "seconds", 0, 0).evaluation(out, "paper")
    place.mkdir(parents=True)
    with (place / "metrics.csv").open("w", newline="") as file:
        lines = csv.DictWriter(file, ["model", "pair", "row", "column", "ssim", "lpips", "psnr"])
        lines.writeheader()
        for (pair, column), value in values.items():
            lines.writerow({"model": row, "pair": pair, "row": 0, "column": column, "ssim": value, "psnr": 10 * value})


def test_differences_are_of_the_same_patches(tmp_path):
    places = [(f"p{i}", column) for i in range(6) for column in range(3)]
    rng = np.random.default_rng(0)
    base = {place: float(rng.uniform(0.2, 0.8)) for place in places}
    write_patches(tmp_path, REFERENCE, base)
    # Better by 0.01 everywhere, although patches differ by far more; and one with an additional patch.
    write_patches(tmp_path, "ours", {place: value + 0.01 for place, value in base.items()} | {("p9", 0): 5.0})
    rows = patches(tmp_path, "seconds", "paper", "paper", "paper")
    result = difference(rows["ours"], rows[REFERENCE], "ssim")
    assert result.median == pytest.approx(0.01)
    assert result.excludes_zero
    assert (result.n, result.specimens) == (18, 6)
    assert interval(rows[REFERENCE], "ssim").median == pytest.approx(np.median(list(base.values())))
    text = table(rows, {"ours": "9, 9, 9"})
    # The paper's model first; the missing LPIPS is no number.
    assert text.splitlines()[2].startswith(f"| {REFERENCE} |")
    assert "0.01 [0.01, 0.01] *" in text
    assert "nan" in text


def test_stored_scores_give_the_same_tables_and_can_be_extended(tmp_path):
    out, file = tmp_path / "out", tmp_path / "runs.zip"
    for number, row in enumerate((REFERENCE, "ours")):
        write_patches(out, row, {(f"p{i}", 0): 0.123456 * (i + number) for i in range(4)})
        assert keep(out, file) == 0  # trained, but neither noted nor evaluated to the end
        run = Run(row, "paper", "seconds", 0, 0)
        (run.evaluation(out, "paper") / "evaluate.yaml").touch()
        note = run.folder(out).parent / f"{row}.json"
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps({"row": row, "steps": 3, "samples": 3, "seconds": 1.0}))
        assert keep(out, file) == 1
        assert keep(out, file) == 0
    zipfile.ZipFile(file).extractall(tmp_path / "again")
    assert report(tmp_path / "again") == report(out)
    assert "| ours | 0.309 [" in report(out)  # the median of 0.123, 0.247, 0.370 and 0.494


def test_a_material_is_left_out_of_training_alone(tmp_path):
    pairs = [{"id": f"p{i}", "implant": "PEEK" if i in (1, 4) else "Ti"} for i in range(5)]
    (tmp_path / "all" / "pairs").mkdir(parents=True)
    for record in pairs:
        (tmp_path / "all" / "pairs" / record["id"]).mkdir()
    values = {"voxel_um": 20.0, "pairs": pairs, "test": ["p4"], "folds": [["p0", "p1"], ["p2"]]}
    (tmp_path / "all" / "dataset.yaml").write_text(yaml.safe_dump(values))
    data = load_dataset(without(tmp_path / "all", "PEEK", tmp_path / "some"))
    assert (data.ids, data.folds, data.test) == (("p0", "p2", "p3", "p4"), (("p0",), ("p2",)), ("p4",))


def test_the_regions_around_an_implant_are_defined_by_distance():
    labels = np.full((1, 40), int(Label.BONE), np.uint8)
    labels[0, :5], labels[0, 30:] = int(Label.SCREW), int(Label.AIR)
    masks = regions(labels, 20.0)
    assert [int(where.sum()) for where in masks.values()] == [5, 10, 15]  # 200 µm are 10 pixels; air is nothing
    assert not (masks["around"] & masks["elsewhere"]).any()


class Red(torch.nn.Module):
    """A reverse generator that reads red as grey."""

    size_multiple, min_size_px = 4, 8

    def forward(self, y):
        return y[:, :1]


def test_the_way_back_is_drawn_pixel_by_pixel():
    # Tiles overlap and the image is smaller than a patch along one axis; every pixel must keep its place.
    rng = np.random.default_rng(0)
    histology = rng.integers(0, 255, (40, 90, 3)).astype(np.uint8)
    pair = Pair("p", np.full((40, 90), 10000, np.uint16), histology, np.ones((40, 90), bool), 5.0)
    values = {"generator": {"name": "resnet"}, "voxel_um": 5.0, "stain": "h&e", "recipe": "r", "tomostain_version": "0"}
    translator = Translator(Red(), ModelSpec.from_dict(values), torch.device("cpu"), "", Red())
    generated = generated_ct(translator, pair, StainConfig(patch_px=48, stride_px=20))
    expected = raw_ct(np.round(histology[..., 0] / 255 * 40000).astype(np.uint16))
    assert np.abs(generated.astype(int) - expected).max() <= 1
    assert generated_ct(replace(translator, reverse=None), pair, StainConfig()) is None


def test_the_region_is_where_most_structure_is():
    histology = np.full((96, 96, 3), 200, np.uint8)
    histology[56:72, 40:56] = np.random.default_rng(0).integers(0, 255, (16, 16, 3))
    pair = Pair("p", np.zeros((96, 96), np.uint16), histology, np.ones((96, 96), bool), 5.0)
    rows, columns = most_varied(pair, 32)
    assert rows.start <= 56
    assert rows.stop >= 72
    assert columns.start <= 40
    assert columns.stop >= 56


def test_editions_do_not_share_a_folder(tmp_path):
    (tmp_path / "specimens").mkdir()
    (tmp_path / "specimens" / "edition.yaml").write_text("{edition: tiny, pixel_um: 23.0, first_seed: 7000}")
    with pytest.raises(InputError, match="holds edition 'tiny'; use another folder for 'cpu'"):
        make(EDITIONS["cpu"], tmp_path, jobs=1)


def test_slices_of_one_subject_are_one_draw(tmp_path):
    place = Run("ours", PET_MRI, "seconds", 0, 0).evaluation(tmp_path, PET_MRI)
    place.mkdir(parents=True)
    lines = [f"ours,{subject}{i:03d},0,0,{0.1 * subject},,10" for subject in (41, 42) for i in range(5)]
    (place / "metrics.csv").write_text("\n".join(["model,pair,row,column,ssim,lpips,psnr", *lines]) + "\n")
    rows = patches(tmp_path, "seconds", PET_MRI, PET_MRI, "paper")
    result = interval(rows["ours"], "ssim")
    assert (result.n, result.specimens) == (10, 2)
