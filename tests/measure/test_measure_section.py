"""The real and the virtual section of a phantom, measured by one classifier."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tomostain.dataset.pair import load_pair
from tomostain.errors import InputError
from tomostain.io import create_stained, open_stained
from tomostain.measure.classes import TissueClass
from tomostain.measure.config import MeasureConfig
from tomostain.measure.section import REAL, VIRTUAL, measure_plane, measure_section

CONFIG = MeasureConfig(shell_um=(0, 100, 300), planes=3)


@pytest.fixture(scope="module")
def result(measured_phantom, tmp_path_factory):
    out = tmp_path_factory.mktemp("section") / "out"
    stained = measured_phantom.stained
    return measure_section(measured_phantom.pair, out, model="builtin:phantom-tb", volume=stained, config=CONFIG)


def of(result, source, measure, region="all"):
    key = (source, measure, region)
    return next(row for row in result.rows if (row["source"], row["measure"], row["region"]) == key)


def test_both_sections_are_measured_in_the_same_pixels(result, measured_phantom):
    assert set(result.images) == {REAL, VIRTUAL}
    outside = ~load_pair(measured_phantom.pair).mask
    for image in result.images.values():
        np.testing.assert_array_equal(image.labels == TissueClass.NOT_MEASURED, outside)
    assert {(r["measure"], r["region"]) for r in result.rows if r["source"] == REAL} == {
        (r["measure"], r["region"]) for r in result.rows if r["source"] == VIRTUAL
    }
    assert all(row["dimension"] == 2 for row in result.rows)


def test_the_real_section_agrees_with_the_true_labels_of_the_plane(result, measured_phantom):
    mask = load_pair(measured_phantom.pair).mask
    truth = {m.key: m.value for m in measure_plane(measured_phantom.labels[20], 20.0, CONFIG, mask=mask)}
    assert of(result, REAL, "bic_plane")["value"] == pytest.approx(truth["bic_plane", "all"], abs=12)
    region = "0-300 µm"
    assert of(result, REAL, "b_ar_t_ar", region)["value"] == pytest.approx(truth["b_ar_t_ar", region], abs=6)
    assert of(result, REAL, "im_ar")["value"] == pytest.approx(truth["im_ar", "all"], rel=0.1)


def test_uncertainties_are_stated(result):
    assert of(result, VIRTUAL, "bic_plane")["sd_registration"] > 0
    assert math.isnan(of(result, REAL, "bic_plane")["sd_registration"])
    assert of(result, REAL, "bic_plane")["sd_model"] > 0
    assert any("3 of 3 planes, displaced by 5 µm and tilted by 0.15°" in note for note in result.notes)
    assert any("have the same class in" in note for note in result.notes)


def test_the_tables_are_written(result):
    assert len(pd.read_csv(result.out / "measures.csv")) == len(result.rows)


def test_without_a_model_the_section_is_cut_from_the_volume(measured_phantom, result, tmp_path):
    cut = measure_section(measured_phantom.pair, tmp_path / "cut", volume=measured_phantom.stained, config=CONFIG)
    same = cut.images[VIRTUAL].colours.astype(int) - result.images[VIRTUAL].colours
    # The pair is a slice of the volume, so the model draws nearly the same.
    assert np.abs(same)[load_pair(measured_phantom.pair).mask].mean() < 8


def test_both_sections_have_one_mask_where_the_volume_ends(measured_phantom, tmp_path):
    pair = load_pair(measured_phantom.pair)
    colours = open_stained(measured_phantom.stained)
    part = np.asarray(colours)[:, :90]
    writer = create_stained(tmp_path / "part", part.shape[:3], 20.0, provenance=colours.provenance)
    for start, stop in writer.pending():
        writer.write(start, part[start:stop])
    writer.finish()
    cut = measure_section(pair, tmp_path / "cut", volume=tmp_path / "part", config=CONFIG)
    real, virtual = (cut.images[source].labels == TissueClass.NOT_MEASURED for source in (REAL, VIRTUAL))
    np.testing.assert_array_equal(real, virtual)
    assert real[90:].all()
    assert any("of the mask that lies in the stained volume" in note for note in cut.notes)


def test_wrong_inputs_are_refused(measured_phantom, tmp_path):
    pair = load_pair(measured_phantom.pair)
    with pytest.raises(InputError, match="give `model` or `volume`"):
        measure_section(pair, tmp_path / "m")
    with pytest.raises(InputError, match="does not state where its section lies"):
        measure_section(replace(pair, section=None), tmp_path / "m", volume=measured_phantom.stained)
    with pytest.raises(InputError, match="no implant"):
        measure_plane(np.full((30, 30), TissueClass.BONE, np.uint8), 20.0)


def test_a_section_needs_an_implant(tmp_path):
    with pytest.raises(InputError, match="a section is measured at its implant; leave out `implant` none"):
        measure_section(tmp_path, tmp_path / "out", config=MeasureConfig(implant="none"), model="builtin:phantom-tb")
