"""Folders of tissue classifiers: ``classifier.safetensors`` and ``classifier.yaml``, and the built-in ones.

A folder in ``classifiers/`` next to this file is a built-in classifier, named ``builtin:`` and the name of the folder.
Nothing in a folder is executed, and no pickle is read.
"""

import os
import re
from pathlib import Path

import numpy as np

from tomostain.config import suggest
from tomostain.errors import InputError
from tomostain.input_files import refuse_special_file
from tomostain.io.atomic import atomic_folder
from tomostain.io.outputs import FolderKind, check_output
from tomostain.io.tensors import read_tensors, write_tensors
from tomostain.measure.tissue.classifier import ClassifierSpec, TissueClassifier, Variant, Weights
from tomostain.measure.tissue.familiarity import Familiarity
from tomostain.models import PREFIX, is_builtin
from tomostain.paths import StrPath

SPEC, WEIGHTS = "classifier.yaml", "classifier.safetensors"
_KIND = FolderKind("classifier", re.escape(SPEC) + "|" + re.escape(WEIGHTS), SPEC)
FOLDER = Path(__file__).parent / "classifiers"
"""The folder of the built-in classifiers."""
MAX_BYTES = 64 * 2**20
"""Maximum size of the weights. Built-in classifiers have less than 100 kB."""
_WEIGHTS = ("mean", "scale", "hidden", "hidden_bias", "output", "output_bias")
_FAMILIARITY = ("centres", "whitening", "limits")


def save_classifier(folder: StrPath, classifier: TissueClassifier, *, overwrite: bool = False) -> Path:
    """Write a classifier as a folder. If an error occurs, no folder remains.

    Parameters
    ----------
    folder : path
        The new folder.
    classifier : TissueClassifier
    overwrite : bool
        Replace an existing folder.

    Returns
    -------
    Path
        `folder`.

    Raises
    ------
    InputError
        If the folder exists and `overwrite` is false, or it is no classifier or has other files.
    """
    import torch

    folder = Path(folder)
    check_output(folder, _KIND, overwrite=overwrite)
    arrays = {name: getattr(classifier.weights, name) for name in _WEIGHTS}
    familiarity = classifier.familiarity
    if familiarity is not None:
        limits = np.array([familiarity.max_distance, familiarity.max_share], np.float32)
        arrays |= {"centres": familiarity.centres, "whitening": familiarity.whitening, "limits": limits}
    with atomic_folder(folder, overwrite) as temporary:
        write_tensors(temporary / WEIGHTS, {name: torch.from_numpy(values) for name, values in arrays.items()})
        (temporary / SPEC).write_text(classifier.spec.to_yaml(), encoding="utf-8")
    return folder


def load_classifier(classifier: StrPath) -> TissueClassifier:
    """Load a classifier, after checks of its sizes and values.

    Parameters
    ----------
    classifier : path
        A folder of `save_classifier`, or ``builtin:NAME``.

    Raises
    ------
    InputError
        If there is no such classifier, a file is missing or damaged, or the weights do not fit ``classifier.yaml``.
    """
    folder, name = classifier_folder(classifier), os.fspath(classifier)
    spec = ClassifierSpec.from_yaml(folder / SPEC)
    path = folder / WEIGHTS
    refuse_special_file(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; restore the folder of the classifier")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: has {path.stat().st_size} bytes; a classifier has at most {MAX_BYTES}")
    tensors = read_tensors(path)
    if tensors is None:
        raise InputError(f"{path}: is damaged or no safetensors file; restore the folder of the classifier")
    missing = [part for part in _WEIGHTS if part not in tensors]
    if missing:
        raise InputError(f"{path}: '{missing[0]}' is missing; restore the folder of the classifier")
    arrays = {part: values.numpy() for part, values in tensors.items()}
    weights = Weights(**{part: arrays[part] for part in _WEIGHTS})
    return TissueClassifier(spec, weights, _familiarity(arrays, spec, path), name)


def _familiarity(arrays: dict[str, np.ndarray], spec: ClassifierSpec, path: Path) -> Familiarity | None:
    if not all(part in arrays for part in _FAMILIARITY):
        return None
    centres, whitening, limits = (arrays[part] for part in _FAMILIARITY)
    features = len(spec.feature_names)
    shapes_fit = centres.ndim == 2 and len(centres) and centres.shape[1] == features
    if not shapes_fit or whitening.shape != (features, features) or limits.shape != (2,):
        raise InputError(f"{path}: the training reference does not fit {SPEC}; restore the folder of the classifier")
    if not all(np.isfinite(each).all() for each in (centres, whitening, limits)):
        raise InputError(f"{path}: the training reference holds NaN or infinity; restore the folder")
    return Familiarity(centres, whitening, float(limits[0]), float(limits[1]))


def classifier_folder(classifier: StrPath) -> Path:
    """Return the folder of a classifier.

    Parameters
    ----------
    classifier : path
        A folder, or ``builtin:NAME``.

    Raises
    ------
    InputError
        If there is no such folder or built-in classifier.
    """
    if is_builtin(classifier):
        name = os.fspath(classifier).removeprefix(PREFIX)
        if name not in builtin_classifiers():
            raise InputError(f"{PREFIX}{name}: no such built-in classifier{suggest(name, builtin_classifiers())}")
        return FOLDER / name
    folder = Path(classifier)
    if not (folder / SPEC).is_file():
        listed = ", ".join(PREFIX + name for name in builtin_classifiers())
        raise InputError(
            f"{folder}: no folder of a classifier (no {SPEC}); give one, or a built-in classifier: {listed}",
            parameter="classifier",
        )
    return folder


def builtin_classifiers() -> list[str]:
    """Return the names of the built-in classifiers, sorted, without the prefix."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{SPEC}"))


def builtin_classifier(variant: Variant, stain: str | None = None) -> str:
    """Return the name of the built-in classifier for a variant and a stain.

    Parameters
    ----------
    variant : {"stain", "ct", "both", "section"}
    stain : str, optional
        Not needed for "ct". ``HE``, ``H&E`` and ``h-e`` are names of ``h&e``.

    Raises
    ------
    InputError
        If there is none, or the stain is not known.

    Examples
    --------
    >>> builtin_classifier("both", "toluidine-blue")
    'builtin:phantom-tb-both'
    """
    specs = {name: ClassifierSpec.from_yaml(FOLDER / name / SPEC) for name in builtin_classifiers()}
    stains = {spec.stain: name for name, spec in specs.items() if spec.variant == variant}
    if variant == "ct" and stains:
        return PREFIX + next(iter(stains.values()))
    if stain is not None and _stain_name(stain) in stains:
        return PREFIX + stains[_stain_name(stain)]
    listed = " or ".join(str(name) for name in reversed(stains)) or "none"
    others = "`classifier`" if variant == "section" else "`classifier` or `labels`"
    if stain is None or _stain_name(stain) == "unknown":
        raise InputError(
            f"tissue classifier: the stain is not known; set `stain` to {listed}, or give {others}", parameter="stain"
        )
    raise InputError(
        f"tissue classifier: no built-in one for the stain '{stain}'; if it is similar, set `stain` to {listed}, or "
        f"train one and give {others}",
        parameter="stain",
    )


def _stain_name(stain: str) -> str:
    """Return the name of a stain as the classifiers state it.

    Examples
    --------
    >>> [_stain_name(name) for name in ("HE", "H&E", "h-e", "Toluidine blue")]
    ['h&e', 'h&e', 'h&e', 'toluidine-blue']
    """
    name = re.sub(r"[\s_]+", "-", stain.strip().lower())
    return "h&e" if name in ("he", "h-e", "h&e") else name
