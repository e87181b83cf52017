"""The study of novelty: resampled slices, and detectors that separate two textures."""

import numpy as np
import pytest
from scipy import ndimage

from studies.novelty.detectors import VARIANTS, Detector
from studies.novelty.kinds import foam, zoomed


def blobs(seed, size=4.0, shape=(128, 128)):
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.standard_normal(shape), size)
    return (np.where(field > 0, 30000.0, 12000.0) + rng.normal(0, 500, shape)).astype(np.float32)


def test_a_zoomed_slice_has_waves_of_another_length():
    wave = 20000 + 8000 * np.sin(2 * np.pi * np.arange(256) / 32)
    slices = np.broadcast_to(wave, (1, 256, 256)).astype(np.float32)
    for factor in (0.5, 2.0):
        row = zoomed(slices, factor)[0, 40]
        spectrum = np.abs(np.fft.rfft(row - row.mean()))
        assert len(row) / spectrum.argmax() == pytest.approx(32 * factor, rel=0.1)


def test_foam_has_the_share_of_bone_that_is_asked_for():
    assert (foam(1, 500.0, 0.25) > 22000).mean() == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("variant", [VARIANTS[0], VARIANTS[3], VARIANTS[-1]], ids=lambda variant: variant.name)
def test_a_detector_flags_another_texture_and_not_its_own(variant):
    detector = Detector(variant, [blobs(seed) for seed in range(4)])
    same, other = ((detector.grid(blobs(9, size)) > 1).mean() for size in (4.0, 12.0))
    assert same < 0.2
    assert other > same + 0.1
