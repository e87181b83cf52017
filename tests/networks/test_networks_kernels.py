"""Fast convolutions equal torch's own in float64, forward and backward, also inside a network."""

import copy
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import tomostain
from tomostain.io import ModelSpec, save_model
from tomostain.networks.build import build_network
from tomostain.networks.kernels import accelerate
from tomostain.networks.kernels import convolutions as fast
from tomostain.networks.kernels.convolutions import RowsConv2d, UpsamplingConv2d, WinogradConv2d
from tomostain.networks.kernels.winograd import POINTS, conv3x3, matrices, transform_kernels
from tomostain.stain import load_translator


@pytest.fixture(autouse=True)
def _any_size(monkeypatch):
    """Use Winograd's convolutions also for images as small as those of these tests."""
    monkeypatch.setattr(fast, "FEWEST_TILES", 0)


TOLERANCE = 1.5e-6  # relative to the norm of the reference


def plain_upsampling(image, weight, bias):
    enlarged = functional.interpolate(image, scale_factor=2)
    return functional.conv2d(functional.pad(enlarged, (1, 1, 1, 1), mode="reflect"), weight, bias)


def as_layer(kind):
    def convolve(image, weight, bias):
        outputs, inputs, rows, columns = weight.shape
        layer = kind(inputs, outputs, (rows, columns), bias=bias is not None, device="meta")
        for name in ("weight", "bias"):
            delattr(layer, name)
            setattr(layer, name, weight if name == "weight" else bias)
        return layer(image)

    return convolve


KINDS = {
    "winograd": (conv3x3, functional.conv2d, 3, 3),
    "upsampling": (as_layer(UpsamplingConv2d), plain_upsampling, 3, 1),
    "rows": (as_layer(RowsConv2d), functional.conv2d, 7, 7),
}


def operands(seed, batch, inputs, outputs, kernel, height, width):
    draws = torch.Generator().manual_seed(seed)
    image = torch.randn(batch, inputs, height, width, generator=draws, dtype=torch.float64)
    weight = 0.1 * torch.randn(outputs, inputs, kernel, kernel, generator=draws, dtype=torch.float64)
    return image, weight, torch.randn(outputs, generator=draws, dtype=torch.float64)


def run(function, values, grad, dtype):
    """Return the result and the gradients of image, weight and bias."""
    leaves = [value.to(dtype, copy=True).requires_grad_() for value in values]
    result = function(*leaves)
    result.backward(grad(result).to(dtype))
    return [result.detach(), *(leaf.grad for leaf in leaves)]


def compare(kind, dtype, tolerance, *shape, cancelling=False):
    """Compare with float64, relative to the reference; where its terms may cancel, relative to their sizes."""
    quick, plain, kernel, least = KINDS[kind]
    batch, inputs, outputs, height, width, seed = shape
    values = operands(seed, batch, inputs, outputs, kernel, height + least - 1, width + least - 1)
    draws = torch.Generator().manual_seed(seed + 1)
    grad = torch.randn(10**6, generator=draws, dtype=torch.float64)

    def cut(result):
        return grad[: result.numel()].view_as(result)

    # The reference gets the input of the fast one: numbers that dtype can represent.
    values = [value.to(dtype).double() for value in values]
    grad = grad.to(dtype).double()
    truth = run(plain, values, cut, torch.float64)
    sizes = run(plain, [v.abs() for v in values], lambda r: cut(r).abs(), torch.float64) if cancelling else truth
    names = ("result", "image", "weight", "bias")
    for name, actual, expected, size in zip(names, run(quick, values, cut, dtype), truth, sizes, strict=True):
        assert actual.shape == expected.shape
        error = (actual.double() - expected).norm() / size.norm()
        assert error <= tolerance, f"{name}: {error:.2e}"


SHAPES = (
    st.integers(1, 3),
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(1, 19),
    st.integers(1, 19),
    st.integers(0, 99),
)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=25)
@given(shape=st.tuples(*SHAPES))
def test_any_shape_gives_what_float64_gives_forward_and_backward(kind, shape):
    compare(kind, torch.float32, TOLERANCE, *shape, cancelling=True)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=10)
@given(shape=st.tuples(*SHAPES))
def test_in_float64_nothing_but_rounding_is_left(kind, shape):
    compare(kind, torch.float64, 1e-14, *shape, cancelling=True)


@pytest.mark.parametrize("kind", KINDS)
def test_the_papers_width_keeps_the_tolerance(kind):
    compare(kind, torch.float32, TOLERANCE, 2, 256, 3 if kind == "rows" else 256, 20, 24, 0)


def test_images_larger_than_a_chunk_are_put_together_rightly(monkeypatch):
    monkeypatch.setattr("tomostain.networks.kernels.winograd._CHUNK_BYTES", 1)  # a row of tiles at a time
    compare("winograd", torch.float32, TOLERANCE, 2, 5, 3, 30, 17, 0)


def test_matrices_multiply_polynomials_exactly():
    # In fractions, from the definition: a FIR filter of 3 coefficients over 6 values has 4 results.
    a, b, g = ([[Fraction(float(v)).limit_denominator(10_000) for v in row] for row in part] for part in matrices())
    assert [row[1] for row in g[:5]] == [Fraction(p).limit_denominator(100) for p in POINTS]
    for tap in range(3):
        for place in range(6):
            product = [g[n][tap] * b[place][n] for n in range(6)]
            actual = [sum(a[n][row] * product[n] for n in range(6)) for row in range(4)]
            assert actual == [Fraction(place == row + tap) for row in range(4)]


def test_our_points_lose_less_than_half_of_what_lavins_lose(monkeypatch):
    from tomostain.networks.kernels import winograd

    image, weight, _ = (value.float() for value in operands(0, 1, 64, 64, 3, 34, 34))
    truth = functional.conv2d(image.double(), weight.double())

    def error():
        winograd._kronecker.cache_clear()
        return float((conv3x3(image, weight).double() - truth).norm() / truth.norm())

    ours = error()
    monkeypatch.setattr(winograd, "POINTS", (0.0, 1.0, -1.0, 2.0, -2.0))
    lavins = error()
    monkeypatch.undo()
    winograd._kronecker.cache_clear()
    assert ours < lavins / 2


def resnet(**changes):
    spec = {"name": "resnet", "in_channels": 3, "width": 64, "blocks": 1} | changes
    return build_network(spec, torch.Generator().manual_seed(0))


def kinds(network):
    return [type(layer) for layer in network.modules() if type(layer) in (WinogradConv2d, UpsamplingConv2d, RowsConv2d)]


def test_only_what_pays_is_replaced_and_weights_keep_their_names():
    network = resnet()
    before, owners = copy.deepcopy(network.state_dict()), list(network.parameters())
    assert accelerate(network) is network
    assert kinds(network) == [WinogradConv2d] * 2 + [UpsamplingConv2d] * 2 + [RowsConv2d]
    assert all(current is owner for current, owner in zip(network.parameters(), owners, strict=True))
    assert list(network.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert kinds(accelerate(resnet(width=8))) == [UpsamplingConv2d] * 2 + [RowsConv2d]
    again = copy.deepcopy(network)
    assert kinds(accelerate(again)) == kinds(network)


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv2d(256, 256, 3, stride=2)],
        [nn.Conv2d(256, 256, 3, padding=1)],
        [nn.Conv2d(256, 256, 3, dilation=2)],
        [nn.Conv2d(256, 256, 3, groups=2)],
        [nn.Conv2d(4, 3, 7, padding=3)],
        [nn.Upsample(scale_factor=2, mode="bilinear"), nn.ReflectionPad2d(1), nn.Conv2d(4, 4, 3)],
        [nn.Upsample(scale_factor=3), nn.ReflectionPad2d(1), nn.Conv2d(4, 4, 3)],
        [nn.Upsample(scale_factor=2), nn.ZeroPad2d(1), nn.Conv2d(4, 4, 3)],
        [nn.Upsample(scale_factor=2), nn.ReflectionPad2d((1, 1, 1, 0)), nn.Conv2d(4, 4, 3)],
        [nn.ConvTranspose2d(256, 256, 3)],
    ],
)
def test_similar_but_different_layers_stay(layers):
    network = nn.Sequential(*layers)
    before = list(network)
    assert list(accelerate(network)) == before


UNET = {"name": "unet", "width": 4, "downs": 2, "detail": 3}


@pytest.mark.parametrize(
    "changes", [*({"norm": norm} for norm in ("instance", "channel", "none")), {"norm": "channel", "width": 8}, UNET]
)
def test_a_whole_network_gives_the_same_and_learns_the_same(changes):
    if changes is UNET:
        plain = build_network({"norm": "channel", **UNET}, torch.Generator().manual_seed(0)).double()
    else:
        plain = resnet(**changes).double()
    fast = accelerate(copy.deepcopy(plain))
    image = torch.randn(2, 3, 36, 44, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    results = [network(image) for network in (plain, fast)]
    torch.testing.assert_close(results[1], results[0], rtol=1e-10, atol=1e-12)
    for result in results:
        (result**2).sum().backward()
    for (name, expected), actual in zip(plain.named_parameters(), fast.parameters(), strict=True):
        scale = expected.grad.abs().max()  # a bias before a normalisation has none but rounding
        assert (actual.grad - expected.grad).abs().max() <= 1e-10 * max(scale, 1e-2), name


def test_channels_are_last_only_inside_layers_that_normalise_over_them():
    network = accelerate(build_network({**UNET, "norm": "channel"}))
    assert network.first.weight.is_contiguous(memory_format=torch.channels_last)
    result = network(torch.randn(1, 3, 16, 16))
    assert result.is_contiguous()
    result.sum().backward()
    again = build_network({**UNET, "norm": "channel"})
    again.load_state_dict(network.state_dict())
    assert again.first.weight.is_contiguous()
    for wide in (resnet(norm="channel"), resnet()):  # so Winograd's tiles are cut
        assert accelerate(wide).layers[1].weight.is_contiguous(memory_format=torch.channels_last)
    assert accelerate(resnet(width=8)).layers[1].weight.is_contiguous()  # here it would not be faster


def test_a_step_of_the_optimiser_is_seen_at_once():
    # Adam(fused=True) does not change a tensor's version: cached weights would become stale without notice.
    network = accelerate(resnet())
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01, fused=True)
    image = torch.randn(1, 3, 16, 16)
    network(image).square().sum().backward()
    optimiser.step()
    with torch.no_grad():
        actual, expected = network(image), _as_plain(network)(image)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def _as_plain(network):
    plain = resnet()
    plain.load_state_dict(network.state_dict())
    return plain


@pytest.mark.parametrize(("side", "used"), [(26, False), (30, True)])  # 36 tiles and 49
def test_few_tiles_in_training_are_left_to_torch(monkeypatch, side, used):
    monkeypatch.undo()
    layer, image = accelerate(nn.Sequential(nn.Conv2d(256, 256, 3)))[0], torch.randn(1, 256, side, side)
    assert isinstance(layer, WinogradConv2d)
    plain = functional.conv2d(image, layer.weight, layer.bias)
    actual = layer(image)
    torch.testing.assert_close(actual, plain, rtol=1e-4, atol=1e-5)
    assert torch.equal(actual, plain) is not used
    layer.freeze()  # transformed once, they cost nothing afterwards
    assert not torch.equal(layer(image), plain)


def test_frozen_kernels_are_transformed_once_and_equally(monkeypatch):
    image = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        expected = accelerate(resnet())(image)
        network = accelerate(resnet(), frozen=True)
        monkeypatch.setattr("tomostain.networks.kernels.winograd.transform_kernels", None)
        assert torch.equal(network(image), expected)


def test_caches_of_inference_mode_are_usable_in_training():
    from tomostain.networks.kernels import winograd

    winograd._kronecker.cache_clear()
    image, weight = torch.randn(1, 2, 6, 6), torch.randn(2, 2, 3, 3, requires_grad=True)
    with torch.inference_mode():
        conv3x3(image, weight, transformed=transform_kernels(weight))
    conv3x3(image, weight).sum().backward()
    assert weight.grad.isfinite().all()


def test_staining_on_a_cpu_is_the_same_to_a_hundredth_of_a_grey_level(tmp_path):
    spec = {"name": "resnet", "in_channels": 1, "out_channels": 3, "width": 64, "blocks": 2}
    network = build_network(spec, torch.Generator().manual_seed(0))
    for parameter in network.parameters():
        parameter.data *= 4  # N(0, 0.02) alone would give one grey
    about = ModelSpec(generator=spec, in_channels=1, voxel_um=5, stain="h&e", recipe="test", tomostain_version="0")
    save_model(tmp_path / "model", about, network.state_dict())
    translator = load_translator(tmp_path / "model", "cpu")
    assert set(kinds(translator.network)) == {WinogradConv2d, UpsamplingConv2d, RowsConv2d}
    ct = torch.from_numpy(np.random.default_rng(0).integers(8000, 32000, (2, 50, 61)).astype(np.float32))
    actual = translator(ct)
    plain = copy.copy(translator)
    object.__setattr__(plain, "network", network.eval())
    expected = plain(ct)
    assert expected.std() > 10
    assert (actual - expected).abs().max() < 0.01


def test_nothing_imports_the_modules_of_the_kernels_but_their_own_package():
    for path in Path(tomostain.__file__).parent.rglob("*.py"):
        if "kernels" not in path.parts:
            assert not re.search(r"networks\.kernels\.[\w.]+ import", path.read_text(encoding="utf-8")), path
