"""The µCT of a measurement: whether it is the one that was stained, its voxel size and its grey values."""

import warnings

import numpy as np
import pytest
import tifffile

from tomostain.errors import InputError, OtherInputWarning, SaturationWarning
from tomostain.io import StainedVolume, Volume, create_stained, open_stained, open_volume
from tomostain.measure.labelling import MeasureSources, open_inputs
from tomostain.measure.refused import open_uncertainty
from tomostain.measure.stained_ct import reference_of

BACKGROUND, BONE = 8000.0, 30000.0


def bone_and_marrow(seed):
    """Return grey values of stripes of bone in soft tissue, with noise, uint16."""
    rng = np.random.default_rng(seed)
    values = np.full((8, 64, 64), BACKGROUND)
    values[:, :, np.arange(64) % 16 < 6] = BONE
    return np.rint(values + rng.normal(0, 300, values.shape)).astype(np.uint16)


def write(path, values, voxel_um=20.0):
    """Write a TIFF with a voxel size as ImageJ does; None: without one."""
    if voxel_um is None:
        tifffile.imwrite(path, values, photometric="minisblack")
    else:
        metadata = {"unit": "micron", "spacing": voxel_um}
        tifffile.imwrite(path, values, imagej=True, resolution=(1 / voxel_um,) * 2, metadata=metadata)
    return path


@pytest.fixture
def stained(tmp_path):
    """Return a stained volume of 20 µm voxels that was made of ``right.tif``."""
    volume = open_volume(write(tmp_path / "right.tif", bone_and_marrow(0)), voxel_um=20.0)
    provenance = {
        "input": {"name": "right.tif", "fingerprint": volume.fingerprint()},
        "levels": {"background": BACKGROUND, "bone": BONE},
    }
    writer = create_stained(tmp_path / "s.ome.zarr", volume.shape, 20.0, provenance=provenance)
    for start, stop in writer.pending():
        writer.write(start, np.zeros((stop - start, *volume.shape[1:], 3), np.uint8))
    writer.finish()
    return writer.path


def opened(stained, ct, **sources):
    """Open a measurement; another µCT is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", OtherInputWarning)
        return open_inputs(MeasureSources(stained, ct=ct, **sources))


def test_the_ct_that_was_stained_is_used_without_a_note(stained, tmp_path):
    without_size = write(tmp_path / "plain.tif", bone_and_marrow(0), None)
    for ct in (tmp_path / "right.tif", without_size, open_volume(tmp_path / "right.tif"), bone_and_marrow(0)):
        inputs = opened(stained, ct)
        assert inputs.ct_notes == ()
        assert inputs.ct.voxel_um == (20.0, 20.0, 20.0)
        assert (inputs.reference.background, inputs.reference.bone) == (BACKGROUND, BONE)


def test_the_original_of_a_resampled_volume_is_refused_with_the_way_out(tmp_path):
    provenance = {"resampled": {"voxel_um": [10.0, 10.0, 10.0], "shape": [16, 128, 128]}}
    writer = create_stained(tmp_path / "s.ome.zarr", (8, 64, 64), 20.0, provenance=provenance)
    writer.write(0, np.zeros((8, 64, 64, 3), np.uint8))
    writer.finish()
    ct = Volume.from_array(np.zeros((16, 128, 128), np.uint16), 10.0)
    with pytest.raises(InputError, match=r"resampled to 20 µm; .*'tomostain resample' with `voxel_um=20`"):
        open_inputs(MeasureSources(writer.path, ct=ct))


def test_another_specimen_gives_a_warning_and_a_note(stained, tmp_path):
    write(tmp_path / "other.tif", bone_and_marrow(1))
    with pytest.warns(OtherInputWarning, match=r"other.tif: is not the volume 'right.tif' .*give the µCT that was"):
        inputs = open_inputs(MeasureSources(stained, ct=tmp_path / "other.tif"))
    (note,) = inputs.ct_notes
    assert note.endswith("shape, voxel size or grey values differ; give the µCT that was stained")


def test_the_grey_values_of_another_scale_are_those_of_the_ct(stained, tmp_path):
    scaled = write(tmp_path / "float.tif", (bone_and_marrow(0) / 65535).astype(np.float32))
    with pytest.warns(OtherInputWarning):
        inputs = open_inputs(MeasureSources(stained, ct=scaled))
    assert inputs.reference.background == pytest.approx(BACKGROUND / 65535, rel=0.05)
    assert inputs.reference.bone == pytest.approx(BONE / 65535, rel=0.05)
    with pytest.warns(OtherInputWarning):
        eight_bits = open_inputs(MeasureSources(stained, ct=(bone_and_marrow(0) // 256).astype(np.uint8)))
    assert eight_bits.reference.background == pytest.approx(BACKGROUND / 256, rel=0.05)
    assert eight_bits.reference.bone == pytest.approx(BONE / 256, rel=0.05)


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.int32, np.float64])
def test_a_copy_of_another_type_is_the_ct_that_was_stained(stained, tmp_path, dtype):
    tifffile.imwrite(tmp_path / "copy.tif", bone_and_marrow(0).astype(dtype), photometric="minisblack")
    for ct in (tmp_path / "copy.tif", bone_and_marrow(0).astype(dtype)):
        inputs = opened(stained, ct)
        assert inputs.ct_notes == ()
        assert (inputs.reference.background, inputs.reference.bone) == (BACKGROUND, BONE)
    changed = bone_and_marrow(0).astype(dtype)
    changed[0, 0, 0] += 1
    with pytest.warns(OtherInputWarning):
        assert not open_inputs(MeasureSources(stained, ct=changed)).has_stored_levels


def test_another_ct_whose_grey_values_cannot_be_estimated_is_refused_with_a_way_out(stained):
    with pytest.warns(OtherInputWarning):
        inputs = open_inputs(MeasureSources(stained, ct=np.full((8, 64, 64), 500, np.uint16)))
    with pytest.raises(InputError, match=r"is not the µCT that was stained, and .* cannot be estimated; give the µCT"):
        assert inputs.reference


@pytest.mark.parametrize("levels", [None, {}])
def test_a_ct_of_unknown_grey_values_that_cannot_be_estimated_is_refused_with_a_way_out(tmp_path, levels):
    flat = write(tmp_path / "flat.tif", np.full((8, 64, 64), 500, np.uint16))
    message = "flat.tif: its grey values of background and bone cannot be estimated; give `labels`, or the µCT with a"
    with pytest.raises(InputError, match=message) as raised:
        assert open_inputs(MeasureSources(ct=flat)).reference
    assert "`intensity`" not in str(raised.value)
    with pytest.raises(InputError, match=message):
        reference_of(open_volume(flat), {"levels": levels})


@pytest.mark.parametrize(
    ("has_stored_levels", "way_out"),
    [(True, "give `labels`, or the µCT with a stained volume"), (False, "give the µCT that was stained")],
)
def test_a_warning_of_bone_that_is_cut_off_names_what_a_measurement_takes(has_stored_levels, way_out):
    values = np.clip(bone_and_marrow(0).astype(float) * 3, 0, 65535).astype(np.uint16)
    with pytest.warns(SaturationWarning) as warned:
        reference_of(Volume.from_array(values, 20.0), {}, has_stored_levels=has_stored_levels)
    assert way_out in str(warned[0].message)
    assert "`intensity`" not in str(warned[0].message)


def test_a_type_that_cannot_hold_the_stored_grey_values_is_refused():
    eight_bits = Volume.from_array((bone_and_marrow(0) // 256).astype(np.uint8), 20.0)
    levels = {"levels": {"background": BACKGROUND, "bone": BONE}}
    with pytest.raises(InputError, match=r"holds uint8, .* bone has the grey value 30000; give the µCT that was"):
        reference_of(eight_bits, levels)
    assert reference_of(eight_bits, levels, has_stored_levels=False).bone == pytest.approx(BONE / 256, rel=0.05)


def test_a_file_that_states_another_voxel_size_is_refused(stained, tmp_path):
    fine = write(tmp_path / "fine.tif", bone_and_marrow(1), 10.0)
    message = r"fine.tif: states voxels of 10 x 10 x 10 µm, but the stained volume has 20 x 20 x 20 µm; .*`voxel_um`"
    with pytest.raises(InputError, match=message):
        opened(stained, fine)
    plain = StainedVolume.from_array(np.zeros((8, 64, 64, 3), np.uint8), 20.0)
    with pytest.raises(InputError, match="10 x 10 x 10 µm, but the stained volume has 20"):
        opened(plain, (bone_and_marrow(0), 10.0))
    with pytest.raises(InputError, match="has voxels of 10 x 10 x 10 µm, but the measured volume has 20 x 20 x 20 µm"):
        opened(stained, Volume.from_array(bone_and_marrow(0), 10.0))
    with pytest.raises(InputError, match="has voxels of 10 x 10 x 10 µm, but the measured volume has 20 x 20 x 20 µm"):
        opened(stained, tmp_path / "right.tif", voxel_um=10.0)
    with pytest.warns(OtherInputWarning):  # the size is right now, the grey values are not
        assert open_inputs(MeasureSources(stained, ct=fine, voxel_um=20.0)).ct.voxel_um == (20.0, 20.0, 20.0)


def test_a_size_that_was_given_for_staining_is_used_with_a_note(stained, tmp_path):
    same = write(tmp_path / "same.tif", bone_and_marrow(0), 10.0)
    inputs = opened(stained, same)
    assert inputs.ct.voxel_um == (20.0, 20.0, 20.0)
    (note,) = inputs.ct_notes
    assert "same.tif: states voxels of 10 x 10 x 10 µm, but the stained volume has 20 x 20 x 20 µm, which is" in note
    assert opened(stained, same, voxel_um=20.0).ct_notes == ()


def test_rounded_sizes_are_equal(stained, tmp_path):
    rounded = write(tmp_path / "rounded.tif", bone_and_marrow(0), 20.05)
    assert opened(stained, rounded).ct_notes == ()


def test_an_uncertainty_that_states_another_voxel_size_is_refused(stained, tmp_path):
    unsure = write(tmp_path / "u.tif", np.zeros((8, 64, 64), np.uint8), 10.0)
    with pytest.raises(InputError, match=r"u.tif: has voxels of 10 x 10 x 10 µm"):
        open_uncertainty(unsure, open_stained(stained))
    plain = write(tmp_path / "plain.tif", np.zeros((8, 64, 64), np.uint8), None)
    assert open_uncertainty(plain, open_stained(stained)).voxel_um == (20.0, 20.0, 20.0)
