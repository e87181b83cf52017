"""The figure of `docs/explanation/coherence.md`: a section along z of µCT, stained volumes and truth.

    python -m studies.coherence.picture OUT --specimens SPECIMENS --model NAME --number 23 --to PICTURE.png

OUT is the folder of `studies.coherence.run`.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from studies.coherence.run import specimen_of, way_folder
from tomostain.imaging.intensity import normalise_ct
from tomostain.imaging.intensity_estimation import volume_reference
from tomostain.imaging.network_range import DISPLAY_WINDOW
from tomostain.integers import to_integers
from tomostain.io import open_stained, open_volume, write_image
from tomostain.phantom.specimen import truth_slice

SHOWN = {
    "method of the paper: slice by slice": "slice by slice, mean",
    "statistics of the volume": "volume statistics, exact tiles",
    "the same along three axes, median": "volume statistics, exact tiles, 3 axes, median",
}


def draw(planes: dict[str, NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Draw planes (Z, X) or (Z, X, 3) in a column, each with its name."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = next(iter(planes.values())).shape[:2]
    figure = Figure(figsize=(7.2, (7.2 * height / width + 0.28) * len(planes)), dpi=100)
    canvas = FigureCanvasAgg(figure)
    for axes, (name, plane) in zip(figure.subplots(len(planes)), planes.items(), strict=True):
        axes.imshow(plane, cmap="gray", interpolation="nearest")
        axes.set_title(name, fontsize=9, loc="left", pad=3)
        axes.axis("off")
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.005, top=0.975, hspace=0.12)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def main() -> None:
    """Read the middle XZ section of all volumes and draw them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--specimens", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--number", type=int, default=23)
    parser.add_argument("--to", type=Path, required=True)
    options = parser.parse_args()
    scan = f"p{options.number:02d}"
    volume = open_volume(options.specimens / scan / "volume")
    depth, row = volume.shape[0], volume.shape[1] // 2
    ct = normalise_ct(volume.read(0, depth)[:, row], volume_reference(volume))
    planes = {"µCT": to_integers(ct.clip(*DISPLAY_WINDOW) / DISPLAY_WINDOW[1] * 255, np.uint8, "µCT", rounded=False)}
    for name, way in SHOWN.items():
        planes[name] = open_stained(way_folder(options.out, options.model, scan, way)).read(0, depth)[:, row]
    specimen = specimen_of(options.number, options.specimens / scan)
    planes["the truth"] = np.stack([truth_slice(specimen, z)[0][row] for z in range(depth)])
    write_image(options.to, draw(planes), overwrite=True)


if __name__ == "__main__":
    main()
