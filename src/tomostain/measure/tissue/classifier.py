"""A small classifier of tissue: multi-scale features, then a network with one hidden layer, as an ensemble."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tomostain.config import Config
from tomostain.errors import InputError
from tomostain.integers import to_integers
from tomostain.measure.classes import CLASSES, Labels, TissueClass
from tomostain.measure.tissue.familiarity import Familiarity
from tomostain.measure.tissue.features import FeatureSpec, image_features, volume_features

Float = NDArray[np.float32]
Variant = Literal["stain", "ct", "both", "section"]
STAIN_CHANNELS = ("first stain", "second stain", "residual")
CT_CHANNEL = "ct"
_AT_ONCE = 2**14
_MAX_SIDE = 4096
# Probabilities are stored in 1/255.
_CERTAIN = 255.0


class TrainingFacts(Config):
    """What a classifier was trained on.

    Attributes
    ----------
    specimens : tuple of str
        Names of the specimens.
    voxels : int
        Number of voxels, or pixels, of all specimens.
    seed : int
    held_out : tuple of tuple of str
        For each member of the ensemble, the specimens that it was not trained on.
    dice : mapping of str to float
        Dice coefficient of each class on the specimens that a member was not trained on, mean over members.
    model : str
        The model that stained the volumes; empty for `ct` and `section`.
    """

    specimens: tuple[str, ...] = ()
    voxels: int = Field(default=0, ge=0)
    seed: int = 0
    held_out: tuple[tuple[str, ...], ...] = ()
    dice: dict[str, float] = Field(default_factory=dict)
    model: str = ""


class ClassifierSpec(Config):
    """The content of ``classifier.yaml``.

    Attributes
    ----------
    variant : {"stain", "ct", "both", "section"}
        What is classified: a stained volume, a µCT volume, both together, or the colours of a section in its plane.
    stain : str or None
        The stain; None for `ct`.
    voxel_um : float
        Voxel or pixel size, µm.
    features : FeatureSpec
    hidden : int
        Width of the hidden layer.
    members : int
        Number of networks in the ensemble.
    classes : tuple of int
        The class of each output.
    training : TrainingFacts
    summary : str
        Purpose and limits of the classifier, in one line.
    tomostain_version : str
    """

    variant: Variant
    stain: str | None = None
    voxel_um: float = Field(gt=0, le=1000)
    features: FeatureSpec
    hidden: int = Field(default=32, ge=1, le=_MAX_SIDE)
    members: int = Field(default=1, ge=1, le=100)
    classes: tuple[int, ...] = tuple(int(each) for each in CLASSES)
    training: TrainingFacts = TrainingFacts()
    summary: str = ""
    tomostain_version: str = ""

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels: the amounts of both stains and the residual, the µCT, or all four."""
        stain = () if self.variant == "ct" else STAIN_CHANNELS
        return (*stain, CT_CHANNEL) if self.variant in ("ct", "both") else stain

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features, in their order."""
        return self.features.names(self.channels)

    @property
    def uses_stain(self) -> bool:
        """Whether the colours of a stain are classified."""
        return self.variant != "ct"

    @property
    def uses_ct(self) -> bool:
        """Whether the µCT is classified."""
        return self.variant in ("ct", "both")


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights of the members of an ensemble, on standardised features.

    Attributes
    ----------
    mean, scale : ndarray of float32, shape (F,)
        Mean and standard deviation of the features of the training data.
    hidden, hidden_bias : ndarray of float32, shapes (M, H, F) and (M, H)
    output, output_bias : ndarray of float32, shapes (M, K, H) and (M, K)
    """

    mean: Float
    scale: Float
    hidden: Float
    hidden_bias: Float
    output: Float
    output_bias: Float

    @property
    def folded(self) -> tuple[Float, Float]:
        """Weights and bias of the hidden layer for features that are not standardised."""
        weights: Float = self.hidden / self.scale
        bias: Float = self.hidden_bias - np.matmul(weights, self.mean)
        return weights, bias.astype(np.float32)


class TissueClassifier:
    """Classifies voxels or pixels.

    Parameters
    ----------
    spec : ClassifierSpec
    weights : Weights
    familiarity : Familiarity, optional
        For the comparison with the training data.
    name : str
        Named in messages.

    Raises
    ------
    InputError
        If shapes of the weights do not agree with `spec`, or a weight is not finite.
    """

    def __init__(
        self, spec: ClassifierSpec, weights: Weights, familiarity: Familiarity | None = None, name: str = "classifier"
    ) -> None:
        self.spec, self.weights, self.familiarity, self.name = spec, weights, familiarity, name
        _check_weights(spec, weights, name)
        hidden, bias = weights.folded
        self._hidden, self._hidden_bias = hidden, bias
        self.classes: tuple[TissueClass, ...] = tuple(TissueClass(each) for each in spec.classes)

    def __repr__(self) -> str:
        return f"TissueClassifier({self.name!r}, {self.spec.variant}, {self.spec.voxel_um:g} µm)"

    def predict(self, channels: Float, member: int | None = None) -> Float:
        """Return the probability of every class.

        Parameters
        ----------
        channels : ndarray of float32, shape (C, Z, Y, X), or (C, Y, X) for a section
            `stain_channels`, `ct_channel`, or both together, in this order.
        member : int, optional
            One network of the ensemble. By default the mean of the probabilities of all.

        Returns
        -------
        ndarray of float32, shape (K, Z, Y, X) or (K, Y, X)
            In the order of `classes`. The sum over classes is 1.

        Raises
        ------
        InputError
            If the number of channels or axes is wrong, or there is no such member.
        """
        dimension = self.spec.features.dimension
        if channels.ndim != dimension + 1 or len(channels) != len(self.spec.channels):
            expected = f"({len(self.spec.channels)}, {'Z, ' if dimension == 3 else ''}Y, X)"
            raise InputError(f"{self.name}: `channels` has the shape {channels.shape}; give {expected}")
        values = np.asarray(channels, np.float32)
        features = image_features if dimension == 2 else volume_features
        return self.probabilities(features(values, self.spec.features), member)

    def probabilities(self, features: Float, member: int | None = None) -> Float:
        """Return the probability of every class from features.

        Parameters
        ----------
        features : ndarray of float32, shape (F, ...)
        member : int, optional

        Returns
        -------
        ndarray of float32, shape (K, ...)
        """
        if member is not None and not 0 <= member < self.spec.members:
            raise InputError(
                f"{self.name}: `member` is {member}; the classifier has members 0 to {self.spec.members - 1}",
                parameter="member",
            )
        flat = features.reshape(len(features), -1)
        result = np.empty((len(self.classes), flat.shape[1]), np.float32)
        members = range(self.spec.members) if member is None else (member,)
        # Parts of equal size, so that a product of matrices has the same bits wherever a voxel lies.
        for first in range(0, flat.shape[1], _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            result[:, part] = sum(self._softmax(flat[:, part], k) for k in members) / np.float32(len(members))
        return result.reshape(len(self.classes), *features.shape[1:])

    def _softmax(self, features: Float, member: int) -> Float:
        hidden = self._hidden[member] @ features
        hidden += self._hidden_bias[member][:, None]
        np.maximum(hidden, 0, out=hidden)
        values = self.weights.output[member] @ hidden
        values += self.weights.output_bias[member][:, None]
        values -= values.max(axis=0)
        np.exp(values, out=values)
        values /= values.sum(axis=0)
        return np.asarray(values)

    def decide(self, probabilities: Float) -> tuple[Labels, NDArray[np.uint8]]:
        """Return the most probable class, and how uncertain it is.

        Parameters
        ----------
        probabilities : ndarray of float32, shape (K, ...)

        Returns
        -------
        labels : ndarray of uint8, shape (...)
            Values of `TissueClass`.
        uncertainty : ndarray of uint8, shape (...)
            1 minus the largest probability, times 255.
        """
        table = np.array(self.spec.classes, np.uint8)
        best = probabilities.argmax(axis=0)
        uncertainty = np.float32(1) - probabilities.max(axis=0)
        return table[best], to_integers(uncertainty * np.float32(_CERTAIN), np.uint8, "uncertainty", clip=True)


def _check_weights(spec: ClassifierSpec, weights: Weights, name: str) -> None:
    features, members, hidden, outputs = len(spec.feature_names), spec.members, spec.hidden, len(spec.classes)
    shapes = {
        "mean": (features,),
        "scale": (features,),
        "hidden": (members, hidden, features),
        "hidden_bias": (members, hidden),
        "output": (members, outputs, hidden),
        "output_bias": (members, outputs),
    }
    if not set(spec.classes) <= {int(each) for each in CLASSES} or len(set(spec.classes)) != outputs or not outputs:
        raise InputError(f"{name}: its classes are {list(spec.classes)}; they must be different tissue classes")
    for part, shape in shapes.items():
        values = getattr(weights, part)
        if values.shape != shape or values.dtype != np.float32:
            raise InputError(
                f"{name}: '{part}' is {values.dtype} of shape {values.shape}, but the classifier needs float32 of "
                f"shape {shape}; restore the folder or train it again"
            )
        if not np.isfinite(values).all() or float(np.abs(values).max(initial=0)) > math.sqrt(float(np.finfo("f4").max)):
            raise InputError(f"{name}: '{part}' holds NaN, infinity or a huge value; restore the folder")
    if (weights.scale <= 0).any():
        raise InputError(f"{name}: 'scale' holds a value that is not positive; restore the folder")
