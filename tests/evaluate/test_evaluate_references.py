"""DISTS and the kernel distance against the programs of other authors."""

import importlib
import importlib.machinery
import importlib.util
import sys
import types

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from tomostain.evaluate.metrics import dists as ours
from tomostain.evaluate.metrics.kid import kernel_distance

# Outputs of the convolutions of VGG16, and "M" for the pooling between its stages.
VGG16 = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")


def vgg16_features():
    """Return the layers that torchvision names `vgg16().features`, with the weights that our DISTS uses."""
    layers, channels = [], 3
    weights = iter(zip(*ours._read_vgg16(), strict=True))
    for width in VGG16:
        if width == "M":
            layers.append(nn.MaxPool2d(2, 2))
            continue
        convolution = nn.Conv2d(channels, width, 3, padding=1)
        with torch.no_grad():
            for parameter, values in zip((convolution.weight, convolution.bias), next(weights), strict=True):
                parameter.copy_(values)
        layers += [convolution, nn.ReLU(inplace=True)]
        channels = width
    return nn.Sequential(*layers)


@pytest.fixture
def reference_class(monkeypatch):
    """Return the class of DISTS-pytorch, which needs only the layers of VGG16 from torchvision."""
    for file in (ours.WEIGHTS, ours.VGG16):
        if importlib.util.find_spec(file.path.partition("/")[0]) is None:
            pytest.skip(f"needs {file.package}")
    for name in ("torchvision", "torchvision.models", "torchvision.transforms"):
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)
    stub = sys.modules["torchvision"]
    stub.models, stub.transforms = sys.modules["torchvision.models"], sys.modules["torchvision.transforms"]
    stub.models.vgg16 = lambda *_, **__: types.SimpleNamespace(features=vgg16_features())
    monkeypatch.delitem(sys.modules, "DISTS_pytorch.DISTS_pt", raising=False)
    module = importlib.import_module("DISTS_pytorch.DISTS_pt")
    yield module.DISTS
    sys.modules.pop("DISTS_pytorch.DISTS_pt")


def smooth_image(seed, shape):
    values = gaussian_filter(np.random.default_rng(seed).random((*shape, 3)), (2, 2, 0))
    return (255 * (values - values.min()) / np.ptp(values)).astype(np.uint8)


def test_dists_is_that_of_its_authors(reference_class):
    reference = reference_class()

    def as_tensor(image):
        return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255

    for shape in ((96, 96), (64, 83)):
        a, b = smooth_image(0, shape), smooth_image(1, shape)
        with torch.no_grad():
            expected = float(reference(as_tensor(a), as_tensor(b)))
        assert expected > 0.1
        assert ours.dists(a, b) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_kernel_distance_is_that_of_torchmetrics(seed):
    kid = pytest.importorskip("torchmetrics.image.kid")
    draws = np.random.default_rng(seed)
    a, b = draws.normal(size=(30, 8)), draws.normal(0.3, 1.2, (30, 8))
    expected = float(kid.poly_mmd(torch.from_numpy(a), torch.from_numpy(b), degree=3, gamma=None, coef=1.0))
    assert kernel_distance(a, b) == pytest.approx(expected, rel=1e-10)
