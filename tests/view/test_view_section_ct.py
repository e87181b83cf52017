"""The µCT of a section: its voxel size, and whether it is the volume that was stained."""

import warnings

import numpy as np
import pytest
import tifffile

from tomostain.cli.main import run
from tomostain.errors import InputError, OtherInputWarning
from tomostain.imaging.resampling import resample_volume
from tomostain.io import create_stained, open_stained, open_volume
from tomostain.view import export_sections
from tomostain.view.qupath.planes import planes_across
from tomostain.view.section_ct import open_ct
from tomostain.view.sections import section

PLANE = {"points_um": [(0.0, 0.0, 0.0)], "normal": (1, 0, 0)}


def grey_values(seed=0):
    """Return noise, uint16."""
    return np.random.default_rng(seed).integers(0, 60000, (12, 24, 24)).astype(np.uint16)


def write(path, values, voxel_um=20.0):
    """Write a TIFF with a voxel size as ImageJ does; None: without one."""
    if voxel_um is None:
        tifffile.imwrite(path, values, photometric="minisblack")
    else:
        metadata = {"unit": "micron", "spacing": voxel_um}
        tifffile.imwrite(path, values, imagej=True, resolution=(1 / voxel_um,) * 2, metadata=metadata)
    return path


def stain(path, volume, provenance):
    """Write a stained volume on the grid of a µCT."""
    writer = create_stained(path, volume.shape, volume.voxel_um, provenance=provenance)
    for start, stop in writer.pending():
        writer.write(start, np.zeros((stop - start, *volume.shape[1:], 3), np.uint8))
    writer.finish()
    return path


@pytest.fixture
def stained(tmp_path):
    """Return a stained volume of 20 µm voxels that was made of ``right.tif``."""
    volume = open_volume(write(tmp_path / "right.tif", grey_values()), voxel_um=20.0)
    return stain(tmp_path / "s.ome.zarr", volume, {"input": {"name": "r", "fingerprint": volume.fingerprint()}})


@pytest.fixture
def resampled(tmp_path):
    """Return a stained volume of 40 µm voxels that was made of ``right.tif`` (20 µm), resampled."""
    volume = open_volume(write(tmp_path / "right.tif", grey_values()), voxel_um=20.0)
    provenance = {
        "input": {"name": "right.tif", "fingerprint": volume.fingerprint()},
        "resampled": {"original_voxel_um": [20.0] * 3, "origin_um": [10.0] * 3, "interpolation": "linear"},
    }
    return stain(tmp_path / "s.ome.zarr", resample_volume(volume, 40.0), provenance)


@pytest.fixture
def plain(tmp_path):
    """Return a stained volume of 20 µm voxels that stores no fingerprint."""
    return stain(tmp_path / "s.ome.zarr", open_volume(write(tmp_path / "right.tif", grey_values())), {})


def opened(stained, ct, **options):
    """Open the µCT; another µCT is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", OtherInputWarning)
        return open_ct(ct, open_stained(stained), **options)


@pytest.mark.parametrize("stated_um", [20.0, 20.05, None])
def test_the_ct_that_was_stained_is_used(stained, tmp_path, stated_um):
    scan = opened(stained, write(tmp_path / "copy.tif", grey_values(), stated_um))
    assert scan.voxel_um == (20.0, 20.0, 20.0)
    np.testing.assert_array_equal(scan[3], grey_values()[3])


@pytest.mark.parametrize("fixture", ["stained", "plain"])
def test_a_file_that_states_another_voxel_size_is_refused(fixture, request, tmp_path):
    path = request.getfixturevalue(fixture)
    fine = write(tmp_path / "fine.tif", grey_values(1), 10.0)
    sizes = "states voxels of 10 x 10 x 10 µm, but the stained volume has 20 x 20 x 20 µm"
    with pytest.raises(InputError, match=f"fine.tif: {sizes}; give the µCT that was stained, or .* `voxel_um`"):
        section(path, tmp_path / "out.ome.tif", ct=fine, **PLANE)
    with pytest.raises(InputError, match=sizes):
        export_sections(path, tmp_path / "out", planes_across((12, 24, 24), (20.0,) * 3), ct=fine)
    assert not (tmp_path / "out.ome.tif").exists()
    assert not (tmp_path / "out").exists()


def test_slices_of_which_data_are_missing_do_not_hide_the_stated_size(plain, tmp_path, monkeypatch):
    fine = write(tmp_path / "fine.tif", grey_values(), 10.0)
    asked = []

    def open_and_record(path, **options):
        asked.append(options["allow_missing"])
        return open_volume(path, **options)

    monkeypatch.setattr("tomostain.io.stained_input.open_volume", open_and_record)
    with pytest.raises(InputError, match="states voxels of 10"):
        open_ct(fine, open_stained(plain), allow_missing=True)
    assert asked == [True]


def test_a_size_that_was_given_for_staining_is_used(stained, tmp_path, caplog):
    caplog.set_level("INFO", "tomostain")
    scan = opened(stained, write(tmp_path / "same.tif", grey_values(), 10.0))
    assert scan.voxel_um == (20.0, 20.0, 20.0)
    assert (
        "same.tif: states voxels of 10 x 10 x 10 µm, but the stained volume has 20 x 20 x 20 µm, which" in caplog.text
    )


def test_the_right_size_of_the_ct_can_be_given(plain, tmp_path):
    fine = write(tmp_path / "fine.tif", grey_values(), 10.0)
    assert opened(plain, fine, voxel_um=20.0).voxel_um == (20.0, 20.0, 20.0)
    with pytest.raises(InputError, match=r"`voxel_um` is 5 x 5 x 5 µm, but the stained volume has 20 x 20 x 20 µm"):
        opened(plain, fine, voxel_um=5.0)
    with pytest.raises(InputError, match="`voxel_um`: is the voxel size of `ct`"):
        section(plain, tmp_path / "out.ome.tif", voxel_um=5.0, **PLANE)


@pytest.mark.parametrize("verb", ["section", "export"])
def test_the_commands_take_the_size_of_the_ct(plain, tmp_path, capsys, verb):
    fine = write(tmp_path / "fine.tif", grey_values(), 10.0)
    options = ["--ct", str(fine), "--axis", "z", "--through", "40,0,0"]
    if verb == "export":
        options += ["--to", "qupath"]
    command = [verb, str(plain), str(tmp_path / ("out" if verb == "export" else "out.ome.tif")), *options]
    assert run(command) == 2
    assert "or its right size with --voxel-um" in capsys.readouterr().err
    assert run([*command, "--voxel-um", "20"]) == 0
    (written,) = tmp_path.rglob("*.ct.ome.tif")
    assert tifffile.imread(written).shape[:2] == (24, 24)


def test_a_ct_that_was_resampled_is_compared_before_resampling(resampled, tmp_path):
    right = tmp_path / "right.tif"
    expected = resample_volume(open_volume(right), 40.0)
    for ct in (
        right,
        write(tmp_path / "same.tif", grey_values(), 10.0),
        write(tmp_path / "p.tif", grey_values(), None),
    ):
        scan = opened(resampled, ct)
        assert scan.voxel_um == (40.0, 40.0, 40.0)
        np.testing.assert_array_equal(scan[2], expected[2])
    fine = write(tmp_path / "fine.tif", grey_values(1), 10.0)
    with pytest.raises(InputError, match="10 x 10 x 10 µm, but the volume that was stained has 20 x 20 x 20 µm"):
        opened(resampled, fine)
    with pytest.warns(OtherInputWarning, match="is not the volume 'right.tif'"):
        open_ct(fine, open_stained(resampled), voxel_um=20.0)


def test_a_copy_that_was_resampled_before_is_used_as_it_is(resampled, tmp_path):
    values = np.asarray(resample_volume(open_volume(tmp_path / "right.tif"), 40.0))
    scan = opened(resampled, write(tmp_path / "coarse.tif", values, 40.0))
    np.testing.assert_array_equal(scan[2], values[2])
    with pytest.raises(InputError, match="states voxels of 20 x 20 x 20 µm, but the stained volume has 40 x 40 x 40"):
        opened(resampled, write(tmp_path / "wrong.tif", values, 20.0))
