"""Areas, degradation layer and bone-implant contact of drawn images, and of a phantom's slide."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomostain.errors import InputError
from tomostain.evaluate.metrics import ImageSample, get_metric
from tomostain.evaluate.metrics.objects import area_error, contact_percent
from tomostain.phantom.tissue import Label

COLOURS = {
    Label.MARROW: (134, 140, 186),
    Label.BONE: (190, 140, 200),
    Label.WOVEN: (50, 80, 190),
    Label.DEGRADATION: (118, 108, 100),
    Label.SCREW: (8, 8, 8),
}
SIDE = 120
NAMES = ("new_bone_area", "degradation_area", "degradation_dice", "metal_in_degradation", "bone_implant_contact")


def tissue() -> np.ndarray:
    """A screw with a degradation layer of 8 px; to the right of its middle bone, of which 10 rows are new."""
    labels = np.full((SIDE, SIDE), int(Label.MARROW))
    labels[:, 60:] = int(Label.BONE)
    labels[:10, 60:] = int(Label.WOVEN)
    labels[32:88, 32:88] = int(Label.DEGRADATION)
    labels[40:80, 40:80] = int(Label.SCREW)
    return labels


def picture(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    table = np.zeros((len(Label), 3))
    for label, colour in COLOURS.items():
        table[label] = colour
    noisy = table[labels] + np.random.default_rng(seed).normal(0, 3, (*labels.shape, 3))
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def sample_of(stained: np.ndarray, labels: np.ndarray) -> ImageSample:
    return ImageSample("p", picture(stained, 1), picture(labels), np.ones(labels.shape, bool), 20.0, labels)


@pytest.fixture(scope="module")
def compute():
    training = [sample_of(tissue(), tissue())]
    metrics = {}
    for name in NAMES:
        fit = get_metric(name).fit
        assert fit is not None
        metrics[name] = fit(training)
    return lambda stained, labels: {name: of(sample_of(stained, labels)) for name, of in metrics.items()}


def test_the_true_tissue_has_no_error(compute):
    values = compute(tissue(), tissue())
    assert values["degradation_dice"] > 0.99
    assert max(values[name] for name in NAMES if name != "degradation_dice") < 1.0


def test_a_layer_stained_as_metal_is_counted(compute):
    stained = tissue()
    layer = stained == Label.DEGRADATION
    stained[layer & (np.arange(SIDE) < SIDE / 2)] = int(Label.SCREW)
    values = compute(stained, tissue())
    assert values["metal_in_degradation"] == pytest.approx(50, abs=1)
    assert values["degradation_area"] == pytest.approx(50, abs=1)
    # Half of the layer is found: 2 · ½ / (½ + 1).
    assert values["degradation_dice"] == pytest.approx(2 / 3, abs=0.01)
    # The outline of the implant is the same.
    assert values["bone_implant_contact"] < 1


def test_additional_and_missing_bone_are_counted(compute):
    stained = tissue()
    stained[10:15, 60:] = int(Label.WOVEN)
    assert compute(stained, tissue())["new_bone_area"] == pytest.approx(50, abs=1)
    bare = tissue()
    bare[(bare == Label.BONE) | (bare == Label.WOVEN)] = int(Label.MARROW)
    assert compute(bare, tissue())["bone_implant_contact"] == pytest.approx(50, abs=1)
    assert compute(np.full((SIDE, SIDE), int(Label.MARROW)), tissue())["bone_implant_contact"] == pytest.approx(50)


def test_images_without_the_object_have_no_value(compute):
    plain = np.where(np.isin(tissue(), (Label.DEGRADATION, Label.SCREW, Label.WOVEN)), int(Label.MARROW), tissue())
    assert all(np.isnan(value) for value in compute(plain, plain).values())


def test_pixels_outside_the_mask_do_not_count(compute):
    labels, stained = tissue(), tissue()
    stained[:10] = int(Label.MARROW)
    sample = sample_of(stained, labels)
    sample.mask[:5] = False
    fit = get_metric("new_bone_area").fit
    assert fit is not None
    assert fit([sample_of(labels, labels)])(sample) == pytest.approx(100, abs=1)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 99))
def test_the_contact_is_the_bony_share_of_the_outline(percent):
    labels = np.full((200, 200), int(Label.BONE))
    rows, columns = np.indices(labels.shape) - 100
    labels[np.hypot(rows, columns) < 50] = int(Label.SCREW)
    angle = np.arctan2(rows, columns) / (2 * np.pi) % 1
    labels[(labels == Label.BONE) & (angle > percent / 100)] = int(Label.MARROW)
    contact = contact_percent(labels, np.ones(labels.shape, bool), 20.0)
    assert contact == pytest.approx(percent, abs=1.0)
    rotated = contact_percent(np.rot90(labels), np.ones(labels.shape, bool), 20.0)
    assert rotated == pytest.approx(contact, abs=0.5)


def test_dots_of_metal_are_not_an_implant():
    labels = np.full((100, 100), int(Label.BONE))
    labels[::16, ::16] = int(Label.SCREW)
    assert np.isnan(contact_percent(labels, np.ones(labels.shape, bool), 20.0))


def test_the_area_error_is_relative_and_not_signed():
    labels = np.zeros((20, 20), int)
    labels[:10] = 5
    everywhere = np.ones((20, 20), bool)
    assert area_error(np.full_like(labels, 5), labels, everywhere, 5) == 100.0
    assert area_error(np.zeros_like(labels), labels, everywhere, 5) == 100.0
    assert np.isnan(area_error(labels, np.zeros_like(labels), everywhere, 5))


def test_labels_are_needed():
    image = picture(tissue())
    sample = ImageSample("q", image, image, np.ones((SIDE, SIDE), bool), 20.0)
    for name in NAMES:
        with pytest.raises(InputError, match=rf"metric '{name}': pair 'q' has no labels.tif"):
            get_metric(name).compute(sample)
