"""Packages of the BioImage Model Zoo: ``rdf.yaml`` (format 0.5), weights, test data, cover and documentation.

Source: the format's definition, https://github.com/bioimage-io/spec-bioimage-io (model description 0.5).
"""

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from tomostain import __version__
from tomostain.errors import InputError
from tomostain.io.checksums import sha256
from tomostain.io.images import write_image
from tomostain.io.model_card import LIMITS
from tomostain.io.models import PICTURE, Model
from tomostain.models.catalogue import FOLDER
from tomostain.networks import count_parameters
from tomostain.view.exchange.cover import cover, rgb_image
from tomostain.view.exchange.documentation import documentation
from tomostain.view.exchange.graph import OPSET, ExchangeNetwork
from tomostain.view.exchange.onnx_file import INPUT_RANGE
from tomostain.view.exchange.options import RDF
from tomostain.view.exchange.sample import Sample
from tomostain.view.exchange.shapes import CT, HISTOLOGY, NOISE, GraphShapes

FORMAT = "0.5.12"
"""Version of the format: that of bioimageio.core 0.11. Readers take any 0.5."""
WEIGHTS, COVER, README = "weights.onnx", "cover.png", "README.md"
AUTHORS = ("The tomostain developers",)
"""The authors of the models that come with tomostain."""
_PAPER = {
    "text": "Irvine, S. C. et al. (2026). Paired CycleGAN-based virtual staining for 3D X-ray histology of "
    "bone-implant systems. J. Synchrotron Rad.",
    "url": "https://journals.iucr.org/s/",
}
_NAME_CHARACTERS = set(string.ascii_letters + string.digits + "_+- ()")
_MAX_NAME, _MAX_DESCRIPTION = 64, 512
_SPDX = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")
_NETWORK_TAGS = {"unet": "unet", "convnext-unet": "unet", "gated": "unet", "resnet": "resnet"}


@dataclass(frozen=True)
class PackageText:
    """What people state about a package.

    Attributes
    ----------
    name : str
    authors : tuple of str
    licence : str
        SPDX identifier.
    """

    name: str
    authors: tuple[str, ...]
    licence: str


def package_text(model: Model, name: str, authors: Sequence[str], licence: str) -> PackageText:
    """Return name, authors and licence of a package.

    Raises
    ------
    InputError
        If the format needs one of them, and neither the model nor the caller states it.
    """
    names = tuple(authors) or (AUTHORS if model.path.parent == FOLDER else ())
    if not names:
        raise InputError("a bioimageio package needs the names of the authors; give `authors`", parameter="authors")
    if wrong := [each for each in names if not each.strip() or "/" in each]:
        raise InputError(f"`authors` {wrong[0]!r}: give a name without a slash", parameter="authors")
    identifier = licence or model.spec.licence.partition(";")[0].strip()
    if not _SPDX.fullmatch(identifier):
        stated = f"{identifier!r} is none" if identifier else "the model states none"
        raise InputError(
            f"a bioimageio package needs a licence as an SPDX identifier, such as CC-BY-4.0, and {stated}; "
            "give one as `licence`",
            parameter="licence",
        )
    title = f"Virtual staining of microCT ({model.spec.stain.replace('&', '')} {name.removeprefix('builtin:')})"
    cleaned = "".join(character if character in _NAME_CHARACTERS else "-" for character in title)
    return PackageText(cleaned[:_MAX_NAME], names, identifier)


def write_package(
    folder: Path,
    network: ExchangeNetwork,
    model: Model,
    text: PackageText,
    sample: Sample,
    colours: NDArray[np.float32],
) -> None:
    """Write all files of a package except the weights, which are in `folder` already.

    Parameters
    ----------
    folder : Path
    network : ExchangeNetwork
    model : Model
    text : PackageText
    sample : Sample
        The test input.
    colours : ndarray of float32, shape (1, 3, H, W)
        The output for it.
    """
    import tifffile

    tensors = {CT: sample.ct, HISTOLOGY: colours} | ({} if sample.noise is None else {NOISE: sample.noise})
    for name, values in tensors.items():
        np.save(folder / f"{name}.npy", values, allow_pickle=False)
    write_image(folder / COVER, cover(sample.middle, colours[0]))
    write_image(folder / f"{HISTOLOGY}.png", rgb_image(colours[0]))
    slices = sample.ct[0].astype(np.uint16)
    tifffile.imwrite(folder / f"{CT}.tif", slices if len(slices) > 1 else slices[0], photometric="minisblack")
    (folder / README).write_text(documentation(model, network.shapes), encoding="utf-8")
    if (model.path / PICTURE).is_file():
        (folder / PICTURE).write_bytes((model.path / PICTURE).read_bytes())
    description = _description(folder, network, model, text, sample.source)
    rdf = yaml.safe_dump(description, sort_keys=False, allow_unicode=True, width=100)
    (folder / RDF).write_text(rdf, encoding="utf-8")


def _file(folder: Path, name: str) -> dict[str, str]:
    return {"source": name, "sha256": sha256(folder / name)}


def _description(
    folder: Path, network: ExchangeNetwork, model: Model, text: PackageText, source: str
) -> dict[str, Any]:
    """Return the content of ``rdf.yaml``."""
    spec, shapes = model.spec, network.shapes
    summary = f"{spec.summary.rstrip('.')}. " if spec.summary else ""
    translates = f"Colours a slice of µCT as the stain {spec.stain} would. For research, not for a diagnosis."
    extra = [_file(folder, PICTURE)] if (folder / PICTURE).is_file() else []
    return {
        "type": "model",
        "format_version": FORMAT,
        "name": text.name,
        "description": f"{summary}{translates}"[:_MAX_DESCRIPTION],
        "authors": [{"name": name} for name in text.authors],
        "license": text.licence,
        "cite": [_PAPER],
        "tags": _tags(network),
        "documentation": _file(folder, README),
        "covers": [_file(folder, COVER)],
        "attachments": extra,
        "inputs": _inputs(folder, network),
        "outputs": [_output(folder, spec.voxel_um)],
        "weights": {"onnx": {**_file(folder, WEIGHTS), "opset_version": OPSET}},
        "config": {"bioimageio": _zoo_config(network, shapes), "tomostain": _provenance(model, source)},
    }


def _tags(network: ExchangeNetwork) -> list[str]:
    kind = str(network.spec.generator.get("name", ""))
    tags = ["x-ray-microscopy", "2d", "tissue", "in-silico-labeling", "pytorch", _NETWORK_TAGS.get(kind, kind)]
    stain = re.sub(r"[^a-z0-9]+", "-", network.spec.stain.lower()).strip("-")
    return [*tags, "virtual-staining", "histology", "bone", "implant", "tomostain", *([stain] if stain else [])]


def _inputs(folder: Path, network: ExchangeNetwork) -> list[dict[str, Any]]:
    spec, shapes = network.spec, network.shapes
    low, high = spec.ct_window
    slices = [CT] if shapes.slices == 1 else [f"slice{n - shapes.slices // 2:+d}" for n in range(shapes.slices)]
    size = {"min": shapes.minimum, "step": shapes.multiple}
    inputs = [
        {
            "id": CT,
            "description": f"Normalised µCT: background 10000, bone 30000; values outside {low} to {high} are clipped",
            "axes": [{"type": "batch"}, {"type": "channel", "channel_names": slices}, *_plane(spec.voxel_um, size)],
            "data": {"type": "float32", "range": [0.0, 65535.0], "unit": "arbitrary unit"},
            "test_tensor": _file(folder, f"{CT}.npy"),
            "sample_tensor": _file(folder, f"{CT}.tif"),
        }
    ]
    if shapes.noise_channels:
        names = [f"noise{n}" for n in range(shapes.noise_channels)]
        inputs.append(
            {
                "id": NOISE,
                "description": "Correlated normal noise with mean 0 and variance 1; see README.md",
                "axes": [{"type": "batch"}, {"type": "channel", "channel_names": names}, *_same_plane(spec.voxel_um)],
                "data": {"type": "float32", "range": [None, None], "unit": "arbitrary unit"},
                "test_tensor": _file(folder, f"{NOISE}.npy"),
            }
        )
    return inputs


def _plane(voxel_um: float, size: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "space", "id": axis, "size": dict(size), "unit": "micrometer", "scale": float(voxel_um)}
        for axis in "yx"
    ]


def _same_plane(voxel_um: float) -> list[dict[str, Any]]:
    """Return the axes y and x of a tensor with the rows and columns of the µCT."""
    return [axis | {"size": {"tensor_id": CT, "axis_id": axis["id"]}} for axis in _plane(voxel_um, {})]


def _output(folder: Path, voxel_um: float) -> dict[str, Any]:
    return {
        "id": HISTOLOGY,
        "description": "Virtually stained section: RGB from 0 to 255, not rounded",
        "axes": [
            {"type": "batch"},
            {"type": "channel", "channel_names": ["red", "green", "blue"]},
            *_same_plane(voxel_um),
        ],
        "data": {"type": "float32", "range": [0.0, 255.0], "unit": "arbitrary unit"},
        "test_tensor": _file(folder, f"{HISTOLOGY}.npy"),
        "sample_tensor": _file(folder, f"{HISTOLOGY}.png"),
    }


def _zoo_config(network: ExchangeNetwork, shapes: GraphShapes) -> dict[str, Any]:
    spec = network.spec
    limits = " ".join(LIMITS.split())
    return {
        # Half a grey level: other processors add in another order.
        "reproducibility_tolerance": [{"relative_tolerance": 0.001, "absolute_tolerance": 0.5}],
        "architecture_type": str(spec.generator.get("name", ""))[:32],
        "modality": "X-ray microtomography",
        "target_structure": ["bone", "soft tissue", "implant"],
        "task": "virtual staining",
        "out_of_scope_use": "Diagnosis, and specimens, scanners, voxel sizes or stains unlike those of the training.",
        "bias_risks_limitations": {"limitations": limits},
        "model_parameter_count": count_parameters(network.network),
    }


def _provenance(model: Model, source: str) -> dict[str, Any]:
    spec = model.spec
    return {
        "version": __version__,
        "model_hash": model.hash,
        "stain": spec.stain,
        "recipe": spec.recipe,
        "voxel_um": spec.voxel_um,
        "patch_px": spec.patch_px,
        "input": INPUT_RANGE.format(*spec.ct_window),
        "test_input": source,
        "metrics": spec.metrics,
        "licence": spec.licence,
    }
