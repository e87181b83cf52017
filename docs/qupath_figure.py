"""Draw the images of a section that `tomostain export --to qupath` wrote, with the annotations of its GeoJSON.

python docs/qupath_figure.py FOLDER NAME FIGURE
"""

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import tifffile
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path as Outline

PANELS = (
    ("virtual", "virtual section"),
    ("slide", "registered slide"),
    ("ct", "µCT, with the outlines of metal"),
)


def patch_of(feature: dict, **style: object) -> PathPatch:
    """Return an annotation as a patch. QuPath counts from the corner of the first pixel, matplotlib from its centre."""
    rings = [np.array(ring) - 0.5 for rings in feature["geometry"]["coordinates"] for ring in rings]
    return PathPatch(Outline.make_compound_path(*(Outline(ring, closed=True) for ring in rings)), **style)


def main(folder: Path, name: str, figure: Path) -> None:
    """Draw three images with their annotations."""
    features = json.loads((folder / f"{name}.geojson").read_text(encoding="utf-8"))["features"]
    drawn, axes = plt.subplots(1, 3, figsize=(12.6, 4.9), dpi=100)
    handles = []
    for axis, (kind, title) in zip(axes, PANELS, strict=True):
        image = tifffile.imread(folder / f"{name}.{kind}.ome.tif")
        axis.imshow(image, cmap="gray", interpolation="nearest")
        axis.set_title(title, fontsize=11)
        axis.axis("off")
        for feature in features:
            properties = feature["properties"]
            colour = np.array(properties["classification"]["color"]) / 255
            if kind != "ct":
                axis.add_patch(patch_of(feature, facecolor="none", edgecolor=colour, linewidth=1))
            elif properties["name"] == "metal":
                axis.add_patch(patch_of(feature, facecolor="none", edgecolor="#ffd000", linewidth=1.2))
            if axis is axes[0]:
                handles.append(Patch(facecolor="none", edgecolor=colour, label=properties["name"]))
    drawn.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False, fontsize=10)
    drawn.subplots_adjust(left=0.01, right=0.99, top=0.93, bottom=0.08, wspace=0.03)
    drawn.savefig(figure)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
