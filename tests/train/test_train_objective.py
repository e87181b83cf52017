"""The objective computes only the losses with a weight, and runs only the networks that they need."""

import pytest
import torch
from torch import nn

from tomostain.train import losses
from tomostain.train.objective import TERMS, Networks, Step, compute_terms, weighted_sum
from tomostain.train.recipes import load_recipe


class Scale(nn.Module):
    """A "network" that multiplies, so that every loss can be worked out, and counts its calls."""

    def __init__(self, factor):
        super().__init__()
        self.factor, self.calls = factor, 0

    def forward(self, image, condition=None):
        return self.features(image, condition)[-1]

    def features(self, image, condition=None):
        """The features before the scores are twice the image."""
        if condition is not None:
            return [2 * self.factor * image + condition, self.forward_once(image) + condition]
        return [2 * self.factor * image, self.forward_once(image)]

    def forward_once(self, image):
        self.calls += 1
        return self.factor * image


class Aside(nn.Module):
    """A "displacement field" of a constant number of pixels to the right."""

    def __init__(self, columns):
        super().__init__()
        self.columns, self.calls = columns, 0

    def forward(self, first, second):
        self.calls += 1
        return torch.tensor([0.0, self.columns])[None, :, None, None].expand(len(first), 2, 1, 1)


class Distance(nn.Module):
    """A "perceptual distance": the multiple of the mean absolute difference of each image."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, images, targets):
        return self.factor * (images - targets).abs().mean(dim=(1, 2, 3))


def step(conditional=False, aside=0.0, noisy=False):
    networks = Networks(Scale(2.0), Scale(3.0), Scale(5.0), Scale(7.0), conditional, Aside(aside))
    networks.frozen["lpips"] = Distance(11.0)
    x, y = torch.full((1, 3, 8, 8), 0.5), torch.full((1, 3, 8, 8), 0.25)
    noise = torch.arange(8.0).expand(1, 1, 8, 8) if noisy else None
    return Step(networks, x, y, torch.ones(1, 1, 8, 8), noise=noise)


def calls(record):
    networks = record.networks
    return [network.calls for network in (networks.g_xy, networks.g_yx, networks.d_y, networks.d_x)]


# x = 0.5, y = 0.25; G_xy doubles, G_yx trebles, D_y is times 5, D_x times 7.
BY_HAND = {
    "adversarial": (5 * 1.0 - 1) ** 2 + (7 * 0.75 - 1) ** 2,
    "cycle": abs(3.0 - 0.5) + abs(1.5 - 0.25),
    "identity": abs(1.5 - 0.5) + abs(0.5 - 0.25),
    "pixelwise": abs(1.0 - 0.25) + abs(0.75 - 0.5),
    "greyscale": 0.0,
    "conditional_adversarial": (5 * 1.0 + 0.5 - 1) ** 2,
    "registered_pixelwise": abs(1.0 - 0.25) + abs(0.75 - 0.5),
    "registered_l1": abs(1.0 - 0.25),
    "smoothness": 0.0,
    "shift_tolerant_l1": abs(1.0 - 0.25),
    "adversarial_y": (5 * 1.0 - 1) ** 2,
    "feature_matching": 10 * abs(1.0 - 0.25),
    "l1": abs(1.0 - 0.25),
    "charbonnier": ((1.0 - 0.25) ** 2 + 1e-6) ** 0.5 - 1e-3,
    "multiscale_l1": 1.875 * abs(1.0 - 0.25),
    # Of the four channels, the noise differs by 4 from that of half a patch aside, and is doubled.
    "noise_spread": -0.5 * 2 * 4 / 4,
    "perceptual": 11 * abs(1.0 - 0.25),
}


@pytest.mark.parametrize("name", TERMS)
def test_each_term_puts_the_right_images_into_its_equation(name):
    record = step(name == "conditional_adversarial", noisy=TERMS[name].needs_noise)
    assert compute_terms(record, {name: 1.0})[name].item() == pytest.approx(BY_HAND[name])


def test_a_term_without_weight_is_not_computed(monkeypatch):
    def never(record):
        raise AssertionError("computed without a weight")

    monkeypatch.setitem(TERMS, "identity", type(TERMS["identity"])(never))
    assert set(compute_terms(step(), {"identity": 0.0, "l1": 2.0})) == {"l1"}
    with pytest.raises(AssertionError):
        compute_terms(step(), {"identity": 1.0})


def test_pix2pix_does_not_call_the_reverse_generator():
    record = step(conditional=True)
    compute_terms(record, load_recipe("pix2pix").active)
    assert calls(record) == [1, 0, 1, 0]


def test_each_image_is_made_once():
    record = step()
    compute_terms(record, load_recipe("paired-cyclegan").active)
    assert calls(record) == [3, 3, 1, 1]  # fake, cycled, same


@pytest.mark.parametrize("name", TERMS)
def test_a_term_declares_the_networks_that_it_runs(name):
    record = step(name == "conditional_adversarial", noisy=TERMS[name].needs_noise)
    compute_terms(record, {name: 1.0})
    _, reverse, d_y, d_x = calls(record)
    assert TERMS[name].needs_deformation == (record.networks.deformation.calls > 0)
    assert TERMS[name].needs_reverse == (reverse > 0)
    assert TERMS[name].discriminators == tuple(n for n, count in (("d_y", d_y), ("d_x", d_x)) if count)


@pytest.mark.parametrize(
    ("recipe", "total"),
    [
        ("paired-cyclegan", lambda t: losses.paired_total(*t.values())),  # eq. (7)
        ("cyclegan", lambda t: losses.cyclegan_total(*t.values())),  # eq. (4)
        ("pix2pix", lambda t: losses.pix2pix_total(*t.values())),  # eq. (10)
    ],
)
def test_the_weighted_table_is_the_papers_total(recipe, total):
    weights = load_recipe(recipe).active
    terms = compute_terms(step(conditional=recipe == "pix2pix"), weights)
    torch.testing.assert_close(weighted_sum(terms, weights), total(terms))


def test_the_deformation_moves_the_images_on_the_ct_side():
    record = step(aside=1.0)
    record.x = torch.tensor([[[[0.1, 0.2, 0.3, 0.4]]]]).expand(1, 3, 4, 4)
    record.y = record.x.roll(-1, dims=-1) * 2.0
    record.mask = torch.zeros(1, 1, 4, 4)
    record.mask[..., :3] = 1
    # G_xy doubles x: one pixel aside it is y. G_yx trebles y, which is 6 times x one pixel aside.
    # The third column's counterpart is masked; the two that are left stand for it.
    expected = (3 / 4) * 5 * (0.2 + 0.3) / 2
    assert compute_terms(record, {"registered_pixelwise": 1.0})["registered_pixelwise"].item() == pytest.approx(
        expected
    )


def test_the_other_output_has_the_noise_of_half_a_patch_aside():
    record = step(noisy=True)
    noise, other = record.fake_y[:, 3:] / 2, record.other_fake_y[:, 3:] / 2
    assert torch.equal(other, noise.roll((4, 4), (2, 3)))
    assert torch.equal(record.other_fake_y[:, :3], record.fake_y[:, :3])  # the µCT is the same
    record.keep_fakes_only()
    assert "other_fake_y" not in record.__dict__
