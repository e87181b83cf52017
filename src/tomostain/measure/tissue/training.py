"""Training of a tissue classifier on voxels with known classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tomostain import __version__
from tomostain.config import Config
from tomostain.errors import InputError
from tomostain.measure.classes import CLASSES, Labels, TissueClass
from tomostain.measure.tissue.classifier import (
    ClassifierSpec,
    TissueClassifier,
    TrainingFacts,
    Weights,
)
from tomostain.measure.tissue.familiarity import estimate_familiarity
from tomostain.progress import Progress, silent

Float = NDArray[np.float32]


class TrainingConfig(Config):
    """How a classifier is trained.

    Attributes
    ----------
    seed : int
        Seed of weights and order. The same seed gives the same bits on one machine with one thread.
    members : int
        Networks of the ensemble. Member k is not trained on the specimens k, k + members, k + 2 members, ….
    epochs, batch, learning_rate, weight_decay
        Of the optimiser (AdamW, one cycle).
    balance : float
        0: classes weigh as they occur; 1: all weigh the same.
    gain, offset : float
        Standard deviation of a random factor per voxel and channel, and of a random offset of the µCT, which imitate
        another scan or another batch of the stain.
    """

    seed: int = 0
    members: int = 5
    epochs: int = 8
    batch: int = 1024
    learning_rate: float = 0.01
    weight_decay: float = 1e-4
    balance: float = 0.3
    gain: float = 0.0
    offset: float = 0.0


@dataclass(frozen=True, eq=False)
class Samples:
    """Voxels of one specimen.

    Attributes
    ----------
    name : str
        The specimen.
    features : ndarray of float32, shape (N, F)
    classes : ndarray of uint8, shape (N,)
        Values of `TissueClass`.
    """

    name: str
    features: Float
    classes: Labels

    def part(self, columns: Sequence[int]) -> "Samples":
        """Return the samples with some of the features."""
        return Samples(self.name, np.ascontiguousarray(self.features[:, list(columns)]), self.classes)


def choose_voxels(labels: Labels, count: int, seed: int) -> NDArray[np.int64]:
    """Return the flat indices of random measured voxels, sorted.

    Parameters
    ----------
    labels : ndarray of uint8
    count : int
        Number of voxels; all measured ones if there are fewer.
    seed : int

    Returns
    -------
    ndarray of int64
        `NOT_MEASURED` voxels are never chosen.
    """
    measured = np.flatnonzero(labels.reshape(-1) != TissueClass.NOT_MEASURED)
    if len(measured) <= count:
        return measured
    return np.sort(np.random.default_rng(seed).choice(measured, count, replace=False))


def train_classifier(
    samples: Sequence[Samples],
    spec: ClassifierSpec,
    config: TrainingConfig | None = None,
    progress: Progress = silent,
) -> TissueClassifier:
    """Train an ensemble.

    Parameters
    ----------
    samples : sequence of Samples
        One for each specimen.
    spec : ClassifierSpec
        Its `members` and `training` are replaced.
    config : TrainingConfig, optional
    progress : Progress
        Called for every member.

    Returns
    -------
    TissueClassifier

    Raises
    ------
    InputError
        If there are no samples, a class is not one of `spec`, or the number of features is wrong.
    """
    config = config or TrainingConfig()
    _check_samples(samples, spec)
    members = min(config.members, len(samples))
    classes = list(spec.classes)
    networks, held_out, scores = [], [], []
    everything = np.concatenate([each.features for each in samples])
    mean, scale = everything.mean(axis=0), everything.std(axis=0) + np.float32(1e-6)
    for k in range(members):
        progress("training", k, members)
        left_out = range(k, len(samples), members) if members > 1 else range(0)
        used = [each for i, each in enumerate(samples) if i not in left_out]
        network = _train_network(used, spec, config, (mean, scale), config.seed + k)
        networks.append(network)
        held_out.append(tuple(samples[i].name for i in left_out))
        scores += [(network, samples[i]) for i in left_out]
    progress("training", members, members)
    weights = Weights(mean, scale, *(np.stack(parts) for parts in zip(*networks, strict=True)))
    index = np.concatenate([np.searchsorted(classes, each.classes) for each in samples])
    specimens = np.repeat(np.arange(len(samples)), [len(each.classes) for each in samples])
    familiarity = estimate_familiarity(everything.T, index, specimens)
    facts = TrainingFacts(
        specimens=tuple(each.name for each in samples),
        voxels=len(everything),
        seed=config.seed,
        held_out=tuple(held_out),
        model=spec.training.model,
    )
    update = {"members": members, "training": facts, "tomostain_version": __version__}
    classifier = TissueClassifier(spec.model_copy(update=update), weights, familiarity)
    facts = facts.model_copy(update={"dice": _held_out_dice(classifier, samples)})
    return TissueClassifier(classifier.spec.model_copy(update={"training": facts}), weights, familiarity)


def _check_samples(samples: Sequence[Samples], spec: ClassifierSpec) -> None:
    if not samples or not all(len(each.classes) for each in samples):
        raise InputError("training of a classifier: a specimen has no measured voxels; give labels")
    if list(spec.classes) != sorted(spec.classes):
        raise InputError(f"training of a classifier: the classes {list(spec.classes)} are not sorted; sort them")
    for each in samples:
        if each.features.ndim != 2 or each.features.shape != (len(each.classes), len(spec.feature_names)):
            raise InputError(
                f"specimen '{each.name}': {each.features.shape} features for {len(each.classes)} voxels; "
                f"give (N, {len(spec.feature_names)})"
            )
        unknown = sorted(set(np.unique(each.classes).tolist()) - set(spec.classes))
        if unknown:
            raise InputError(f"specimen '{each.name}': has the classes {unknown}, which the classifier does not have")


def _train_network(
    samples: Sequence[Samples], spec: ClassifierSpec, config: TrainingConfig, scaling: tuple[Float, Float], seed: int
) -> tuple[Float, Float, Float, Float]:
    """Return the weights of one network."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.from_numpy((np.concatenate([each.features for each in samples]) - scaling[0]) / scaling[1])
    y = torch.from_numpy(np.searchsorted(spec.classes, np.concatenate([each.classes for each in samples])))
    weight = _class_weights(y, len(spec.classes), config.balance)
    shapes = ((spec.hidden, x.shape[1]), (spec.hidden,), (len(spec.classes), spec.hidden), (len(spec.classes),))
    parameters = [torch.empty(shape).uniform_(-1, 1, generator=generator) for shape in shapes]
    for i, fan in enumerate((x.shape[1], x.shape[1], spec.hidden, spec.hidden)):
        parameters[i] = (parameters[i] / fan**0.5).requires_grad_(True)
    optimiser = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    batch = min(config.batch, len(y))
    steps = max(config.epochs * (len(y) // batch), 2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.learning_rate, total_steps=steps)
    augment = _Augmentation(spec, config, scaling, generator)
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        if len(order) < batch:
            order = torch.randperm(len(y), generator=generator)
        chosen, order = order[:batch], order[batch:]
        hidden = torch.relu(torch.nn.functional.linear(augment(x[chosen]), parameters[0], parameters[1]))
        logits = torch.nn.functional.linear(hidden, parameters[2], parameters[3])
        losses = torch.nn.functional.cross_entropy(logits, y[chosen], reduction="none")
        loss = (losses * weight[y[chosen]]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    first, first_bias, second, second_bias = (each.detach().numpy() for each in parameters)
    return first, first_bias, second, second_bias


def _class_weights(y: torch.Tensor, classes: int, balance: float) -> torch.Tensor:
    share = torch.bincount(y, minlength=classes).double().clamp(min=1) / len(y)
    weight = share ** (-balance)
    return (weight / weight[y].mean()).float()


class _Augmentation:
    """Random gain of each channel, and a random offset of the µCT, on standardised features.

    All features are linear in gain and offset, except that gradients have no offset.
    """

    def __init__(
        self, spec: ClassifierSpec, config: TrainingConfig, scaling: tuple[Float, Float], generator: torch.Generator
    ) -> None:
        self.generator, self.gain, self.offset = generator, config.gain, config.offset
        self.mean, self.scale = (torch.from_numpy(each) for each in scaling)
        channels = len(spec.channels)
        self.channels = channels
        self.channel = torch.arange(len(spec.feature_names)) % channels
        has_offset = [name.startswith("ct") and "gradient" not in name for name in spec.feature_names]
        self.with_offset = torch.tensor(has_offset, dtype=torch.float32)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self.gain > 0:
            gain = self.gain * torch.randn(len(x), self.channels, generator=self.generator)
            x = x + gain[:, self.channel] * (x + self.mean / self.scale)
        if self.offset > 0:
            offset = self.offset * torch.randn(len(x), 1, generator=self.generator)
            x = x + offset * (self.with_offset / self.scale)
        return x


def _held_out_dice(classifier: TissueClassifier, samples: Sequence[Samples]) -> dict[str, float]:
    """Return the mean Dice coefficient of each class over the specimens, each by the member that did not see it."""
    members = classifier.spec.members
    if members < 2:
        return {}
    scores: dict[str, list[float]] = {TissueClass(each).name: [] for each in classifier.spec.classes}
    for i, each in enumerate(samples):
        labels, _ = classifier.decide(classifier.probabilities(each.features.T, member=i % members))
        for tissue in CLASSES:
            size = int((labels == tissue).sum() + (each.classes == tissue).sum())
            if (each.classes == tissue).any() and tissue.name in scores:
                both = int(((labels == tissue) & (each.classes == tissue)).sum())
                scores[tissue.name].append(2 * both / size)
    return {name: round(float(np.mean(values)), 4) for name, values in scores.items() if values}
