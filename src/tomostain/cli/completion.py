"""Values that the shell completes. Nothing heavy is imported: the shell waits for the answer after each Tab."""

from pathlib import Path

import tomostain

FORMATS = (
    "bioimageio",
    "gif",
    "mp4",
    "nrrd",
    "ome-zarr-0.4",
    "onnx",
    "rgb-tiff",
    "rgba-tiff",
    "vti",
)
"""Formats of `tomostain export`."""


def formats(incomplete: str) -> list[str]:
    """Return the formats of `export` that begin with a text.

    Examples
    --------
    >>> formats("rgb")
    ['rgb-tiff', 'rgba-tiff']
    """
    return _beginning(incomplete, FORMATS)


def recipes(incomplete: str) -> list[str]:
    """Return the names of the training recipes that begin with a text.

    Examples
    --------
    >>> recipes("pix")
    ['pix2pix', 'pix2pix-cpu']
    """
    folder = Path(tomostain.__file__).parent / "train" / "recipes"
    return _beginning(incomplete, sorted(path.stem for path in folder.glob("*.yaml")))


def devices(incomplete: str) -> list[str]:
    """Return the names of devices that begin with a text."""
    return _beginning(incomplete, ("auto", "cpu", "cuda"))


def _beginning(incomplete: str, words: tuple[str, ...] | list[str]) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]
