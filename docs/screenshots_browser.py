"""Make the screenshots of the browser view: ``python docs/screenshots_browser.py [FOLDER]``.

A phantom of 208³ voxels is made once in FOLDER (default: ``browser-phantom`` in the temporary folder of the system).
Its stain is the ideal one, its labels are the truth, and its uncertainty is a map of edges: an example, not a result.
Needs playwright and a Chromium on the PATH.
"""

import io
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image
from playwright.sync_api import sync_playwright
from scipy import ndimage

from tomostain.integers import to_integers
from tomostain.io import create_stained
from tomostain.measure.classes import phantom_classes
from tomostain.measure.label_files import create_labels
from tomostain.phantom.config import PhantomConfig
from tomostain.phantom.specimen import load_specimen, truth_slice, write_specimen
from tomostain.view.browser.plane_layers import Overlays
from tomostain.view.browser.view import client_of, prepared_site, start_server

SIDE, VOXEL_UM = 208, 20.0
OUT = Path(__file__).parent / "img"
MAX_BYTES = 250_000
DESKTOP, PHONE = (1280, 800), (390, 780)
# Name, size, colour scheme, view.
PICTURES = (
    ("light", DESKTOP, "light", "at=1900,2080,2500&tilt=35,15&swipe=0.42"),
    ("dark", DESKTOP, "dark", "at=1600,1500,2900&labels=0.6&tilt=40,20&um=7&mid=1800,1800,2080&swipe=0.35"),
    ("oblique", DESKTOP, "light", "view=oblique&at=2080,2080,2080&tilt=30,15&offset=-120&swipe=0.45"),
    ("narrow", PHONE, "light", "view=y&at=2080,2080,2080&swipe=0.4&uncertainty=0.6"),
)


def make_phantom(folder: Path) -> None:
    """Write µCT, stain, labels and uncertainty."""
    config = PhantomConfig(seed=3, shape=(SIDE, SIDE, SIDE), voxel_um=VOXEL_UM, orientation="upright")
    write_specimen(config, folder / "phantom", overwrite=True)
    specimen = load_specimen(folder / "phantom")
    shape, sizes = (SIDE, SIDE, SIDE), (VOXEL_UM,) * 3
    volumes = [create_stained(folder / f"{name}.ome.zarr", shape, sizes, provenance={}) for name in NAMES]
    for start, stop in volumes[0].pending():
        stain = np.stack([truth_slice(specimen, z)[0] for z in range(start, stop)])
        edges = ndimage.gaussian_gradient_magnitude(stain.mean(axis=-1), 1.5) * 6
        volumes[0].write(start, stain)
        volumes[1].write(start, np.repeat(to_integers(edges, np.uint8, "edges", clip=True)[..., None], 3, axis=-1))
    labels = create_labels(folder / "labels.ome.zarr", shape, sizes)
    classes = phantom_classes(tifffile.imread(folder / "phantom/truth/labels.tif"))
    for start, stop in labels.z_chunks():
        labels.write(start, classes[start:stop])
    for volume in (*volumes, labels):
        volume.finish()


NAMES = ("stained", "uncertainty")


def take(browser: Any, url: str, name: str, size: tuple[int, int], scheme: str) -> None:
    """Take one picture, in so many colours that it is small enough."""
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    page.goto(url)
    complete = (
        "window.viewer && viewer.tiles.isIdle"
        " && Object.values(viewer.panels).every((panel) => !panel.isVisible || panel.isComplete)"
    )
    end = time.monotonic() + 60
    while not page.evaluate(f"!!({complete})") and time.monotonic() < end:
        time.sleep(0.1)
    box = page.locator(".panel:visible canvas").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.4)
    page.wait_for_timeout(300)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    controls = page.locator("#controls").bounding_box()
    page.close()
    # Without the planes, whose enlarged voxels have one colour each, too.
    exact = page_colours(picture.crop((controls["x"], 0, *picture.size)) if controls else picture)
    for colours in (200, 120, 60):
        buffer = io.BytesIO()
        with_palette(picture, exact, colours).save(buffer, "PNG", optimize=True)
        if buffer.tell() < MAX_BYTES:
            break
    path = OUT / f"browser-{name}.png"
    path.write_bytes(buffer.getvalue())
    print(f"{path}: {buffer.tell() / 1000:.0f} kB, {colours} colours")


def page_colours(picture: Image.Image) -> list[tuple[int, int, int]]:
    """Return the colours of the page itself, which are in areas of one colour: at most 50."""
    pixels = np.asarray(picture)
    flat = (pixels[1:-1, 1:-1] == pixels[:-2, 1:-1]).all(axis=-1) & (pixels[1:-1, 1:-1] == pixels[1:-1, :-2]).all(
        axis=-1
    )
    found, count = np.unique(pixels[1:-1, 1:-1][flat], axis=0, return_counts=True)
    by_size = sorted(zip(count.tolist(), found.tolist(), strict=True), reverse=True)
    return [(red, green, blue) for n, (red, green, blue) in by_size if n >= 8][:50]


def with_palette(picture: Image.Image, exact: list[tuple[int, int, int]], colours: int) -> Image.Image:
    """Reduce a picture to some colours exactly as they are, and others that fit it best."""
    fitted = picture.quantize(colours, dither=Image.Dither.NONE).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for colour in exact for part in colour] + fitted[: 3 * colours])
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


def main() -> None:
    """Make the phantom if it is not there, and all pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.gettempdir()) / "browser-phantom"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "labels.ome.zarr").exists():
        make_phantom(folder)
    overlays = Overlays(folder / "uncertainty.ome.zarr", folder / "labels.ome.zarr")
    sources = client_of("planes"), folder / "stained.ome.zarr", folder / "phantom" / "volume"
    with prepared_site(*sources, overlays=overlays) as site:
        server = start_server(site, 0)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for name, size, scheme, view in PICTURES:
                take(browser, f"{server.url}#{view}", name, size, scheme)
            browser.close()
        server.shutdown()
        server.stop()


if __name__ == "__main__":
    main()
