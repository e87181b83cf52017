"""The perceptual distance is LPIPS of its authors, differentiable, with gradients that stay finite."""

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.io import imread

from tomostain.networks.perceptual import PerceptualDistance, unit_length

EXAMPLES = Path(__file__).parents[1] / "evaluate" / "data"


@pytest.fixture(scope="module")
def distance():
    return PerceptualDistance()


def read(name):
    return torch.from_numpy(imread(EXAMPLES / f"ex_{name}.png").astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1


# The README of github.com/richzhang/PerceptualSimilarity gives 0.722 and 0.138 for these images with AlexNet.
def test_distances_of_the_authors_example_in_one_batch(distance):
    images = torch.cat([read("p0"), read("p1")])
    values = distance(images, read("ref").expand_as(images))
    assert values.tolist() == pytest.approx([0.722, 0.138], abs=5e-4)


def test_gradients_are_finite_and_reduce_the_distance(distance):
    target = read("ref")[..., :64, :64]
    image = target.clone().mul_(0.5).requires_grad_()
    before = distance(image, target).sum()
    before.backward()
    step = image.detach() - 1e-2 * image.grad / image.grad.abs().max()
    assert image.grad.isfinite().all()
    assert distance(step, target).item() < before.item()
    # A constant image, where many features are 0.
    constant = torch.ones(1, 3, 32, 32, requires_grad=True)
    distance(constant, -torch.ones(1, 3, 32, 32)).sum().backward()
    assert constant.grad.isfinite().all()


def test_no_weight_is_trained_and_no_gradient_reaches_the_target(distance):
    target, image = (read(name)[..., :32, :32].clone().requires_grad_() for name in ("ref", "p1"))
    distance(image, target).sum().backward()
    assert target.grad is None
    assert not any(value.requires_grad for value in distance.parameters())


def test_features_have_unit_length_and_zeros_stay_zero():
    features = torch.randn(2, 5, 3, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(unit_length(features).norm(dim=1), torch.ones(2, 3, 3))
    zeros = torch.zeros(1, 5, 2, 2, requires_grad=True)
    unit_length(zeros).sum().backward()
    assert torch.equal(unit_length(zeros), torch.zeros(1, 5, 2, 2))
    assert zeros.grad.isfinite().all()
