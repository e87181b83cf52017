"""The phantom's µCT: attenuation against tables, noise against real back-projection, and every effect on its own."""

import numpy as np
import pytest
from skimage.transform import iradon

from tomostain.errors import InputError
from tomostain.phantom import Label, PhantomConfig, TomographyConfig, grow_anatomy, tomograph
from tomostain.phantom.materials import attenuation_table, screw_attenuation
from tomostain.phantom.tomography import grey_scale, instrument, metal_streaks, projection_noise, ring_pattern

OFF = TomographyConfig(blur=0, fringe=0, noise=0, rings=0, streaks=0)


def test_titanium_as_tabulated():
    # Hubbell & Seltzer (NIST), Ti at 30 keV: µ/ρ = 4.972 cm²/g; the density of titanium is 4.51 g/cm³.
    assert screw_attenuation(30.0, "Ti") == pytest.approx(4.972 * 4.51, rel=0.02)


@pytest.mark.parametrize("energy_kev", [25.0, 35.0, 45.0])
def test_the_papers_order_of_materials(energy_kev):
    # Paper section 3: PEEK below, Mg about, Ti above dense bone.
    peek, light, heavy, titanium = (screw_attenuation(energy_kev, m) for m in ("PEEK", "Mg-5Gd", "Mg-10Gd", "Ti"))
    bone = attenuation_table(energy_kev, "Mg-5Gd").bone
    densest = attenuation_table(energy_kev, "Mg-5Gd").at(Label.BONE, 1.0)
    assert peek < 0.5 * bone
    assert bone < light < 1.2 * densest
    assert light < heavy < 0.5 * titanium


def test_new_bone_and_soft_tissue_lie_below_bone():
    table = attenuation_table(35.0, "Mg-10Gd")
    assert table.at(Label.ADIPOCYTE) < table.at(Label.MARROW) < table.at(Label.SOFT) < table.at(Label.WOVEN, 0.4)
    assert table.at(Label.WOVEN, 0.4) < table.bone


def slope(spectrum, f):
    chosen = (f > 0.05) & (f < 0.35)
    return np.polyfit(np.log(f[chosen]), np.log(spectrum[chosen]), 1)[0]


def test_noise_has_the_spectrum_of_filtered_back_projection():
    # Outside truth: skimage's own iradon of white noise; both spectra rise about as |f|.
    side, rng = 96, np.random.default_rng(0)
    angles = np.linspace(0, 180, 180, endpoint=False)
    ours, theirs = np.zeros((side, side)), np.zeros((side, side))
    for _ in range(4):
        ours += np.abs(np.fft.fft2(projection_noise((side, side), rng))) ** 2
        sinogram = rng.standard_normal((side, len(angles)))
        back = iradon(sinogram, angles, circle=False, output_size=side, interpolation="cubic")
        theirs += np.abs(np.fft.fft2(back)) ** 2
    f = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None, :])
    assert slope(ours.ravel(), f.ravel()) == pytest.approx(1.0, abs=0.1)
    assert slope(theirs.ravel(), f.ravel()) == pytest.approx(slope(ours.ravel(), f.ravel()), abs=0.35)


def test_rings_are_the_same_all_around():
    rings = ring_pattern((3, 41, 41), np.random.default_rng(1))
    np.testing.assert_allclose(rings, np.rot90(rings, axes=(1, 2)), atol=1e-6)
    np.testing.assert_allclose(rings, rings[:, ::-1], atol=1e-6)
    assert rings.std() > 0.1


def test_streaks_come_from_metal_only():
    mu = np.zeros((4, 48, 48), np.float32)
    metal = np.zeros(mu.shape, bool)
    assert not metal_streaks(mu, metal, 20.0).any()
    metal[:, 20:28, 10:38] = True
    mu[metal] = 20.0
    streaks = metal_streaks(mu, metal, 20.0)
    assert np.abs(streaks).max() == pytest.approx(1.0)
    assert np.abs(streaks[:, :4]).max() > 0  # they reach beyond the metal


def test_an_instrument_switched_off_changes_nothing():
    rng = np.random.default_rng(2)
    mu = rng.random((3, 10, 12)).astype(np.float32)
    np.testing.assert_array_equal(instrument(mu, mu > 0.5, 1.0, 20.0, OFF, rng), mu)


@pytest.mark.parametrize("effect", ["blur", "fringe", "noise", "rings", "streaks"])
def test_every_effect_is_a_switch(effect):
    mu = np.zeros((4, 40, 40), np.float32)
    mu[:, 12:28, 12:28] = 2.0
    config = OFF.model_copy(update={effect: 0.5})
    scan = instrument(mu, mu > 1, 1.5, 20.0, config, np.random.default_rng(3))
    assert not np.array_equal(scan, mu)
    if effect in ("blur", "fringe"):  # these happen at edges
        np.testing.assert_allclose(scan[2, 20, 20], mu[2, 20, 20], atol=1e-4)


def test_the_grey_scale_is_given_or_drawn():
    config = TomographyConfig(bone_grey=30000, background_grey=10000)
    scan = np.array([[[0.0, 1.5, 100.0]]], np.float32)
    assert grey_scale(scan, 1.5, config, np.random.default_rng(0)).ravel().tolist() == [10000, 30000, 65535]
    drawn = [grey_scale(scan, 1.5, TomographyConfig(), np.random.default_rng(seed))[0, 0, 1] for seed in (1, 2)]
    assert drawn[0] != drawn[1]


def small(**values):
    return grow_anatomy(PhantomConfig.from_dict({"shape": (8, 24, 24), "voxel_um": 200.0, "pixel_um": 100.0} | values))


def test_same_seed_same_bits():
    first, second, other = (tomograph(small(seed=seed))[0] for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_finer_samples_agree_on_average_and_keep_the_labels():
    off = OFF.model_dump() | {"bone_grey": 30000, "background_grey": 10000}
    coarse, labels = tomograph(small(tomography=off, orientation="upright"))
    fine, same = tomograph(small(tomography=off | {"samples": 2}, orientation="upright"))
    np.testing.assert_array_equal(labels, same)
    assert fine.mean() == pytest.approx(coarse.mean(), rel=0.05)


def test_a_misspelt_effect_is_named():
    with pytest.raises(InputError, match="did you mean 'noise'"):
        TomographyConfig.from_dict({"noize": 0.1})
