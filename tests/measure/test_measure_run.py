"""Whole measurements of a small phantom, on files."""

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy import ndimage

from tomostain.errors import InputError, OtherInputWarning
from tomostain.imaging.resampling import resample_volume
from tomostain.io import Volume, create_stained, open_stained, open_volume, write_stack
from tomostain.io.metadata.placement import Placement
from tomostain.measure.classes import TissueClass, phantom_classes
from tomostain.measure.config import MeasureConfig
from tomostain.measure.initial import known_implant
from tomostain.measure.label_files import open_labels, write_labels
from tomostain.measure.label_source import LabelArray
from tomostain.measure.notes import novelty_notes, saturation_notes, view_notes
from tomostain.measure.run import measure_volume
from tomostain.measure.volume import PARTS, QUICK, measure_labels
from tomostain.phantom import PhantomConfig
from tomostain.phantom.anatomy import grow_anatomy
from tomostain.phantom.tomography import tomograph

CONFIG = MeasureConfig(shell_um=(0, 100, 300), profile_um=100, implant="Mg-10Gd", weeks=8)


@pytest.fixture(scope="module")
def from_stain(measured_phantom, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "measures"
    config = CONFIG.model_copy(update={"members": 2, "max_uncertainty": 0.4})
    return measure_volume(measured_phantom.stained, out, config=config)


@dataclass(frozen=True)
class Thin:
    """Twelve slices of the phantom, for what does not need all of them: the stained volume, the µCT, their arrays."""

    stained: Path
    ct: Path
    rgb: np.ndarray
    grey: np.ndarray


def write_rgb(path, rgb, voxel_um, provenance):
    writer = create_stained(path, rgb.shape[:3], voxel_um, provenance=provenance)
    for start, stop in writer.pending():
        writer.write(start, rgb[start:stop])
    writer.finish()
    return path


def stained_from(ct, provenance):
    """Return the provenance of a volume that was stained from a µCT with the grey levels of another provenance."""
    return provenance | {"input": {"name": "ct", "fingerprint": open_volume(ct).fingerprint()}}


@pytest.fixture(scope="module")
def thin(measured_phantom, tmp_path_factory):
    folder = tmp_path_factory.mktemp("thin")
    stained = open_stained(measured_phantom.stained)
    rgb, grey = np.asarray(stained)[14:26], np.asarray(open_volume(measured_phantom.folder / "volume"))[14:26]
    write_stack(folder / "ct", grey, voxel_um=(20.0,) * 3)
    path = write_rgb(folder / "rat_5.3um.ome.zarr", rgb, 20.0, stained_from(folder / "ct", stained.provenance))
    return Thin(path, folder / "ct", rgb, grey)


@pytest.fixture(scope="module")
def from_thin(thin, tmp_path_factory):
    """Return the measures of the thin volume, with itself as another stained volume."""
    config = CONFIG.model_copy(update={"maps": False})
    return measure_volume(thin.stained, tmp_path_factory.mktemp("thin") / "m", ensemble=[thin.stained], config=config)


@pytest.fixture(scope="module")
def from_labels(measured_phantom, tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth")
    write_labels(folder / "labels.ome.zarr", LabelArray(measured_phantom.labels, 20.0))
    config = CONFIG.model_copy(update={"initial_volume_mm3": 3.0, "initial_surface_mm2": 12.0, "maps": False})
    return measure_volume(None, folder / "measures", labels=folder / "labels.ome.zarr", config=config)


def value_of(result, measure, region="all", voxels="all"):
    rows = [r for r in result.rows if (r["measure"], r["region"], r["voxels"]) == (measure, region, voxels)]
    assert len(rows) == 1
    return rows[0]["value"]


def test_the_files_hold_the_measures(from_stain):
    table = pd.read_csv(from_stain.out / "measures.csv")
    assert len(table) == len(from_stain.rows)
    np.testing.assert_allclose(table["value"], [row["value"] for row in from_stain.rows])
    stored = json.loads((from_stain.out / "measures.json").read_text(encoding="utf-8"))
    assert set(table["measure"]) == set(stored["definitions"])
    assert set(table["unit"]) <= {"%", "mm³", "mm²", "µm", "1/mm", "mm/year", "1/mm³", "µm³"}


def test_labels_and_maps_have_the_grid_of_the_stain(from_stain, measured_phantom):
    stained = open_stained(measured_phantom.stained)
    labels = open_labels(from_stain.labels_path, stained)
    truth = measured_phantom.labels
    assert (labels.read(0, 40) == truth).mean() > 0.8
    thickness, distance = (open_volume(from_stain.out / f"{name}.ome.zarr") for name in ("thickness", "distance"))
    bone = np.isin(labels.read(10, 20), (TissueClass.BONE, TissueClass.NEW_BONE))
    np.testing.assert_array_equal(thickness.read(10, 20) > 0, bone)
    layer = open_volume(from_stain.out / "layer.ome.zarr").read(10, 20)
    assert 20 < np.median(layer[layer > 0]) < 300
    assert (labels.read(10, 20)[layer > 0] == TissueClass.DEGRADATION).mean() > 0.9
    metal = labels.read(10, 20) == TissueClass.METAL
    assert (distance.read(10, 20)[metal] < 0).mean() > 0.99


def test_the_measures_of_the_true_labels_are_those_of_the_array(from_labels, measured_phantom):
    direct = measure_labels(LabelArray(measured_phantom.labels, 20.0), CONFIG, parts=("contact",)).measures
    for measure in direct:
        assert value_of(from_labels, measure.definition.id) == pytest.approx(measure.value)
    metal = (measured_phantom.labels == TissueClass.METAL).sum() * 8e-6
    assert value_of(from_labels, "residual_metal_volume") == pytest.approx(metal, rel=0.01)
    loss = 100 * (3.0 - value_of(from_labels, "residual_metal_volume")) / 3.0
    assert value_of(from_labels, "implant_volume_loss") == pytest.approx(loss)


def test_contact_from_the_stain_is_near_the_truth(from_stain, from_labels):
    assert value_of(from_stain, "bic_surface") == pytest.approx(value_of(from_labels, "bic_surface"), abs=8)
    assert value_of(from_stain, "bv_tv", "0-300 µm") == pytest.approx(value_of(from_labels, "bv_tv", "0-300 µm"), abs=6)


def test_refused_voxels_are_reported_apart(from_stain):
    assert any("of the voxels were refused" in note for note in from_stain.notes)
    assert value_of(from_stain, "tv", "0-300 µm", "without refused") < value_of(from_stain, "tv", "0-300 µm")
    assert {row["voxels"] for row in from_stain.rows} == {"all", "without refused"}


def test_the_networks_of_the_classifier_have_a_spread(from_stain):
    spread = {row["measure"]: row["sd_model"] for row in from_stain.rows if row["voxels"] == "all"}
    assert 0 < spread["bic_surface"] < 20
    assert 0 < spread["trabecular_thickness"] < 100
    assert not [path for path in from_stain.out.iterdir() if path.name.startswith(".member")]


def test_a_partial_field_of_view_is_stated(from_stain, from_labels):
    for result in (from_stain, from_labels):
        assert any(note.startswith("partial field of view: the implant reaches the faces") for note in result.notes)


def test_thickness_of_a_large_volume_has_no_spread(thin, tmp_path, monkeypatch):
    monkeypatch.setattr("tomostain.measure.volume.MAX_SPREAD_VOXELS", 1000)
    config = CONFIG.model_copy(update={"maps": False, "members": 2, "max_uncertainty": None})
    result = measure_volume(thin.stained, tmp_path / "m", config=config)
    spread = {row["measure"]: row["sd_model"] for row in result.rows}
    assert spread["bic_surface"] > 0
    assert math.isnan(spread["trabecular_thickness"])
    assert "thickness and cavities of a volume of this size have no sd_model" in result.notes


def test_another_stained_volume_gives_a_spread(from_thin):
    assert next(row["sd_model"] for row in from_thin.rows if row["measure"] == "bic_surface") == 0


def test_a_specimen_is_named_as_its_folder(from_thin):
    assert {row["specimen"] for row in from_thin.rows} == {"rat_5.3um"}


def test_both_images_are_used_where_they_are_given(thin, tmp_path):
    config = CONFIG.model_copy(update={"maps": False})
    result = measure_volume(thin.stained, tmp_path / "m", ct=thin.ct, config=config)
    assert {row["source"] for row in result.rows} == {"both"}
    assert "phantom-tb-both" in result.provenance["classifier"]


def test_another_ct_is_stated_in_the_results(thin, tmp_path):
    other = tmp_path / "other"
    write_stack(other, np.clip(thin.grey.astype(int) + 300, 0, 65535).astype(np.uint16), voxel_um=(20.0,) * 3)
    config = CONFIG.model_copy(update={"maps": False})
    with pytest.warns(OtherInputWarning, match=r"other: is not the volume 'ct' that was stained"):
        result = measure_volume(thin.stained, tmp_path / "m", ct=other, config=config)
    assert any(note.endswith("give the µCT that was stained") for note in result.notes)


@pytest.mark.parametrize("with_ct", [False, True])
def test_a_finer_volume_is_measured_at_the_voxel_size_of_the_classifier(thin, from_thin, tmp_path, with_ct):
    fine = thin.rgb.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    ct, provenance = None, open_stained(thin.stained).provenance
    if with_ct:
        ct = tmp_path / "ct"
        write_stack(ct, thin.grey.repeat(2, 0).repeat(2, 1).repeat(2, 2), voxel_um=(10.0,) * 3)
        provenance = stained_from(ct, provenance)
    write_rgb(tmp_path / "fine", fine, 10.0, provenance)
    config = CONFIG.model_copy(update={"maps": False})
    result = measure_volume(tmp_path / "fine", tmp_path / "m", ct=ct, config=config)
    labels = open_labels(result.labels_path)
    assert (labels.shape, labels.voxel_um) == ((12, 144, 144), (20.0, 20.0, 20.0))
    # The first voxel of 20 µm covers two of 10 µm along each axis, whose centres lie at 0 and 10 µm.
    assert labels.placement == Placement((5.0, 5.0, 5.0))
    assert any("measured at voxels of 20 x 20 x 20 µm" in note for note in result.notes)
    tolerance = 4 if with_ct else 0.5
    assert value_of(result, "bic_surface") == pytest.approx(value_of(from_thin, "bic_surface"), abs=tolerance)


def test_wrong_inputs_are_refused(measured_phantom, from_labels, tmp_path):
    labels, stained = from_labels.labels_path, measured_phantom.stained
    with pytest.raises(InputError, match="there is nothing to measure"):
        measure_volume(None, tmp_path / "m")
    config = CONFIG.model_copy(update={"max_uncertainty": 0.5, "maps": False})
    with pytest.raises(InputError, match="labels have no uncertainty of their own"):
        measure_volume(None, tmp_path / "n", labels=labels, config=config)
    with pytest.raises(InputError, match="`ensemble`: other stained volumes change nothing"):
        measure_volume(stained, tmp_path / "m", labels=labels, ensemble=[stained])
    by_scan, ct = MeasureConfig(classes_from="ct"), measured_phantom.folder / "volume"
    with pytest.raises(InputError, match="`ensemble`: other stained volumes change nothing"):
        measure_volume(stained, tmp_path / "m", ct=ct, ensemble=[stained], config=by_scan)
    with pytest.raises(InputError, match="classes from 'ct' need `ct`"):
        measure_volume(stained, tmp_path / "m", config=MeasureConfig(classes_from="ct"))
    with pytest.raises(InputError, match="measures"):
        measure_volume(None, from_labels.out, labels=labels)


def test_labels_without_the_stated_implant_are_refused(measured_phantom):
    soft = LabelArray(np.full((8, 8, 8), TissueClass.SOFT, np.uint8), 20.0)
    with pytest.raises(InputError, match=r"no implant.*soft tissue and marrow"):
        measure_labels(soft)
    labels, config = LabelArray(measured_phantom.labels, 20.0), MeasureConfig(diameter_mm=5.0)
    with pytest.raises(InputError, match="5000"):
        measure_labels(labels, config, parts=())


def test_parts_select_measures(measured_phantom):
    labels = LabelArray(measured_phantom.labels, 20.0)
    assert measure_labels(labels, parts=()).measures == []
    quick = {each.definition.id for each in measure_labels(labels, parts=QUICK).measures}
    assert "bic_surface" in quick
    assert "trabecular_thickness" not in quick
    assert set(QUICK) < set(PARTS)


@pytest.mark.parametrize("share", [None, 0, 0.004, 0.05, "unknown"])
def test_a_volume_of_the_kind_of_the_training_data_has_no_note(measured_phantom, share):
    stained = open_stained(measured_phantom.stained)
    stained.provenance = {"new_share": share}
    assert novelty_notes(stained) == []
    stained.provenance = {}
    assert novelty_notes(stained) == novelty_notes(None) == []


def test_a_volume_unlike_the_training_data_of_the_model_is_stated(measured_phantom):
    stained = open_stained(measured_phantom.stained)
    stained.provenance = {"new_share": 0.826}
    (note,) = novelty_notes(stained)
    assert note.startswith("83% of the volume is unlike the training data of the model that stained it (usual up to 5")


def test_a_saturated_implant_is_stated(measured_phantom):
    labels = LabelArray(measured_phantom.labels, 20.0)
    implant = measure_labels(labels, parts=()).implant
    scan = np.full(labels.shape, 30000, np.uint16)
    assert saturation_notes(Volume.from_array(scan, voxel_um=20.0), implant) == []
    scan[implant.read(0, labels.shape[0])] = 65535
    (note,) = saturation_notes(Volume.from_array(scan, voxel_um=20.0), implant)
    assert note.startswith("100% of the implant has the largest grey value of the µCT (65535)")
    assert saturation_notes(Volume.from_array(scan.astype(np.float32), voxel_um=20.0), implant) == []


def test_the_top_of_the_grey_scale_is_that_of_the_significant_bits(measured_phantom, tmp_path):
    labels = LabelArray(measured_phantom.labels, 20.0)
    implant = measure_labels(labels, parts=()).implant
    sizes = {"PhysicalSizeX": 20.0, "PhysicalSizeY": 20.0, "PhysicalSizeZ": 20.0}
    for brightest, notes in ((4095, 1), (4000, 0)):
        scan = np.where(implant.read(0, labels.shape[0]), brightest, 800).astype(np.uint16)
        path = tmp_path / f"{brightest}.ome.tif"
        tifffile.imwrite(path, scan, metadata={"axes": "ZYX", "SignificantBits": 12, **sizes})
        volume = open_volume(path)
        assert len(saturation_notes(volume, implant)) == notes
        assert len(saturation_notes(resample_volume(volume, 20.0), implant)) == notes
    assert "(4095)" in saturation_notes(open_volume(tmp_path / "4095.ome.tif"), implant)[0]


def test_a_volume_without_an_implant_has_measures_of_the_whole_volume():
    labels = np.full((20, 24, 24), TissueClass.SOFT, np.uint8)
    labels[5:10] = TissueClass.BONE
    labels[:, 0] = TissueClass.NOT_MEASURED
    with pytest.raises(InputError, match="`implant` none measures a volume without an implant"):
        measure_labels(LabelArray(labels, 10.0))
    measured = measure_labels(LabelArray(labels, 10.0), MeasureConfig(implant="none"))
    values = {each.definition.id: each for each in measured.measures}
    assert measured.implant is None
    assert values["bv_tv"].value == pytest.approx(25.0)
    assert values["bv_tv"].region == "all"
    assert values["tv"].value == pytest.approx(20 * 23 * 24 * 1e-6)
    assert values["trabecular_thickness"].value == pytest.approx(50.0, abs=10)
    assert "lacunar_number_density" in values
    assert not {"bic_surface", "degradation_layer_volume"} & set(values)


@pytest.mark.parametrize(
    ("columns", "note"), [(0, ""), (6, "metal and degradation layer count as tissue: 25% of TV")], ids=["none", "metal"]
)
def test_metal_in_a_volume_without_an_implant_is_stated(columns, note):
    labels = np.full((20, 24, 24), TissueClass.SOFT, np.uint8)
    labels[:, :, :columns] = TissueClass.METAL
    measured = measure_labels(LabelArray(labels, 10.0), MeasureConfig(implant="none"), parts={"shells"})
    assert {each.note for each in measured.measures} == {note}
    assert any("state its material as `implant`" in text for text in view_notes(measured)) == bool(note)


@pytest.mark.parametrize("values", [{"weeks": 8}, {"geometry": "m2-screw"}, {"diameter_mm": 2.0}])
def test_options_of_an_implant_are_refused_without_one(values):
    with pytest.raises(InputError, match=f"`{next(iter(values))}` needs an implant, but `implant` is none"):
        MeasureConfig.from_dict({"implant": "none", **values})


def test_a_fitted_surface_is_not_moved_by_wrong_labels():
    """Part of a titanium screw gets a wrong layer of soft tissue, three voxels deep."""
    shape = (40, 144, 144)
    _, drawn = tomograph(grow_anatomy(PhantomConfig(seed=77, material="Ti", shape=shape, orientation="lying")))
    true = LabelArray(phantom_classes(drawn), 20.0)
    config = MeasureConfig(geometry="m2-screw", implant="Ti")
    inside = measure_labels(true, parts=()).implant.read(0, 40)
    eroded = ndimage.binary_erosion(inside, iterations=3, border_value=1)
    wrong = true.labels.copy()
    wrong[:, :, :36][(inside & ~eroded)[:, :, :36]] = TissueClass.SOFT
    labels = LabelArray(wrong, 20.0)
    fitted = config.model_copy(update={"surface": "fitted"})
    found = measure_labels(labels, fitted, parts=("contact",), known=known_implant(config, labels)).measures
    assert all("surface of the fitted geometry" in each.note for each in found)
    truth, by_labels, by_fit = (
        next(each.value for each in measures if each.definition.id == "bic_surface")
        for measures in (
            measure_labels(true, config, parts=("contact",)).measures,
            measure_labels(labels, config, parts=("contact",)).measures,
            found,
        )
    )
    assert abs(by_fit - truth) < 3 < abs(by_labels - truth)
    with pytest.raises(InputError, match="`surface` 'fitted' needs the shape"):
        measure_labels(labels, fitted, parts=("contact",))
    with pytest.raises(InputError, match="`surface` 'fitted' needs `geometry`"):
        MeasureConfig.from_dict({"surface": "fitted"})


def test_wrong_options_delete_nothing(from_labels, measured_phantom, tmp_path):
    out = tmp_path / "m"
    shutil.copytree(from_labels.out, out)
    before = sorted(path.name for path in out.iterdir())
    for change in ({"geometry": "m2-skrew"}, {"initial": out / "measures.csv"}):
        config = CONFIG.model_copy(update=change)
        with pytest.raises(InputError):
            measure_volume(None, out, labels=from_labels.labels_path, config=config, overwrite=True)
    (out / "labels-corrected.ome.zarr").mkdir()
    with pytest.raises(InputError, match=r"labels-corrected\.ome\.zarr: is not a file of a measurement"):
        measure_volume(None, out, labels=from_labels.labels_path, overwrite=True)
    (out / "labels-corrected.ome.zarr").rmdir()
    assert sorted(path.name for path in out.iterdir()) == before
    coarse = tmp_path / "coarse"
    writer = create_stained(coarse, (8, 8, 8), 50.0, provenance={})
    writer.write(0, np.zeros((8, 8, 8, 3), np.uint8))
    writer.finish()
    with pytest.raises(InputError, match="voxels of 50 x 50 x 50 µm, and the tissue classifier is for 20 µm"):
        measure_volume(coarse, out, overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == before


def test_refused_voxels_do_not_move_the_implant(measured_phantom):
    """Only the outermost voxels of the implant are refused: the tissue around it is unchanged."""
    labels = LabelArray(measured_phantom.labels, 20.0)
    config = MeasureConfig(shell_um=(0, 100, 300))
    parts = ("contact", "shells", "degradation")
    whole = measure_labels(labels, config, parts=parts)
    inside = whole.implant.read(0, 40)
    rim = inside & ~ndimage.binary_erosion(inside, border_value=1)
    refused = LabelArray(np.where(rim, TissueClass.NOT_MEASURED, measured_phantom.labels).astype(np.uint8), 20.0)
    rest = {each.key: each.value for each in measure_labels(refused, config, parts=parts, reuse=whole).measures}
    for measure in whole.measures:
        if measure.definition.id in ("bic_surface", "bic_voxel", "bv_tv", "im_s", "nb_v"):
            assert rest[measure.key] == pytest.approx(measure.value, abs=0.1)
