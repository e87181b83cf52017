"""Candidates and lacunae of the benchmark: further channels lie under the first, planted spots are counted."""

import numpy as np
import pytest
import torch

from studies.table1.candidates import CANDIDATES, StackSampler
from studies.table1.lacunae import count, lacuna_regions
from tomostain.dataset.pair import Pair
from tomostain.imaging.network_range import ct_to_network
from tomostain.phantom.tissue import Label
from tomostain.train.augment import Augment
from tomostain.train.sampling import PatchSampler


def pair(seed=0, shape=(70, 60)):
    rng = np.random.default_rng(seed)
    ct = rng.integers(5000, 35000, shape).astype(np.uint16)
    return Pair(f"p{seed}", ct, rng.integers(0, 256, (*shape, 3), dtype=np.uint8), np.ones(shape, bool), 20.0)


def test_further_channels_lie_where_the_first_one_does():
    pairs = [pair(seed) for seed in range(3)]
    options = {"patch_px": 32, "batch": 4, "augment": Augment(), "device": "cpu", "in_channels": 1}
    extra = [ct_to_network(p.ct.astype(np.float32))[None] for p in pairs]
    plain = PatchSampler(pairs, **options).draw(torch.Generator().manual_seed(1))
    stacked = StackSampler(pairs, extra, **options).draw(torch.Generator().manual_seed(1))
    torch.testing.assert_close(stacked.x[:, :1], plain.x)
    torch.testing.assert_close(stacked.x[:, 1:], plain.x, atol=2e-4, rtol=0)  # the first is rounded to whole numbers
    torch.testing.assert_close(stacked.y, plain.y)
    assert torch.equal(stacked.mask, plain.mask)


def test_every_candidate_describes_itself():
    assert all(kind.__doc__ for kind in CANDIDATES.values())
    assert all(name.startswith("wide") for name in CANDIDATES)


def spotted(centres, shape=(120, 120), radius=3):
    image = np.full((*shape, 3), 200, np.uint8)
    rows, columns = np.indices(shape)
    for row, column in centres:
        image[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = 60
    return image


def test_planted_spots_are_counted_a_square_millimetre():
    """Four spots drawn, of which two are real, in 0.36 mm squared; three real ones in all."""
    real = spotted([(30, 30), (30, 90), (90, 30)])
    fake = spotted([(30, 31), (31, 90), (60, 60), (90, 90)])
    counts = count(fake, real, np.ones((120, 120), bool), pixel_um=3.0)
    mm2 = (0.36) ** 2
    assert counts["mm2"] == pytest.approx(mm2)
    assert counts["drawn"] == pytest.approx(4 / mm2)
    assert counts["invented"] == pytest.approx(2 / mm2)
    assert counts["found"] == pytest.approx(2 / 3)
    assert np.isnan(count(fake, spotted([]), np.ones((120, 120), bool), 3.0)["found"])


def test_edges_of_regions_do_not_count():
    labels = np.full((40, 40), int(Label.BONE), np.uint8)
    labels[:20] = int(Label.DEGRADATION)
    labels[30, 30] = int(Label.LACUNA)
    regions = lacuna_regions(labels, np.ones((40, 40), bool), pixel_um=3.0)
    assert regions["degradation layer"].sum() == (20 - 6) * (40 - 6)  # 9 µm are three pixels on each side
    assert regions["bone"][30, 30]  # a lacuna belongs to its bone
    assert not regions["bone"][:23].any()
