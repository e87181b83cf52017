"""The images and sets that the metrics of an evaluation get."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from tomostain.config import read_yaml
from tomostain.dataset.dataset import Dataset
from tomostain.dataset.pair import Pair
from tomostain.evaluate.metrics.base import RGB, ImageSample, Metric, Value, mean_of_parts
from tomostain.evaluate.metrics.implant import implant_region
from tomostain.evaluate.metrics.patch import PatchRecord, fill_background
from tomostain.io import read_image
from tomostain.phantom.tissue import Label
from tomostain.stain import Translator

LABELS = "labels.tif"
# Pairs that a sentence names at most.
_NAMED = 10


def sample_of(data: Dataset, pair: Pair) -> ImageSample:
    """Return a pair as a sample, with its labels if it has a ``labels.tif``; air outside the mask."""
    path = data.folder(pair.id) / LABELS
    labels = np.where(pair.mask, read_image(path), int(Label.AIR)).astype(np.uint8) if path.is_file() else None
    return ImageSample(pair.id, pair.histology, pair.histology, pair.mask, pair.voxel_um, labels, pair.ct)


def shows_implant(data: Dataset, ids: Iterable[str]) -> bool:
    """Return whether a pair shows an implant, by its record, or by black metal in its histology if that says nothing.

    Images without colours are not histology, so that nothing in them is taken for metal.
    """
    for pair_id in ids:
        implant = str(data.records.get(pair_id, {}).get("implant", "unknown")).strip().lower()
        if implant in ("", "unknown"):
            rgb = data.load(pair_id).histology
            if not (rgb == rgb[..., :1]).all() and implant_region(rgb).any():
                return True
        elif implant != "none":
            return True
    return False


def is_not_ct(data: Dataset) -> bool:
    """Return whether the grey values of a dataset were not normalised as those of µCT: to background and bone."""
    path = data.path / "prepare.yaml"
    return path.is_file() and read_yaml(path).get("normalise") == "range"


class ImageSets:
    """The images of all pairs by model, for metrics of scope "set". Holds nothing without such a metric."""

    def __init__(self, metrics: tuple[Metric, ...]) -> None:
        self.metrics = metrics
        self.images: dict[str, tuple[list[RGB], list[RGB]]] = {}

    def add(self, model: str, stained: RGB, pair: Pair, colour: NDArray[np.uint8]) -> None:
        if self.metrics:
            images = self.images.setdefault(model, ([], []))
            for images_of, image in zip(images, (stained, pair.histology), strict=True):
                images_of.append(fill_background(image, pair.mask, colour))

    def rows(self) -> list[PatchRecord]:
        return [
            {"model": model, "pair": "", "scope": "set", "protocol": ""}
            | {metric.name: mean_of_parts(metric.compute(stained, real)) for metric in self.metrics}
            for model, (stained, real) in self.images.items()
        ]


def image_values(metrics: Iterable[Metric], sample: ImageSample) -> dict[str, float]:
    """Return the metrics of an image, and their parts as ``name.part``."""
    values: dict[str, float] = {}
    for metric in metrics:
        value: Value = metric.compute(sample)
        values[metric.name] = mean_of_parts(value)
        if isinstance(value, Mapping):
            values |= {f"{metric.name}.{part}": number for part, number in value.items()}
    return values


def pairs_rejected(name: str, translator: Translator) -> list[str]:
    """Return a sentence about the training pairs that a model rejected, if there are any."""
    training = translator.spec.training
    if training is None or not training.rejected_pairs:
        return []
    names = ", ".join(f"{pair_id} ({value:.2f})" for pair_id, value in training.rejected_pairs.items())
    return [
        f"{name}: {len(training.rejected_pairs)} of {training.pairs} training pairs were rejected, because their "
        f"correlation with the output is exceptionally low: {names}. Check them."
    ]


def pairs_trained(name: str, translator: Translator, digests: Mapping[str, str]) -> list[str]:
    """Return a sentence about the tested pairs whose images trained the model, if there are any.

    `digests` holds `Pair.image_digest` of each tested pair by its id.
    """
    training = translator.spec.training
    trained = [] if training is None else [i for i, digest in digests.items() if digest in training.images]
    if not trained:
        return []
    names = ", ".join(trained[:_NAMED]) + (", …" if len(trained) > _NAMED else "")
    return [
        f"{name}: {len(trained)} of the {len(digests)} tested pairs trained this model, so its scores are too good: "
        f"{names}. Train it with this dataset, or test on other pairs."
    ]
