"""The pictures of the tutorial, from its real output: ``python docs/pictures.py FOLDER``.

FOLDER is where the commands of `docs/tutorial/first-volume.md` were typed, with the pair of `register` in ``pair``.
Each picture is reduced to a palette and at most 200 kB.
"""

import itertools
import sys
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tomostain import open_stained
from tomostain.measure.classes import COLOURS
from tomostain.measure.label_files import open_labels

IMAGES = Path(__file__).parent / "img"
MAX_BYTES = 200_000
SLICE = 12

RGB = NDArray[np.uint8]


def save(picture: RGB | Image.Image, name: str, width: int = 1000) -> None:
    """Write a picture of the tutorial, as large and with as many colours as fit the limit."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image = image.convert("RGB")
    if image.width > width:
        image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    path = IMAGES / f"tutorial-{name}.png"
    # Fewer than 128 colours would change the colours of small structures, such as the degradation layer.
    for share, colours in itertools.product((1, 0.9, 0.8, 0.7, 0.6), (256, 128)):
        small = image.resize((round(image.width * share), round(image.height * share)), Image.Resampling.LANCZOS)
        small.quantize(colours).save(path, optimize=True)
        if path.stat().st_size <= MAX_BYTES:
            break
    print(f"{path.name}: {small.width} x {small.height}, {path.stat().st_size / 1000:.0f} kB")


def colours_of(labels: NDArray[np.integer]) -> RGB:
    """Return the colours of tissue classes."""
    table = np.zeros((256, 3), np.uint8)
    for tissue, colour in COLOURS.items():
        table[tissue] = colour
    return table[labels]


def enlarged(picture: RGB, factor: int) -> RGB:
    """Repeat every pixel."""
    return picture.repeat(factor, 0).repeat(factor, 1)


def side_by_side(*pictures: RGB) -> RGB:
    """Return pictures of one height in a row with a white gap."""
    gap = np.full((pictures[0].shape[0], 12, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (picture, gap)]
    return np.hstack(parts[:-1])


def main(folder: Path) -> None:
    """Write all pictures."""
    for name, path in (
        ("ct", "volume-view/planes.png"),
        ("stained", "stained-view/planes.png"),
        ("rendering", "stained-view/rendering-half.png"),
        ("levels", "stained-levels.png"),
        ("qc", "pair/qc.png"),
    ):
        if (folder / path).is_file():
            save(Image.open(folder / path), name, {"rendering": 760, "ct": 760}.get(name, 1000))
    save(Image.open(folder / "comparison.png").resize((1152, 384), Image.Resampling.BICUBIC), "truth", 1152)
    stained = open_stained(folder / "stained.ome.zarr").read(SLICE, SLICE + 1)[0]
    classes = open_labels(folder / "measures" / "labels.ome.zarr").read(SLICE, SLICE + 1)[0]
    truth = tifffile.imread(folder / "truth.tif")[SLICE]
    row = side_by_side(*(enlarged(picture, 2) for picture in (stained, colours_of(classes), colours_of(truth))))
    save(row, "classes", 1152)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
