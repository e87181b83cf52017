"""Objects of an implant study in the stained image, compared with the labels of a phantom.

Tissue is read from the colours of the stained image by the classifier of the metric "tissue_dice", which is fitted to
the training pairs. Areas, the overlap of the degradation layer and the bone-implant contact follow from the classes.
The classifier itself has an error, which the metrics of the real images show.
"""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import disk

from tomostain.evaluate.metrics.base import ImageSample, Mask, register_metric
from tomostain.evaluate.metrics.tissue import MIN_REGION_PX, TISSUES, ColourClasses
from tomostain.phantom.tissue import Label

Labels = NDArray[np.integer]
Compute = Callable[[ImageSample], float]

BONE = (int(Label.BONE), int(Label.WOVEN), int(Label.LACUNA))
# With its degradation layer, which is what bone touches.
IMPLANT = (int(Label.SCREW), int(Label.DEGRADATION))
METAL, NEW_BONE, DEGRADATION = int(Label.SCREW), int(Label.WOVEN), int(Label.DEGRADATION)
# The contact is read in a rim of this width outside the implant, µm, but at least this many pixels.
RIM_UM, MIN_RIM_PX = 40.0, 2
# Isolated pixels of the colour of the implant are removed with a disc of this radius, px.
_OPENING_PX = 3


def contact_percent(classes: Labels, region: Mask, pixel_um: float) -> float:
    """Return the bone-implant contact: the share of the rim around the implant that is bone, in percent.

    Parameters
    ----------
    classes : ndarray of int, shape (Y, X)
        Values of `tomostain.phantom.tissue.Label`.
    region : ndarray of bool, shape (Y, X)
        The pixels to use.
    pixel_um : float
        Pixel size, µm.

    Returns
    -------
    float
        0 to 100. The rim is 40 µm wide, at least 2 px. NaN if no implant is left after an opening of 3 px.

    Examples
    --------
    >>> classes = np.full((60, 60), int(Label.MARROW))
    >>> classes[:, 30:] = int(Label.BONE)
    >>> classes[20:40, 20:40] = int(Label.SCREW)
    >>> contact_percent(classes, np.ones((60, 60), bool), 20.0)
    50.0
    """
    coloured = np.isin(classes, IMPLANT)
    implant = ndimage.binary_fill_holes(ndimage.binary_opening(coloured & region, disk(_OPENING_PX)))
    if implant.sum() < MIN_REGION_PX:
        return float("nan")
    width = max(float(MIN_RIM_PX), RIM_UM / pixel_um)
    rim = (ndimage.distance_transform_edt(~implant) <= width) & ~implant & ~coloured & region
    return float(100 * np.isin(classes, BONE)[rim].mean()) if rim.any() else float("nan")


def learn_classes(metric: str, samples: Iterable[ImageSample]) -> ColourClasses:
    """Learn the colours of the tissues from samples with labels."""
    pixels = [(sample.real, sample.require_labels(metric)) for sample in samples]
    return ColourClasses.learn([real for real, _ in pixels], [labels for _, labels in pixels], list(TISSUES))


def _fitted(
    metric: str, measure: Callable[[Labels, Labels, ImageSample], float]
) -> Callable[[Iterable[ImageSample]], Compute]:
    """Return the function `fit` of a metric that compares classes by colour with labels."""

    def fit(samples: Iterable[ImageSample]) -> Compute:
        colours = learn_classes(metric, samples)
        return lambda sample: measure(colours.classify(sample.stained), sample.require_labels(metric), sample)

    return fit


def area_error(classes: Labels, labels: Labels, region: Mask, label: int) -> float:
    """Return the difference of the areas of a class from that in the labels, in percent of the latter; not signed.

    NaN if the labels have fewer than 50 px of the class.
    """
    true = int(((labels == label) & region).sum())
    return abs(100 * (((classes == label) & region).sum() / true - 1)) if true >= MIN_REGION_PX else float("nan")


def _region(labels: Labels, sample: ImageSample) -> Mask:
    """Return where the classes count: in the mask, where the label has a distinct colour."""
    return np.asarray(sample.mask.astype(bool) & np.isin(labels, list(TISSUES)))


def _new_bone(classes: Labels, labels: Labels, sample: ImageSample) -> float:
    return area_error(classes, labels, _region(labels, sample), NEW_BONE)


def _degradation_area(classes: Labels, labels: Labels, sample: ImageSample) -> float:
    return area_error(classes, labels, _region(labels, sample), DEGRADATION)


def _degradation_dice(classes: Labels, labels: Labels, sample: ImageSample) -> float:
    region = _region(labels, sample)
    stained, true = ((image == DEGRADATION) & region for image in (classes, labels))
    return float(2 * (stained & true).sum() / (stained.sum() + true.sum())) if true.sum() >= MIN_REGION_PX else np.nan


def _metal_in_degradation(classes: Labels, labels: Labels, sample: ImageSample) -> float:
    layer = (labels == DEGRADATION) & sample.mask.astype(bool)
    return float(100 * (classes[layer] == METAL).mean()) if layer.sum() >= MIN_REGION_PX else float("nan")


def _contact_error(classes: Labels, labels: Labels, sample: ImageSample) -> float:
    region = sample.mask.astype(bool)
    stained, true = (contact_percent(image, region, sample.pixel_um) for image in (classes, labels))
    # A stained image without an implant has no contact.
    return abs((0.0 if np.isnan(stained) else stained) - true)


fit_new_bone = _fitted("new_bone_area", _new_bone)
fit_degradation_area = _fitted("degradation_area", _degradation_area)
fit_degradation_dice = _fitted("degradation_dice", _degradation_dice)
fit_metal_in_degradation = _fitted("metal_in_degradation", _metal_in_degradation)
fit_contact = _fitted("bone_implant_contact", _contact_error)


@register_metric(
    "new_bone_area",
    label="new bone area error",
    unit="%",
    larger_is_better=False,
    digits=1,
    scope="image",
    fit=fit_new_bone,
)
def new_bone_area(sample: ImageSample) -> float:
    """Error of the area of new bone by its colour, relative to the labels, not signed (needs ``labels.tif``)."""
    return fit_new_bone([sample])(sample)


@register_metric(
    "degradation_area",
    label="degradation area error",
    unit="%",
    larger_is_better=False,
    digits=1,
    scope="image",
    fit=fit_degradation_area,
)
def degradation_area(sample: ImageSample) -> float:
    """Error of the area of the degradation layer by its colour, relative to the labels (needs ``labels.tif``)."""
    return fit_degradation_area([sample])(sample)


@register_metric(
    "degradation_dice", label="degradation Dice", larger_is_better=True, scope="image", fit=fit_degradation_dice
)
def degradation_dice(sample: ImageSample) -> float:
    """Dice coefficient of the degradation layer by its colour (needs ``labels.tif``)."""
    return fit_degradation_dice([sample])(sample)


@register_metric(
    "metal_in_degradation",
    label="degradation layer stained as metal",
    unit="%",
    larger_is_better=False,
    digits=1,
    scope="image",
    fit=fit_metal_in_degradation,
)
def metal_in_degradation(sample: ImageSample) -> float:
    """Share of the degradation layer that has the colour of metal (needs ``labels.tif``)."""
    return fit_metal_in_degradation([sample])(sample)


@register_metric(
    "bone_implant_contact",
    label="bone-implant contact error",
    unit="percentage points",
    larger_is_better=False,
    digits=1,
    scope="image",
    fit=fit_contact,
)
def bone_implant_contact(sample: ImageSample) -> float:
    """Error of the bone-implant contact by the colours, not signed (needs ``labels.tif``)."""
    return fit_contact([sample])(sample)
