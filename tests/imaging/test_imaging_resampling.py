"""Resampling: against scikit-image, on analytic volumes, the same bits for any reading, and files."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import resize

from tomostain.errors import InputError, InterruptedRunError
from tomostain.imaging.intensity import IntensityReference
from tomostain.imaging.resampled_files import ResampleOptions, planned_bytes, resample_file
from tomostain.imaging.resampling import READ_SLICES, Resampling, axis_weights, resample_volume, resampling_of
from tomostain.inspection import check_path
from tomostain.io import Volume, open_volume, write_stack
from tomostain.io.metadata.placement import Placement

SIZES = st.tuples(*[st.sampled_from([2.0, 3.7, 5.0, 6.4, 10.0, 23.0])] * 3)


def noise(shape, dtype=np.float32, seed=0):
    values = np.random.default_rng(seed).random(shape)
    return (values * 60000).astype(dtype)


def ramp(shape, voxel_um, slope=(3.0, -2.0, 0.5)):
    """Return grey values that are linear in the position (z, y, x), µm from the centre of the first voxel."""
    axes = [n * step for n, step in zip(np.indices(shape), voxel_um, strict=True)]
    return sum(s * axis for s, axis in zip(slope, axes, strict=True))


@pytest.mark.parametrize("new", [(4, 5, 6), (2, 10, 3), (16, 20, 24), (8, 5, 24), (3, 7, 30)])
def test_it_agrees_with_scikit_image(new):
    # The edges of both volumes coincide for these sizes, as scikit-image assumes.
    values = noise((8, 10, 12))
    target_um = tuple(5 * old / n for old, n in zip(values.shape, new, strict=True))
    resampled = resample_volume(Volume.from_array(values, voxel_um=5), target_um)
    # Without the Gaussian along the axes that become finer.
    sigma = [max(0.0, (old / n - 1) / 2) for old, n in zip(values.shape, new, strict=True)]
    anti_aliasing = any(sigma)
    options = {"anti_aliasing_sigma": sigma} if anti_aliasing else {}
    expected = resize(values, new, order=1, mode="edge", preserve_range=True, anti_aliasing=anti_aliasing, **options)
    assert resampled.shape == new
    np.testing.assert_allclose(resampled[:], expected, rtol=1e-4, atol=60000 * 1e-5)


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
@pytest.mark.parametrize("target_um", [2.5, 5.0, 7.0, 20.0, (5.0, 10.0, 3.0)])
def test_a_linear_ramp_keeps_its_positions(interpolation, target_um):
    voxel_um = (10.0, 5.0, 5.0)
    volume = Volume.from_array(ramp((40, 60, 60), voxel_um).astype(np.float32), voxel_um)
    resampling = resampling_of(volume, target_um, interpolation)
    resampled = resample_volume(volume, target_um, interpolation=interpolation)[:]
    expected = ramp(resampled.shape, resampling.target_um)
    expected += sum(s * o for s, o in zip((3.0, -2.0, 0.5), resampling.origin_um, strict=True))
    # Away from the ends, where the border voxels are repeated.
    inner = tuple(slice(n // 3, n - n // 3) for n in resampled.shape)
    np.testing.assert_allclose(resampled[inner], expected[inner], atol=0.01)


@pytest.mark.parametrize("first_um", [None, (100.0, 0.0, -40.0)])
def test_a_bright_cube_keeps_its_position(first_um):
    values = np.zeros((40, 60, 80), np.uint16)
    values[8:16, 24:32, 48:64] = 1000
    first = np.zeros(3) if first_um is None else np.array(first_um)
    volume = Volume.from_array(values, 5.0, placement=None if first_um is None else Placement(first_um))
    resampled = resample_volume(volume, 20.0)
    grey = resampled[:].astype(float)
    index = [(grey * each).sum() / grey.sum() for each in np.indices(grey.shape)]
    centre = np.add(resampled.placement.origin_um, np.multiply(index, 20.0))
    np.testing.assert_allclose(centre, first + 5.0 * np.array([11.5, 27.5, 55.5]), atol=0.05)


def test_cubic_interpolation_stays_within_the_significant_bits(tmp_path):
    values = np.repeat(np.array([0, 0, 4095, 4095, 0, 0], np.uint16), 4).reshape(1, 1, 24) * np.ones((2, 4, 1))
    sizes = {"PhysicalSizeX": 5.0, "PhysicalSizeY": 5.0, "PhysicalSizeZ": 5.0}
    path = tmp_path / "scan.ome.tif"
    tifffile.imwrite(path, values.astype(np.uint16), metadata={"axes": "ZYX", "SignificantBits": 12, **sizes})
    resampled = resample_volume(path, 2.0, interpolation="cubic")
    assert resampled.bits == 12
    assert resampled[:].max() == 4095


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_values_above_the_stated_bits_are_kept(tmp_path, interpolation):
    # 12 bits that are shifted to the upper bits of uint16, as some cameras store them.
    values = (noise((6, 8, 10), np.uint16) // 16 + 100) * 16
    sizes = {"PhysicalSizeX": 5.0, "PhysicalSizeY": 5.0, "PhysicalSizeZ": 5.0}
    path = tmp_path / "scan.ome.tif"
    tifffile.imwrite(path, values, metadata={"axes": "ZYX", "SignificantBits": 12, **sizes})
    assert open_volume(path).bits == 12
    same = resample_volume(path, 5.0, interpolation=interpolation)
    np.testing.assert_array_equal(same[:], values)
    finer = resample_volume(path, 2.5, interpolation=interpolation)
    assert finer[:].max() <= values.max()
    np.testing.assert_array_equal(finer[3:5], finer[:][3:5])
    np.testing.assert_allclose(finer[:].mean(), values.mean(), rtol=0.02)


def test_slices_of_a_volume_without_a_position_are_written_without_a_warning(tmp_path):
    out = resample_file(Volume.from_array(noise((8, 12, 12)), voxel_um=5.0), tmp_path / "slices", ResampleOptions(10.0))
    assert open_volume(out).shape == (4, 6, 6)


def test_the_lower_edges_coincide():
    resampling = Resampling((9, 10, 11), (10.0, 5.0, 4.0), (4.0, 10.0, 4.0))
    assert resampling.shape == (23, 5, 11)
    for first, old, new in zip(resampling.origin_um, resampling.original_um, resampling.target_um, strict=True):
        assert first - new / 2 == -old / 2


@pytest.mark.parametrize("itemsize", [1, 2, 4])
def test_the_memory_of_reading_counts_stored_slices_and_three_float_images(itemsize):
    resampling = Resampling((40, 10, 11), (5.0, 5.0, 4.0), (20.0, 5.0, 4.0))
    stored = int(np.diff(resampling.weights[0].indptr).max()) + READ_SLICES
    assert resampling.memory_bytes(itemsize) == 10 * 11 * (stored * itemsize + 12)


def test_cubic_interpolation_is_exact_for_parabolas():
    z = np.arange(30) * 5.0
    volume = Volume.from_array((z**2).astype(np.float32).reshape(-1, 1, 1), (5.0, 1.0, 1.0))
    fine = resample_volume(volume, (2.0, 1.0, 1.0), interpolation="cubic")[:].ravel()
    positions = (np.arange(len(fine)) + 0.5) * 2.0 - 2.5
    np.testing.assert_allclose(fine[10:-10], positions[10:-10] ** 2, rtol=1e-5)
    linear = resample_volume(volume, (2.0, 1.0, 1.0))[:].ravel()
    assert np.abs(linear - positions**2)[10:-10].max() > 1


@given(st.integers(1, 40), st.floats(0.2, 9.0), st.sampled_from(["linear", "cubic"]))
def test_weights_sum_to_one_and_constants_stay(n_in, ratio, interpolation):
    n_out = max(1, round(n_in / ratio))
    weights = axis_weights(n_in, n_out, ratio, interpolation)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-5)
    if interpolation == "linear":
        assert weights.data.min() >= 0


@settings(deadline=None, max_examples=30)
@given(
    shape=st.tuples(st.integers(1, 13), st.integers(1, 9), st.integers(1, 9)),
    voxel_um=SIZES,
    target_um=SIZES,
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
    interpolation=st.sampled_from(["linear", "cubic"]),
    step=st.integers(1, 7),
)
def test_the_bits_do_not_depend_on_the_slices_that_are_read(shape, voxel_um, target_um, dtype, interpolation, step):
    volume = Volume.from_array(noise(shape, dtype), voxel_um)
    resampled = resample_volume(volume, target_um, interpolation=interpolation)
    depth = resampled.shape[0]
    whole = resampled.read(0, depth)
    assert whole.dtype == volume.dtype
    parts = [resampled.read(start, min(start + step, depth)) for start in range(0, depth, step)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_only_the_slices_that_are_needed_are_read():
    values, spans = noise((100, 4, 4)), []

    class Counted:
        shape, dtype = values.shape, values.dtype

        def __getitem__(self, span):
            spans.append((span.start, span.stop))
            return values[span]

    resampled = resample_volume(Volume.from_array(Counted(), 5.0), 20.0)
    resampled.read(10, 12)
    # Slices 40 to 47 and 4 σ = 6 slices, and one of the interpolation, on both sides.
    assert min(start for start, _ in spans) >= 40 - 7
    assert max(stop for _, stop in spans) <= 48 + 7
    assert max(stop - start for start, stop in spans) <= 8


def test_integers_are_rounded_and_clipped():
    step = np.repeat([0, 255], 6).astype(np.uint8).reshape(-1, 1, 1)
    fine = resample_volume(Volume.from_array(step, (5.0, 1.0, 1.0)), (2.0, 1.0, 1.0), interpolation="cubic")
    values = fine[:].ravel()
    assert values.dtype == np.uint8
    assert values[0] == 0
    assert values[-1] == 255
    assert (np.diff(values.astype(int)) >= 0).all()  # an overshoot that wraps around would show as a jump back


def test_high_frequencies_do_not_alias():
    stripes = (np.arange(90) % 2 * 1000.0).astype(np.float32).reshape(-1, 1, 1)
    coarse = resample_volume(Volume.from_array(stripes, (5.0, 1.0, 1.0)), (15.0, 1.0, 1.0))[5:-5].ravel()
    assert np.ptp(coarse) < 150  # every third voxel alone would give 0 and 1000
    assert coarse.mean() == pytest.approx(500, rel=0.02)


def test_the_volume_describes_its_source(tmp_path):
    write_stack(tmp_path / "scan", noise((6, 8, 9), np.uint16), voxel_um=10.0)
    resampled = resample_volume(tmp_path / "scan", 5)
    assert resampled.voxel_um == (5.0, 5.0, 5.0)
    assert resampled.shape == (12, 16, 18)
    assert "voxel size from resampling of 10 x 10 x 10 µm" in resampled.describe()
    with pytest.raises(InputError, match="`target_um`: -5 is not a length"):
        resample_volume(tmp_path / "scan", -5)
    with pytest.raises(InputError, match="interpolation 'nearest': expected linear or cubic"):
        resample_volume(tmp_path / "scan", 5, interpolation="nearest")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_an_ome_zarr_has_the_values_the_size_and_the_position(tmp_path, dtype):
    import zarr

    volume = Volume.from_array(noise((21, 40, 30), dtype), voxel_um=(10.0, 5.0, 5.0), name="scan")
    out = resample_file(volume, tmp_path / "out.ome.zarr", ResampleOptions(5.0))
    opened = open_volume(out)
    assert opened.voxel_um == (5.0, 5.0, 5.0)
    np.testing.assert_array_equal(opened[:], resample_volume(volume, 5.0)[:])
    attributes = dict(zarr.open_group(out, mode="r").attrs)
    transforms = attributes["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    assert transforms[1] == {"type": "translation", "translation": [0.0, -2.5, 0.0, 0.0]}
    provenance = attributes["tomostain"]["provenance"]
    assert provenance["resampled"]["original_voxel_um"] == [10.0, 5.0, 5.0]
    assert provenance["input"] == {"name": "scan", "fingerprint": volume.fingerprint()}
    assert check_path(out).kind == "volume"


def test_the_coarser_levels_are_means_for_every_type(tmp_path):
    import zarr

    for dtype, rounding in ((np.uint16, 0.5), (np.float32, 1e-2)):
        values = noise((4, 300, 10), dtype)
        out = resample_file(Volume.from_array(values, 5.0), tmp_path / f"{rounding}.zarr", ResampleOptions(5.0))
        coarse = zarr.open_array(out / "1", mode="r")[0]
        expected = values.astype(float).reshape(2, 2, 150, 2, 5, 2).mean(axis=(1, 3, 5))
        assert coarse.dtype == dtype
        np.testing.assert_allclose(coarse, expected, atol=rounding)


def test_an_interrupted_ome_zarr_is_continued(tmp_path):
    volume = Volume.from_array(noise((50, 12, 11), np.uint16), 10.0)
    whole = resample_file(volume, tmp_path / "whole.zarr", ResampleOptions(5.0))
    requests = []

    def stop_after_two():
        requests.append(1)
        return len(requests) > 2

    out = tmp_path / "part.zarr"
    with pytest.raises(InterruptedRunError, match="stopped at slice 64"):
        resample_file(volume, out, ResampleOptions(5.0), should_stop=stop_after_two)
    with pytest.raises(InputError, match="writing was not finished"):
        open_volume(out)
    resample_file(volume, out, ResampleOptions(5.0))
    np.testing.assert_array_equal(open_volume(out)[:], open_volume(whole)[:])
    with pytest.raises(InputError, match="cannot be continued"):
        resample_file(volume, out, ResampleOptions(4.0))


def test_a_folder_of_slices_has_the_values_and_the_size(tmp_path):
    volume = Volume.from_array(noise((21, 40, 30), np.uint16), voxel_um=5.0)
    out = resample_file(volume, tmp_path / "slices", ResampleOptions((10.0, 7.0, 5.0), "cubic"))
    opened = open_volume(out)
    assert opened.voxel_um == pytest.approx((10.0, 7.0, 5.0))
    np.testing.assert_array_equal(opened[:], resample_volume(volume, (10.0, 7.0, 5.0), interpolation="cubic")[:])
    with pytest.raises(InputError, match="`overwrite=True`"):
        resample_file(volume, out, ResampleOptions(5.0))
    resample_file(volume, out, ResampleOptions(5.0, overwrite=True))
    with pytest.raises(InputError, match=r"out\.h5: give NAME\.ome\.zarr"):
        resample_file(volume, tmp_path / "out.h5", ResampleOptions(5.0))
    with pytest.raises(InputError, match="lies in"):
        resample_file(out, tmp_path, ResampleOptions(5.0, overwrite=True))


def test_the_memory_does_not_grow_with_the_number_of_slices():
    shallow, deep = (Volume.from_array(np.zeros((n, 8, 8), np.uint16), 5.0) for n in (100, 200))
    plans = [planned_bytes(volume, resampling_of(volume, 10.0)) for volume in (shallow, deep)]
    assert plans[0][0] == plans[1][0]
    assert plans[1][1] == 2 * plans[0][1] == 100 * 4 * 4 * 2


def test_the_grey_levels_of_regions_stay():
    values = np.full((40, 60, 60), 20000, np.uint16)
    values[:, 20:40, 20:40] = 33000
    values += np.random.default_rng(0).integers(0, 100, values.shape).astype(np.uint16)
    coarse = resample_volume(Volume.from_array(values, 5.0), 10.0)[:]
    reference = IntensityReference(background=float(coarse[:, :8].mean()), bone=float(coarse[:, 13:17, 13:17].mean()))
    assert reference.background == pytest.approx(20050, abs=5)
    assert reference.bone == pytest.approx(33050, abs=5)


def test_a_region_is_taken_of_the_resampled_volume():
    volume = Volume.from_array(noise((10, 12, 14)), 10.0, name="scan")
    resampled = resample_volume(volume, 5.0)
    region = resampled.region((3, 4, 5), (9, 20, 25))
    np.testing.assert_array_equal(region[:], resampled[:][3:9, 4:20, 5:25])
    with pytest.raises(InputError, match=r"scan: is a region that begins at voxel \(1, 0, 0\)"):
        resample_volume(volume.region((1, 0, 0), (5, 12, 14)), 5.0)


@pytest.mark.parametrize(
    ("missing", "target_um", "expected"),
    # From the voxel before the missing ones to the voxel after them, and not beyond the volume.
    [((6, 8), 5.0, (10, 16)), ((0, 1), 5.0, (0, 4)), ((3, 4), 20.0, (1, 3)), ((7, 8), 20.0, (3, 4))],
)
def test_slices_that_are_interpolated_from_missing_ones_are_missing(missing, target_um, expected):
    volume = replace(Volume.from_array(noise((8, 4, 4)), 10.0), missing=(missing,))
    resampled = resample_volume(volume, (target_um, 10.0, 10.0))
    assert tuple(resampled.missing) == (expected,)
