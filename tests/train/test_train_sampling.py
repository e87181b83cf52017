"""Patches and augmentations of paper section 2.7."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tests.support.operators import count_operators
from tests.support.versions import EARLY_TORCH
from tomostain.dataset.pair import Pair
from tomostain.errors import InputError
from tomostain.host_copy import copy_together, pack, unpack
from tomostain.imaging.network_range import ct_to_network, histology_to_network
from tomostain.train.augment import IDENTITY, Augment, jitter_ct, jitter_histology
from tomostain.train.sampling import PatchSampler
from tomostain.train.transforms import Transforms, draw_transforms
from tomostain.train.windows import patch_at


def random_pair(shape=(90, 70), seed=0, name="a", mask=None):
    rng = np.random.default_rng(seed)
    ct = rng.integers(0, 45000, shape).astype(np.uint16)
    histology = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
    return Pair(name, ct, histology, np.ones(shape, bool) if mask is None else mask, 5.0)


def smooth_grey_pair(shape=(120, 110)):
    """µCT and histology that hold the same picture, so that after scaling x equals every channel of y."""
    grey = ndimage.gaussian_filter(np.random.default_rng(1).random(shape), 3)
    grey = np.rint(255 * (grey - grey.min()) / np.ptp(grey))
    ct = np.rint(grey * 40000 / 255).astype(np.uint16)
    return Pair("grey", ct, np.repeat(grey[..., None], 3, axis=2).astype(np.uint8), grey > 100, 5.0)


def sampler(pairs, augment=IDENTITY, patch_px=32, batch=4, in_channels=1, **options):
    return PatchSampler(
        pairs, patch_px=patch_px, batch=batch, augment=augment, device="cpu", in_channels=in_channels, **options
    )


def transforms(corner, scale=1.0, flip=(False, False)):
    one = torch.ones(1, 2, dtype=torch.float64)
    return Transforms(
        torch.zeros(1, dtype=torch.int64),
        torch.tensor([corner]),
        torch.tensor([scale], dtype=torch.float64),
        torch.tensor([flip]),
        one,
        one,
    )


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def test_without_augmentation_a_patch_holds_the_pixels_of_the_pair():
    pair = random_pair()
    batch = sampler([pair]).apply(transforms((11, 23)))
    window = np.s_[11:43, 23:55]
    # Resampling in float32 misses a pixel's centre by up to 1e-5 px.
    np.testing.assert_allclose(batch.x[0, 0], ct_to_network(pair.ct[window].astype(float)), atol=1e-4)
    expected = np.moveaxis(histology_to_network(pair.histology[window].astype(float)), -1, 0)
    np.testing.assert_allclose(batch.y[0], expected, atol=1e-4)
    assert batch.mask.eq(1).all()
    assert batch.ids == ("a",)


def test_patch_at_is_exact_and_is_what_the_sampler_cuts():
    pair = random_pair()
    patch = patch_at(pair, 11, 23, 32)
    np.testing.assert_array_equal(
        patch.x[0, 0], ct_to_network(torch.from_numpy(pair.ct[11:43, 23:55].astype(np.float32)))
    )
    np.testing.assert_array_equal(
        np.rint((patch.y[0].permute(1, 2, 0).numpy() + 1) * 127.5), pair.histology[11:43, 23:55]
    )
    torch.testing.assert_close(sampler([pair]).apply(transforms((11, 23))).x, patch.x, atol=1e-4, rtol=0)


@pytest.mark.parametrize("flip", [(False, True), (True, False), (True, True)])
def test_flips_agree_with_numpy(flip):
    pair = random_pair()
    batch = sampler([pair]).apply(transforms((4, 7), flip=flip))
    axes = [axis for axis, flipped in enumerate(flip) if flipped]
    expected = np.flip(ct_to_network(pair.ct[4:36, 7:39].astype(float)), axes)
    np.testing.assert_allclose(batch.x[0, 0], expected, atol=1e-4)
    np.testing.assert_allclose(batch.y[0, 1], np.flip(pair.histology[4:36, 7:39, 1] / 127.5 - 1, axes), atol=1e-4)


@pytest.mark.parametrize("scale", [0.9, 1.07, 1.1])
def test_rescaling_agrees_with_scipy(scale):
    # Independent reference: scipy.ndimage.affine_transform, linear interpolation.
    pair = smooth_grey_pair()
    batch = sampler([pair]).apply(transforms((30, 20), scale=scale))
    x = ct_to_network(pair.ct.astype(float))
    expected = ndimage.affine_transform(x, np.eye(2) / scale, offset=(30, 20), output_shape=(32, 32), order=1)
    np.testing.assert_allclose(batch.x[0, 0], expected, atol=1e-5)
    mask = ndimage.affine_transform(
        pair.mask.astype(float), np.eye(2) / scale, offset=(30, 20), output_shape=(32, 32), order=1
    )
    sure = np.abs(mask - 0.5) > 1e-4
    np.testing.assert_array_equal(batch.mask[0, 0].numpy()[sure], (mask >= 0.5)[sure])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), patch=st.integers(8, 48), invert=st.booleans())
def test_ct_and_histology_have_the_same_geometry(seed, patch, invert):
    cutter = sampler([smooth_grey_pair()], Augment(jitter=0.0), patch_px=patch, inverted_ct=invert)
    batch = cutter.draw(draw(seed))
    inside = batch.mask.bool()
    x = -batch.x if invert else batch.x
    for channel in range(3):
        # The µCT's own rounding to whole grey values is 0.5 / 20000 = 2.5e-5 of it.
        torch.testing.assert_close(x[inside], batch.y[:, channel : channel + 1][inside], atol=3.5e-5, rtol=0)


def test_ct_histology_and_mask_move_together():
    """The centre of a disc in µCT, histology and mask is the same under any scale, flip and position.

    The mask has whole pixels, so that its centre varies from patch to patch by 0.1 px (standard deviation) about that
    of the images; its mean must be the same.
    """
    rows, columns = np.indices((90, 90)) - 45.0
    soft = np.clip(25.5 - np.hypot(rows, columns), 0, 1)  # a disc with an edge of one pixel
    grey = np.rint(255 * soft).astype(np.uint8)
    ct = np.rint(10000 + 30000 * soft).astype(np.uint16)
    pair = Pair("disc", ct, np.repeat(grey[..., None], 3, axis=2), soft >= 0.5, 5.0)
    cutter = sampler([pair], Augment(scale=(0.9, 1.1), jitter=0.0), patch_px=80, batch=200)
    batch = cutter.draw(draw(3))
    weights = [image[:, 0].double().numpy() for image in (batch.x + 1, batch.y + 1, batch.mask)]
    of_ct, of_histology, of_mask = ([ndimage.center_of_mass(w - w.min()) for w in images] for images in weights)
    np.testing.assert_allclose(of_histology, of_ct, atol=0.01)
    np.testing.assert_allclose(of_mask, of_ct, atol=0.4)
    np.testing.assert_allclose(np.mean(of_mask, axis=0), np.mean(of_ct, axis=0), atol=0.02)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), contrast=st.floats(0.9, 1.1), brightness=st.floats(0.9, 1.1))
def test_histology_jitter_preserves_chromaticity(seed, contrast, brightness):
    rgb = torch.from_numpy(np.random.default_rng(seed).random((1, 3, 8, 8)))
    rgb[..., 0, 0] = 0.0
    rgb[..., 0, 1] = 1.0
    jittered = (jitter_histology(2 * rgb - 1, torch.tensor([[contrast, brightness]], dtype=torch.float64)) + 1) / 2
    assert jittered.min() >= 0
    assert jittered.max() <= 1
    # r : g : b is unchanged where the cross product of the two colours is zero.
    cross = torch.linalg.cross(jittered, rgb, dim=1)
    assert cross.abs().max() < 1e-12
    assert jittered[..., 0, 0].abs().max() < 1e-12


def test_jitter_is_brightness_and_contrast_by_the_factors_drawn():
    grey = torch.linspace(0.3, 0.7, 401, dtype=torch.float64)
    y = (2 * grey - 1).expand(1, 3, 1, -1)
    brighter = (jitter_histology(y, torch.tensor([[1.0, 1.1]])) + 1) / 2
    torch.testing.assert_close(brighter[0, 0, 0], 1.1 * grey, check_dtype=False)
    steeper = (jitter_histology(y, torch.tensor([[1.1, 1.0]])) + 1)[0, 0, 0] / 2
    slope = (steeper[201] - steeper[199]) / (grey[201] - grey[199])
    assert steeper[200] == pytest.approx(0.5, abs=1e-6)
    assert slope == pytest.approx(1.1, abs=1e-4)
    x = torch.tensor([-0.5, 0.0, 0.5]).reshape(1, 1, 1, 3)
    torch.testing.assert_close(jitter_ct(x, torch.tensor([[1.1, 1.0]])), 1.1 * x)
    v = (jitter_ct(x, torch.tensor([[1.0, 0.9]])) + 1) / 2
    torch.testing.assert_close(v, 0.9 * (x + 1) / 2)


def test_jitter_without_change_leaves_every_value():
    pair = random_pair()
    values = patch_at(pair, 0, 0, 32)
    one = torch.ones(1, 2)
    torch.testing.assert_close(jitter_histology(values.y, one), values.y, atol=1e-6, rtol=0)
    torch.testing.assert_close(jitter_ct(values.x, one), values.x, atol=1e-6, rtol=0)


def test_modalities_are_jittered_separately_and_within_bounds():
    flat = np.full((64, 64), 25000, np.uint16)
    pair = Pair("flat", flat, np.full((64, 64, 3), 120, np.uint8), np.ones((64, 64), bool), 5.0)
    cutter = sampler([pair], Augment(scale=(1.0, 1.0), min_mask=0.0), batch=64)
    batch = cutter.draw(draw())
    ct = (batch.x[:, 0, 5, 5] + 1) / 2
    histology = (batch.y[:, 0, 5, 5] + 1) / 2
    v, m = 25000 / 40000, 120 / 255
    assert ct.min() >= 0.9 * (0.5 + 0.9 * (v - 0.5)) - 1e-6
    assert ct.max() <= 1.1 * (0.5 + 1.1 * (v - 0.5)) + 1e-6
    assert histology.min() >= 0.9 * m * (2 * m) ** 0.1 - 1e-6
    assert histology.max() <= 1.1 * m * (2 * m) ** -0.1 + 1e-6
    assert ct.std() > 0.02
    assert histology.std() > 0.02
    assert abs(np.corrcoef(ct, histology)[0, 1]) < 0.4


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    cutter = sampler([random_pair(), random_pair((60, 100), 1, "b")], Augment())
    first, second, other = cutter.draw(draw(5)), cutter.draw(draw(5)), cutter.draw(draw(6))
    assert torch.equal(first.x, second.x)
    assert torch.equal(first.y, second.y)
    assert torch.equal(first.mask, second.mask)
    assert not torch.equal(first.x, other.x)


def test_shapes_channels_types_and_ids_of_a_batch_from_pairs_of_different_sizes():
    cutter = sampler([random_pair(), random_pair((60, 100), 1, "b")], Augment(), batch=16, in_channels=3)
    batch = cutter.draw(draw())
    assert batch.x.shape == batch.y.shape == (16, 3, 32, 32)
    assert batch.mask.shape == (16, 1, 32, 32)
    assert batch.x.dtype == batch.y.dtype == batch.mask.dtype == torch.float32
    assert torch.equal(batch.x[:, 0], batch.x[:, 2])
    assert set(batch.ids) == {"a", "b"}
    assert set(batch.mask.unique().tolist()) <= {0.0, 1.0}
    assert batch.x.abs().max() <= 1
    assert batch.y.abs().max() <= 1
    assert cutter.nbytes == 6 * (90 * 70 + 60 * 100)


def test_inverted_ct_is_the_negative_and_leaves_histology():
    pair = random_pair()
    plain, inverted = sampler([pair], Augment()), sampler([pair], Augment(), inverted_ct=True)
    a, b = plain.draw(draw(3)), inverted.draw(draw(3))
    assert torch.equal(a.x, -b.x)
    assert torch.equal(a.y, b.y)


def test_a_pair_smaller_than_the_patch_is_set_into_background():
    pair = random_pair((10, 50))
    batch = sampler([pair], Augment(flip=False, jitter=0.0, scale=(1.0, 1.0)), batch=32).draw(draw())
    for x, y, mask in zip(batch.x, batch.y, batch.mask, strict=True):
        assert mask.sum() == 10 * 32
        outside = mask[0] == 0
        torch.testing.assert_close(x[0][outside], torch.full((22 * 32,), -0.5), atol=1e-4, rtol=0)
        torch.testing.assert_close(y[:, outside], torch.ones(3, 22 * 32), atol=1e-4, rtol=0)
    rows = {int(mask[0].any(1).float().argmax()) for mask in batch.mask}
    assert len(rows) > 5  # anywhere in the patch
    assert patch_at(pair, -5, -60, 32).mask.sum() == 0


def test_patches_stay_inside_a_pair_that_is_large_enough():
    pair = random_pair((40, 41))
    batch = sampler([pair], Augment(), patch_px=32, batch=64).draw(draw())
    assert batch.mask.eq(1).all()
    exact = sampler([random_pair((32, 32))]).draw(draw())
    assert exact.mask.eq(1).all()


def test_patches_prefer_places_where_the_mask_is():
    mask = np.zeros((300, 300), bool)
    mask[200:300, 200:300] = True
    pair = random_pair((300, 300), mask=mask)
    share = {
        least: sampler([pair], Augment(min_mask=least), batch=200).draw(draw()).mask.mean(dim=(1, 2, 3))
        for least in (0.0, 0.1)
    }
    empty = {least: float((values == 0).float().mean()) for least, values in share.items()}
    assert empty[0.0] > 0.7  # 1 - (1 - 168/268)² = 0.86 of all positions
    assert empty[0.1] < 0.45  # 0.86 ** 8 = 0.30 find none in eight tries
    never = sampler([random_pair(mask=np.zeros((90, 70), bool))], Augment()).draw(draw())
    assert never.mask.sum() == 0


def test_wrong_options_and_no_pairs_give_a_one_line_error():
    with pytest.raises(InputError, match="no pairs for training"):
        sampler([])
    with pytest.raises(InputError, match=r"recipe: scale .*smaller one first"):
        Augment.from_dict({"scale": [1.1, 0.9]}, "recipe")
    with pytest.raises(InputError, match="did you mean 'jitter'"):
        Augment.from_dict({"jiter": 0.1})


def context_pair(number=3, shape=(90, 70)):
    pair = random_pair(shape)
    slices = np.random.default_rng(7).integers(0, 40000, (number, *shape)).astype(np.uint16)
    slices[number // 2] = pair.ct
    return dataclasses.replace(pair, slices=slices)


@pytest.mark.parametrize("seen", [3, 5])
def test_neighbouring_slices_are_channels_of_the_same_patch(seen):
    pair = context_pair(5)
    window = np.s_[11:43, 23:55]
    expected = ct_to_network(pair.slices[2 - seen // 2 : 3 + seen // 2, *window].astype(float))
    cut = sampler([pair], ct_slices=seen).apply(transforms((11, 23)))
    np.testing.assert_allclose(cut.x[0], expected, atol=1e-4)
    np.testing.assert_allclose(patch_at(pair, 11, 23, 32, ct_slices=seen).x[0], expected, atol=1e-6)
    plain = sampler([pair]).apply(transforms((11, 23)))
    torch.testing.assert_close(cut.y, plain.y, atol=0, rtol=0)
    torch.testing.assert_close(cut.x[:, seen // 2], plain.x[:, 0], atol=0, rtol=0)


def test_the_augmentation_of_slices_is_that_of_the_slice():
    pair, options = context_pair(), {"augment": Augment(), "batch": 8, "patch_px": 16}
    drawn = sampler([pair], ct_slices=3, **options).draw(draw(3))
    for number in range(3):
        alone = dataclasses.replace(pair, ct=pair.slices[number].copy(), slices=None)
        expected = sampler([alone], **options).draw(draw(3))
        torch.testing.assert_close(drawn.x[:, number], expected.x[:, 0], atol=0, rtol=0)
        torch.testing.assert_close(drawn.y, expected.y, atol=0, rtol=0)


def test_a_pair_with_too_few_slices_names_the_remedy():
    with pytest.raises(InputError, match=r"pair 'a': holds 1 slice\(s\) of µCT, but 3 are needed; .* `ct_slices=3`"):
        sampler([random_pair()], ct_slices=3)
    with pytest.raises(InputError, match=r"pair 'a': holds 3 slice\(s\) of µCT, but 5 are needed"):
        sampler([context_pair()], ct_slices=5)


def test_a_patch_does_not_depend_on_the_others_of_its_batch():
    cutting = sampler([random_pair(), random_pair(name="b", seed=5)], augment=Augment(), batch=4)
    drawn = draw_transforms(cutting._areas, cutting.patch_px, 4, Augment(), draw())
    together = cutting.apply(drawn)
    for n in range(4):
        alone = cutting.apply(
            Transforms(*(getattr(drawn, field.name)[n : n + 1] for field in dataclasses.fields(drawn)))
        )
        for name in ("x", "y", "mask"):
            assert torch.equal(getattr(alone, name)[0], getattr(together, name)[n])


def test_supervised_background_only_adds_to_the_mask():
    pair = shapes_in_air()
    options = {"patch_px": 32, "batch": 4, "augment": Augment(min_mask=0.0), "device": "cpu"}
    plain = PatchSampler([pair], **options)
    more = PatchSampler([pair], **options, supervise_background=True)
    for seed in range(5):
        a, b = (sampler.draw(torch.Generator().manual_seed(seed)) for sampler in (plain, more))
        assert torch.equal(a.x, b.x)
        assert torch.equal(a.y, b.y)
        assert (b.mask >= a.mask).all()
        added = b.mask > a.mask
        assert added.any()
        # Only white histology and the grey value of air are added. Jitter changes both by at most a tenth.
        assert (b.y[added.expand_as(b.y)] > 0.6).all()
        assert (b.x[added] < -0.4).all()


def test_the_common_background_preserves_positions_and_the_mask_of_registration():
    pair = shapes_in_air()
    options = {"patch_px": 16, "batch": 8, "augment": Augment(min_mask=0.5), "device": "cpu"}
    plain, more = PatchSampler([pair], **options), PatchSampler([pair], **options, supervise_background=True)
    shift = torch.tensor([[0.0, 0.0, 3.0], [0.0, 0.0, -2.0]])
    for affine in (None, shift):
        for sampler in (plain, more):
            if affine is not None:
                sampler.set_alignment(0, affine)
        a, b = (sampler.draw(torch.Generator().manual_seed(1)) for sampler in (plain, more))
        assert torch.equal(a.x, b.x)
        assert (b.mask >= a.mask).all()
        assert torch.equal(plain.original(0)[2], more.original(0)[2])


def shapes_in_air():
    """Return a pair with a block of bone in air; the mask is the bone."""
    ct, histology = np.full((80, 80), 10_000, np.uint16), np.full((80, 80, 3), 250, np.uint8)
    bone = np.zeros((80, 80), bool)
    bone[30:50, 30:50] = True
    ct[bone], histology[bone] = 30_000, (150, 100, 170)
    return Pair("p", ct, histology, bone, 20.0)


@pytest.mark.skipif(EARLY_TORCH, reason="an early version of torch dispatches more operators")
def test_a_batch_takes_few_operators_and_one_copy_to_the_device(monkeypatch):
    cutting, copied = sampler([random_pair()], Augment(min_mask=0.0)), []

    def count(device, *arrays):
        copied.append(len(arrays))
        return copy_together(device, *arrays)

    monkeypatch.setattr("tomostain.train.sampling.copy_together", count)
    counted = count_operators(lambda: cutting.draw(draw()))
    assert copied == [4]
    assert counted.operators["aten.rand.generator"] <= 4  # scales, corners, flips and jitter
    # Views of NumPy's arrays are no work. 94 with them at first.
    views = ("aten.lift_fresh.default", "aten.detach.default")
    assert counted.total - sum(counted.operators[name] for name in views) <= 55


def test_arrays_of_several_types_are_packed_into_one_buffer():
    draws = np.random.default_rng(0)
    arrays = [
        draws.integers(-9, 9, (2, 3)),
        draws.random((3, 1), np.float32),
        draws.integers(0, 9, (2, 1, 2))[:, :, ::-1],
    ]
    buffer = torch.empty(6 * 8 + 16 + 4 * 8, dtype=torch.uint8)
    pack(arrays, buffer.numpy())
    for part, array in zip(unpack(buffer, arrays), arrays, strict=True):
        assert part.dtype == torch.from_numpy(array.copy()).dtype
        np.testing.assert_array_equal(part, array)


@pytest.mark.gpu
def test_packed_arrays_reach_a_gpu():
    arrays = [np.arange(6).reshape(2, 3), np.linspace(0, 1, 5, dtype=np.float32)]
    for part, array in zip(copy_together(torch.device("cuda"), *arrays), arrays, strict=True):
        assert part.device.type == "cuda"
        np.testing.assert_array_equal(part.cpu(), array)
