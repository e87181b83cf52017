"""The content of the plane view: its layers, their description for the page, and tiles as pictures."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tomostain.io.ome_zarr.metadata import LabelStyle
from tomostain.view.browser.planes import TILE_PX, Plane, Tile, oblique_plane, sample_tile, standard_plane
from tomostain.view.browser.pyramid import Bytes, Pyramid, Triple
from tomostain.view.browser.tile_request import TileRequest

LayerKind = Literal["ct", "stain", "uncertainty", "labels"]


class LayerFacts(TypedDict):
    """The description of a layer that the page receives."""

    name: str
    kind: LayerKind
    window: Sequence[float] | None
    labels: Sequence[LabelStyle]


class SiteFacts(TypedDict):
    """The description of the view that the page receives, as JSON."""

    title: str
    size_um: Sequence[float]
    voxel_um: Sequence[float]
    base_um: float
    tile_px: int
    levels: int
    layers: Sequence[LayerFacts]
    has_3d: bool


@dataclass(frozen=True)
class PlaneLayer:
    """One layer of the plane view.

    Attributes
    ----------
    name : str
        In addresses.
    kind : {"ct", "stain", "uncertainty", "labels"}
    pyramid : Pyramid
    window : tuple of float, optional
        The grey values of the volume that 0 and 255 stand for.
    labels : sequence of LabelStyle
        The classes of a label volume.
    """

    name: str
    kind: LayerKind
    pyramid: Pyramid
    window: tuple[float, float] | None = None
    labels: Sequence[LabelStyle] = ()


@dataclass(frozen=True)
class PlaneSite:
    """The layers that the plane view shows, from bottom to top.

    Attributes
    ----------
    title : str
    layers : mapping of str to PlaneLayer
        By name. The stain, or else the µCT, defines the grid of the view.
    """

    title: str
    layers: Mapping[str, PlaneLayer]

    @property
    def grid(self) -> tuple[tuple[int, int, int], Triple]:
        """Shape (Z, Y, X), voxels, and voxel size (z, y, x), µm, of the layer that defines the grid."""
        finest = self.layers["stain" if "stain" in self.layers else "ct"].pyramid.levels[0]
        return finest.shape, finest.voxel_um

    @property
    def base_um(self) -> float:
        """Pixel size of tiles of level 0, µm."""
        return min(self.grid[1])

    @property
    def size_um(self) -> Triple:
        """From the centre of the first voxel to that of the last one (z, y, x), µm."""
        z, y, x = ((n - 1) * step for n, step in zip(*self.grid, strict=True))
        return z, y, x

    @property
    def levels(self) -> int:
        """Number of levels of tiles: at the last one, the volume fits in one tile."""
        longest = (max(self.size_um) / self.base_um + 1) / TILE_PX
        return max(1, int(np.ceil(np.log2(max(longest, 1)))) + 1)

    def facts(self, *, has_3d: bool) -> SiteFacts:
        """Return what the page must know.

        Parameters
        ----------
        has_3d : bool
            Whether the page links to the volume rendering.
        """
        layers: list[LayerFacts] = [
            {"name": each.name, "kind": each.kind, "window": each.window, "labels": list(each.labels)}
            for each in self.layers.values()
        ]
        return {
            "title": self.title,
            "size_um": self.size_um,
            "voxel_um": self.grid[1],
            "base_um": self.base_um,
            "tile_px": TILE_PX,
            "levels": self.levels,
            "layers": layers,
            "has_3d": has_3d,
        }

    def plane(self, request: TileRequest) -> Plane:
        """Return the plane of a request. The offset of an oblique plane is from the middle of the volume."""
        if request.axis == "oblique":
            middle = [length / 2 for length in self.size_um]
            return oblique_plane(request.tilt_x_deg, request.tilt_y_deg, request.at_um, middle)
        return standard_plane(request.axis, request.at_um)

    def tile(self, name: str, request: TileRequest) -> bytes | None:
        """Return a tile as WebP; None if the layer does not reach it.

        Raises
        ------
        InputError
            If the stored data are damaged.
        """
        tile = Tile(request.level, request.row, request.column)
        sampled = sample_tile(self.layers[name].pyramid, self.plane(request), tile, self.base_um)
        return None if sampled is None else encode(*sampled)


def encode(values: Bytes, inside: NDArray[np.bool_]) -> bytes:
    """Return a lossless WebP, transparent outside of the volume.

    Parameters
    ----------
    values : ndarray of uint8, shape (rows, columns, 1 or 3)
    inside : ndarray of bool, shape (rows, columns)
    """
    picture = np.broadcast_to(values, (*values.shape[:2], 3))
    if not inside.all():
        picture = np.dstack([picture, np.where(inside, np.uint8(255), np.uint8(0))])
    buffer = io.BytesIO()
    # Method 0 is the fastest; `exact` keeps colours where alpha is 0.
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, "WEBP", lossless=True, quality=0, method=0, exact=True)
    return buffer.getvalue()
