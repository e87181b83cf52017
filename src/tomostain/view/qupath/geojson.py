"""Tissue classes as GeoJSON annotations of QuPath.

Sources: RFC 7946 (GeoJSON); `qupath.lib.io.QuPathTypeAdapters` of QuPath 0.4 to 0.7, which reads the properties.
QuPath takes coordinates as pixels (x, y) of the full-size image, from the top left corner of the first pixel.
"""

import json
import uuid
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from tomostain.geometry.outlines import trace_outlines
from tomostain.io.atomic import write_text
from tomostain.measure.classes import COLOURS, TITLES, Labels, TissueClass

_MASK_COLOUR = (255, 200, 0)


class Classification(TypedDict):
    """A class of QuPath."""

    name: str
    color: list[int]


class Properties(TypedDict):
    """What QuPath reads of an annotation."""

    objectType: str
    name: str
    classification: Classification
    isLocked: bool


class Geometry(TypedDict):
    """Polygons with holes: rings of corners (x, y), pixels."""

    type: str
    coordinates: list[list[list[list[int]]]]


class Feature(TypedDict):
    """One annotation."""

    type: str
    id: str
    geometry: Geometry
    properties: Properties


def annotation(mask: NDArray[np.bool_], name: str, rgb: tuple[int, int, int], source: str = "") -> Feature:
    """Return a mask as one locked annotation. The area of its polygons is the number of pixels.

    Parameters
    ----------
    mask : ndarray of bool, shape (rows, columns)
    name : str
        Name of the annotation and of its class.
    rgb : tuple of int
        Colour of the class, 0 to 255.
    source : str
        The image. The identifier of the annotation follows from it and from the name, so that a repeated import
        replaces the annotation.

    Examples
    --------
    >>> feature = annotation(np.ones((2, 3), bool), "metal", (40, 40, 40))
    >>> feature["geometry"]["coordinates"]
    [[[[0, 0], [3, 0], [3, 2], [0, 2], [0, 0]]]]
    """
    polygons = [[ring.tolist() for ring in (outline.exterior, *outline.holes)] for outline in trace_outlines(mask)]
    return Feature(
        type="Feature",
        id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"tomostain {source} {name}")),
        geometry=Geometry(type="MultiPolygon", coordinates=polygons),
        properties=Properties(
            objectType="annotation",
            name=name,
            classification=Classification(name=name, color=list(rgb)),
            isLocked=True,
        ),
    )


def class_annotations(labels: Labels, inside: NDArray[np.bool_], source: str = "") -> list[Feature]:
    """Return one annotation for each tissue class that occurs, except void.

    Parameters
    ----------
    labels : ndarray of uint8, shape (rows, columns)
        Values of `TissueClass`.
    inside : ndarray of bool, shape (rows, columns)
        The pixels that count.
    source : str
        See `annotation`.
    """
    return [
        annotation(mask, TITLES[each], COLOURS[each], source)
        for each in TissueClass
        if each != TissueClass.VOID and (mask := (labels == each) & inside).any()
    ]


def mask_annotation(mask: NDArray[np.bool_], source: str = "") -> Feature:
    """Return the correspondence mask of a pair as an annotation."""
    return annotation(mask, "correspondence mask", _MASK_COLOUR, source)


def write_geojson(path: Path, features: list[Feature], *, overwrite: bool = False) -> None:
    """Write annotations as a feature collection."""
    collection = {"type": "FeatureCollection", "features": features}
    write_text(path, json.dumps(collection, ensure_ascii=False, separators=(",", ":")) + "\n", overwrite)
