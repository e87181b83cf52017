"""Overlapping patches: the value of every pixel of a blend."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tomostain.tiling.blend import blend_images, blend_tiles
from tomostain.tiling.grid import Blend, pad_to, tile_starts, tile_weights

few = settings(max_examples=30, deadline=None)


def three_colours(patches: Tensor) -> Tensor:
    """Translate each pixel separately: the result cannot depend on the tiling."""
    grey = patches if patches.ndim == 3 else patches[:, patches.shape[1] // 2]
    return torch.stack([grey, 2 * grey + 1, -grey], dim=1)


@few
@given(length=st.integers(1, 300), patch=st.integers(1, 64), stride=st.integers(1, 64))
def test_patches_cover_a_side_and_end_at_its_border(length: int, patch: int, stride: int) -> None:
    stride = min(stride, patch)
    starts = tile_starts(length, patch, stride)
    covered = np.zeros(max(length, patch), int)
    for start in starts:
        covered[start : start + patch] += 1
    assert covered.min() >= 1
    assert starts == sorted(set(starts))
    assert starts[-1] + patch == len(covered)


@pytest.mark.parametrize("blend", ["mean", "hann"])
def test_weights_are_symmetric_and_above_zero(blend: Blend) -> None:
    weights = tile_weights(16, blend)
    assert weights.dtype == np.float32
    assert weights.min() > 0
    np.testing.assert_array_equal(weights, weights.T)
    np.testing.assert_allclose(weights, weights[::-1, ::-1], rtol=1e-5)
    assert (weights == 1).all() if blend == "mean" else weights[8, 8] > 100 * weights[0, 0]


@few
@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    stride=st.integers(1, 16),
    batch=st.integers(1, 5),
    blend=st.sampled_from(["mean", "hann"]),
)
def test_a_pixelwise_network_gives_the_same_tiled_as_whole(
    rows: int, columns: int, stride: int, batch: int, blend: Blend
) -> None:
    ct = np.random.default_rng(rows * 41 + columns).random((rows, columns), np.float32)
    tiled = blend_tiles(three_colours, ct, patch_px=16, stride_px=stride, blend=blend, batch=batch)
    assert tiled.shape == (rows, columns, 3)
    np.testing.assert_allclose(tiled, np.stack([ct, 2 * ct + 1, -ct], axis=-1), rtol=1e-5, atol=1e-5)


def test_images_go_together_and_do_not_mix() -> None:
    images = torch.arange(3.0)[:, None, None].expand(3, 20, 24)
    sizes = []

    def translate(patches: Tensor) -> Tensor:
        sizes.append(len(patches))
        return three_colours(patches)

    blended = blend_images(translate, images, patch_px=16, stride_px=8, batch=6)
    assert blended.shape == (3, 3, 20, 24)
    torch.testing.assert_close(blended[:, 0], images.clone())
    assert max(sizes) == 6
    assert sum(sizes) == 3 * len(tile_starts(20, 16, 8)) * len(tile_starts(24, 16, 8))


def test_neighbouring_slices_are_cut_with_the_section() -> None:
    slices = np.random.default_rng(0).random((3, 20, 24), np.float32)
    tiled = blend_tiles(three_colours, slices, patch_px=16, stride_px=8, blend="hann")
    np.testing.assert_allclose(tiled[..., 0], slices[1], rtol=1e-5)


def test_overlapping_patches_are_averaged_by_their_weights() -> None:
    """Of two patches with the results 0 and 1, the overlap shows the share of the weights of the second."""

    def translate(patches: Tensor) -> Tensor:
        return torch.arange(len(patches), dtype=torch.float32)[:, None, None, None].expand(-1, 1, 8, 8)

    ct = np.zeros((8, 12), np.float32)
    mean = blend_tiles(translate, ct, patch_px=8, stride_px=4, blend="mean")[..., 0]
    assert mean[0].tolist() == [0] * 4 + [0.5] * 4 + [1] * 4
    hann = blend_tiles(translate, ct, patch_px=8, stride_px=4, blend="hann")[..., 0]
    window = np.sin(np.pi * (np.arange(8) + 0.5) / 8) ** 2
    np.testing.assert_allclose(hann[0, 4:8], window[:4] / (window[:4] + window[4:]), rtol=1e-5)


@pytest.mark.parametrize(("rows", "columns"), [(1, 3), (5, 40), (2, 2), (16, 7)])
def test_small_images_are_mirrored_to_the_size_of_a_patch(rows: int, columns: int) -> None:
    ct = np.random.default_rng(1).random((rows, columns), np.float32)
    seen = []

    def translate(patches: Tensor) -> Tensor:
        seen.append(patches)
        return three_colours(patches)

    blend_tiles(translate, ct, patch_px=16, stride_px=16, batch=1)
    np.testing.assert_array_equal(seen[0][0].numpy(), pad_to(ct, 16)[:16, :16])
    np.testing.assert_array_equal(seen[0][0].numpy()[:rows, : min(16, columns)], ct[:, :16])


@pytest.mark.parametrize(
    ("shape", "expected"), [((2, 5, 7), (2, 5, 7)), ((2, 3, 7), (2, 5, 7)), ((2, 5, 4), (2, 5, 5))]
)
def test_only_sides_that_are_too_short_are_mirrored(
    shape: tuple[int, int, int], expected: tuple[int, int, int]
) -> None:
    image = np.random.default_rng(0).random(shape).astype(np.float32)
    padded = pad_to(image, 5)
    assert padded.shape == expected
    np.testing.assert_array_equal(padded[:, : shape[1], : shape[2]], image)
    if shape[1] < 5:
        np.testing.assert_array_equal(padded[:, shape[1]], image[:, shape[1] - 2])
