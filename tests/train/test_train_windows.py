"""Windows that lie partly or entirely outside a pair."""

import pytest
import torch

from tests.support.training import toy_pair
from tomostain.imaging.network_range import ct_to_network
from tomostain.train.windows import patch_at

PAIR = toy_pair("a", 0)  # 36 × 42 px


@pytest.mark.parametrize(("row", "column"), [(100, 0), (0, -60), (36, 42), (-16, 5)])
def test_a_patch_outside_the_pair_is_background_without_mask(row, column):
    patch = patch_at(PAIR, row, column, 16)
    assert not patch.mask.any()
    assert (patch.y == 1).all()
    assert torch.equal(patch.x, ct_to_network(torch.full((1, 1, 16, 16), 10000.0)))


@pytest.mark.parametrize(("row", "column", "inside"), [(-6, 3, (10, 16)), (30, 36, (6, 6)), (3, -15, (16, 1))])
def test_the_part_of_a_patch_inside_the_pair_has_its_mask(row, column, inside):
    mask = patch_at(PAIR, row, column, 16).mask[0, 0]
    assert (int(mask.any(1).sum()), int(mask.any(0).sum())) == inside
    assert int(mask.sum()) == inside[0] * inside[1]


@pytest.mark.parametrize(("options", "channels"), [({"in_channels": 3}, 3), ({"ct_slices": 3}, 3), ({}, 1)])
def test_grey_values_are_repeated_unless_there_are_several_slices(options, channels):
    x = patch_at(PAIR, 0, 0, 16, **options).x
    assert x.shape == (1, channels, 16, 16)
    assert torch.equal(x[:, 0], x[:, -1])
    repeated = options == {"in_channels": 3}
    assert channels == 1 or torch.equal(x[:, 0], x[:, 1]) is repeated
