"""Compare the scan with tabulated attenuation, real back-projections and analytic images."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.special import erf
from skimage.transform import iradon, radon

from tomostain.errors import InputError
from tomostain.phantom import Label, PhantomConfig, Tissue, TomographyConfig, grow_anatomy, tomograph, tomography
from tomostain.phantom.materials import attenuation_table, screw_attenuation
from tomostain.phantom.sampler import sample_tissue_in_volume
from tomostain.phantom.tomography import (
    attenuation_volume,
    grey_scale,
    instrument,
    metal_streaks,
    projection_noise,
    ring_pattern,
)

OFF = {"blur": 0, "fringe": 0, "noise": 0, "rings": 0, "streaks": 0}
SCALE = {"background_grey": 10000, "bone_grey": 30000}
BEAM = st.floats(25, 45)


def rng(seed=0):
    return np.random.default_rng(seed)


# NIST X-ray mass attenuation coefficients (Hubbell & Seltzer, NISTIR 5632, physics.nist.gov/PhysRefData/XrayMassCoef),
# cm²/g at 30 keV: water 0.3756, aluminium 1.128, titanium 4.972, magnesium 0.9306.
@pytest.mark.parametrize(
    ("formula", "density", "nist"),
    [("H2O", 1.0, 0.3756), ("Al", 2.699, 1.128), ("Ti", 4.51, 4.972), ("Mg", 1.74, 0.9306)],
)
def test_cross_sections_agree_with_nist(formula, density, nist):
    from xraydb import material_mu

    assert material_mu(formula, 30e3, density=density) / density == pytest.approx(nist, rel=0.01)


def test_titanium_screw_is_that_of_nist():
    assert screw_attenuation(30.0, "Ti") == pytest.approx(4.972 * 4.51, rel=0.01)


# From the same tables: cortical bone (ICRU-44), 1.92 g/cm³, 1.331 cm²/g at 30 keV, 0.6655 at 40 keV.
@pytest.mark.parametrize(("energy", "nist"), [(30.0, 1.331), (40.0, 0.6655)])
def test_mature_bone_attenuates_like_cortical_bone(energy, nist):
    table = attenuation_table(energy, "Ti")
    assert table.bone == pytest.approx(1.92 * nist, rel=0.12)
    assert table.at(Label.WOVEN, 0.4) < 1.92 * nist < table.at(Label.BONE, 1.0)


@settings(max_examples=20, deadline=None)
@given(energy=BEAM)
def test_screws_against_bone_as_in_the_paper(energy):
    # Paper section 3.1: PEEK is below dense bone, Mg about equal to it, and Ti above it.
    bone = attenuation_table(energy, "Ti").bone
    screw = {m: screw_attenuation(energy, m) for m in ("PEEK", "Mg-5Gd", "Mg-10Gd", "Ti")}
    assert screw["PEEK"] < 0.4 * bone
    assert 0.9 * bone < screw["Mg-5Gd"] < screw["Mg-10Gd"] < 2 * bone
    assert screw["Ti"] > 5 * bone


@settings(max_examples=20, deadline=None)
@given(energy=BEAM, material=st.sampled_from(["Mg-5Gd", "Mg-10Gd"]))
def test_the_degradation_layer_differs_mildly_from_the_metal(energy, material):
    table = attenuation_table(energy, material)
    assert 0.5 < table.at(Label.DEGRADATION, 0.5) / table.at(Label.SCREW) < 1.1


def test_soft_tissue_is_faint_and_air_is_nothing():
    table = attenuation_table(35.0, "Mg-10Gd")
    assert table.at(Label.AIR) == 0 < table.at(Label.ADIPOCYTE)
    assert table.at(Label.SOFT) < 0.2 * table.bone


def test_new_bone_and_soft_tissue_are_darker_than_bone():
    table = attenuation_table(35.0, "Mg-10Gd")
    assert table.at(Label.ADIPOCYTE) < table.at(Label.MARROW) < table.at(Label.SOFT) < table.at(Label.WOVEN, 0.4)
    assert table.at(Label.WOVEN, 0.4) < table.bone


@dataclass
class Ball:
    """A specimen that consists of one ball of metal in air."""

    config: PhantomConfig
    radius_um: float

    def tissue_at(self, points_um):
        inside = np.linalg.norm(points_um - np.array(self.config.field_um) / 2, axis=-1) < self.radius_um
        zeros = np.zeros(inside.shape, np.float32)
        return Tissue(np.where(inside, Label.SCREW, Label.AIR).astype(np.uint8), zeros, zeros, zeros)


@pytest.fixture(scope="module", autouse=True)
def simple_specimens():
    """Allow `tomography` to sample the simple specimens of this file."""

    def sample(anatomy, points_um, *, finest_um=0.0):
        if isinstance(anatomy, Ball):
            return anatomy.tissue_at(points_um)
        return sample_tissue_in_volume(anatomy, points_um, finest_um=finest_um)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tomography, "sample_tissue_in_volume", sample)
        yield


def ball(samples, shape=(21, 21, 21)):
    config = PhantomConfig(shape=shape, voxel_um=20, tomography=TomographyConfig(samples=samples))
    return Ball(config, 6.3 * 20)


def test_partial_volume_of_a_ball_approaches_its_volume():
    metal = screw_attenuation(35.0, "Mg-10Gd")
    exact = 4 / 3 * np.pi * 6.3**3
    error = {n: abs(attenuation_volume(ball(n))[0].sum() / metal - exact) / exact for n in (1, 3)}
    assert error[3] < 0.005
    mu, labels = attenuation_volume(ball(3))
    assert set(np.unique(labels)) == {Label.AIR, Label.SCREW}
    assert np.unique(mu).size > 5
    assert mu.max() == pytest.approx(metal, rel=1e-5)
    assert np.unique(attenuation_volume(ball(1))[0]).size == 2


@pytest.fixture(scope="module")
def small():
    config = PhantomConfig(
        seed=4, shape=(12, 48, 48), voxel_um=60, tomography=TomographyConfig.from_dict(OFF | SCALE), orientation="lying"
    )
    return grow_anatomy(config)


def test_a_perfect_scan_is_the_attenuation_in_grey(small):
    volume, labels = tomograph(small)
    z, y, x = (np.arange(n) * 60.0 for n in small.config.shape)
    tissue = sample_tissue_in_volume(small, np.stack(np.meshgrid(z, y, x, indexing="ij"), -1), finest_um=60)
    table = attenuation_table(35.0, "Mg-10Gd")
    expected = 10000 + table.of(tissue).astype(np.float64) / table.bone * 20000
    assert np.abs(volume - np.clip(expected, 0, 65535)).max() <= 1
    assert np.array_equal(labels, tissue.label)


def scan(anatomy, seed=4, **tomography):
    """Scan an anatomy with another instrument and another seed for the random values of the instrument."""
    values = anatomy.config.model_dump() | {"seed": seed, "tomography": tomography}
    return tomograph(replace(anatomy, config=PhantomConfig.from_dict(values)))


def test_same_seed_same_bits_other_seed_other_scale(small):
    first, again, other = (scan(small, seed)[0] for seed in (4, 4, 5))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    # Without noise, two scans differ only in scale: air and metal change, and all values between them are on a line.
    first, other = (scan(small, seed, **OFF)[0].astype(float) for seed in (4, 5))
    assert first.min() != other.min()
    assert abs(np.ptp(first) - np.ptp(other)) > 1000
    assert np.corrcoef(first.ravel(), other.ravel())[0, 1] > 0.99999


def test_without_effects_nothing_is_changed():
    mu = rng().random((4, 16, 16)).astype(np.float32)
    off = TomographyConfig.from_dict(OFF)
    assert np.array_equal(instrument(mu, mu > 0.9, 1.0, 20.0, off, rng()), mu)


@pytest.mark.parametrize("effect", ["blur", "fringe", "noise", "rings", "streaks"])
def test_each_effect_alone_changes_the_scan(effect):
    mu = rng().random((4, 32, 32)).astype(np.float32)
    config = TomographyConfig.from_dict(OFF | {effect: TomographyConfig.model_fields[effect].default})
    scan = instrument(mu, mu > 0.9, 1.0, 20.0, config, rng())
    assert not np.array_equal(scan, mu)
    assert np.array_equal(scan, instrument(mu, mu > 0.9, 1.0, 20.0, config, rng()))


def test_blur_of_an_edge_is_the_error_function():
    mu = np.zeros((3, 3, 41), np.float32)
    mu[..., 21:] = 1
    scan = instrument(mu, mu > 2, 1.0, 20.0, TomographyConfig.from_dict(OFF | {"blur": 2.0}), rng())
    x = np.arange(41) - 20.5
    assert scan[1, 1] == pytest.approx(0.5 * (1 + erf(x / (2 * np.sqrt(2)))), abs=0.01)


def test_fringe_over_and_undershoots_at_edges_only():
    mu = np.zeros((3, 3, 20), np.float32)
    mu[..., 10:] = 1
    scan = instrument(mu, mu > 2, 1.0, 20.0, TomographyConfig.from_dict(OFF | {"fringe": 0.1}), rng())
    assert scan[1, 1, 8:12] == pytest.approx([0, -0.1, 1.1, 1])
    assert scan.sum() == pytest.approx(mu.sum(), rel=1e-5)


def spectrum_slope(images, low=0.05, high=0.35):
    """Return the slope of log power over log frequency (cycles per pixel) of square noise images."""
    side = images[0].shape[0]
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    power = np.mean([np.abs(np.fft.fft2(image - image.mean())) ** 2 for image in images], axis=0)
    bins = np.linspace(low, high, 12)
    number = np.digitize(f, bins)
    middle = [f[number == n].mean() for n in range(1, len(bins))]
    level = [power[number == n].mean() for n in range(1, len(bins))]
    return np.polyfit(np.log(middle), np.log(level), 1)[0]


def test_noise_has_the_spectrum_of_filtered_back_projection():
    side, draw = 96, rng(1)
    angles = np.linspace(0, 180, 150, endpoint=False)
    square = slice(16, 80)  # inside the circle that every projection covers
    # Use cubic interpolation: linear interpolation damps high frequencies (slope 0.6), unlike the theory.
    back = [iradon(draw.standard_normal((side, 150)), angles, circle=True, interpolation="cubic") for _ in range(6)]
    real = spectrum_slope([image[square, square] for image in back])
    ours = spectrum_slope([projection_noise((64, 64), draw) for _ in range(20)])
    assert real == pytest.approx(1.0, abs=0.15)  # theory: |f|, in the reconstruction of scikit-image
    assert ours == pytest.approx(1.0, abs=0.1)
    assert ours == pytest.approx(real, abs=0.15)


@settings(max_examples=15, deadline=None)
@given(rows=st.integers(8, 40), columns=st.integers(8, 40), seed=st.integers(0, 1000))
def test_noise_has_mean_0_and_deviation_1_at_any_size(rows, columns, seed):
    noise = projection_noise((rows, columns), rng(seed))
    assert noise.shape == (rows, columns)
    assert noise.mean() == pytest.approx(0, abs=1e-5)
    assert noise.std() == pytest.approx(1, rel=1e-4)


def test_noise_grows_with_the_specimen_as_poisson_says():
    # N photons behind a path p: variance of the line integral 1/N ~ exp(p), so σ ~ exp(p / 2).
    config = TomographyConfig.from_dict(OFF | {"noise": 0.05})
    mu = np.zeros((2, 200, 200), np.float32)
    mu[1] = 3.0  # 1/cm over 200 voxels of 20 µm: path 1.2
    scan = instrument(mu, mu > 9, 2.0, 20.0, config, rng()) - mu
    assert scan[0].std() == pytest.approx(0.1, rel=0.01)
    assert scan[1].std() / scan[0].std() == pytest.approx(np.exp(0.6), rel=0.01)


def test_rings_are_concentric_and_similar_in_neighbouring_slices():
    rings = ring_pattern((40, 65, 65), rng())
    assert np.allclose(rings, np.rot90(rings, axes=(1, 2)), atol=1e-5)
    assert np.allclose(rings, rings.transpose(0, 2, 1), atol=1e-5)
    radius = np.hypot(*np.meshgrid(np.arange(65) - 32, np.arange(65) - 32))
    same = np.isclose(radius, 25)  # (7, 24), (15, 20), (0, 25) and their equivalents
    assert same.sum() == 20
    assert rings[0][same].std() < 1e-5
    near, far = (np.corrcoef(rings[5].ravel(), rings[5 + d].ravel())[0, 1] for d in (1, 30))
    assert near > 0.8 > abs(far) + 0.2


def test_streaks_darken_the_line_between_two_pieces_of_metal():
    mu = np.zeros((4, 96, 96), np.float32)
    mu[:, 44:52, 20:28] = mu[:, 44:52, 68:76] = 10
    streaks = metal_streaks(mu, mu > 0, 20.0)[2]
    assert np.abs(metal_streaks(mu, mu > 0, 20.0)).max() == pytest.approx(1)
    assert streaks[46:50, 44:52].mean() < streaks[20:28, 44:52].mean() - 0.02

    # The textbook method on the full grid: the error that a nonlinear detector adds to the true projections.
    angles = np.linspace(0, 180, 90, endpoint=False)
    real = iradon(-(radon(mu[2], angles, circle=True) ** 2), angles, circle=True)
    disc = np.hypot(*np.meshgrid(np.arange(96) - 48, np.arange(96) - 48)) < 44
    smooth = [ndimage.gaussian_filter(image, 2)[disc] for image in (real, streaks)]
    assert np.corrcoef(*smooth)[0, 1] > 0.9


def test_streaks_come_from_metal_only():
    mu = np.ones((3, 32, 32), np.float32)
    assert not metal_streaks(mu, mu > 2, 20.0).any()
    peek = grow_anatomy(PhantomConfig(seed=4, shape=(8, 32, 32), voxel_um=90, material="PEEK", orientation="lying"))
    plain, streaky = (scan(peek, **(OFF | SCALE | {"streaks": size})) for size in (0, 0.5))
    assert (plain[1] == Label.SCREW).any()
    assert np.array_equal(plain[0], streaky[0])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_grey_scales_differ_but_hold_air_and_bone(seed):
    scan = np.array([[[0.0, 2.0, 1e4]]], np.float32)
    air, bone, metal = grey_scale(scan, 2.0, TomographyConfig(), rng(seed)).ravel()
    assert 6000 <= air <= 16000
    assert 26000 <= bone <= 40000
    assert metal == 65535


def test_grey_scale_is_as_asked():
    scan = np.array([[[0.0, 1.0, 2.0]]], np.float32)
    config = TomographyConfig.from_dict(SCALE)
    assert grey_scale(scan, 2.0, config, rng()).ravel().tolist() == [10000, 20000, 30000]


def test_finer_samples_agree_on_average_and_keep_the_labels(small):
    coarse, labels = scan(small, **(OFF | SCALE))
    fine, same = scan(small, **(OFF | SCALE | {"samples": 2}))
    np.testing.assert_array_equal(labels, same)
    assert fine.mean() == pytest.approx(coarse.mean(), rel=0.03)
    assert not np.array_equal(fine, coarse)


def test_errors_name_key_and_value():
    with pytest.raises(InputError, match=r"unknown key 'tomography\.blurr'; did you mean 'blur'"):
        PhantomConfig.from_dict({"tomography": {"blurr": 1}})
    with pytest.raises(InputError, match="energy_kev = 5: input should be greater than or equal to 10"):
        TomographyConfig.from_dict({"energy_kev": 5})
