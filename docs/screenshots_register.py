"""Make the pictures of `docs/how-to/napari-register.md`: real windows of napari, on a phantom.

Without a display: ``xvfb-run -s "-screen 0 1600x1000x24" python docs/screenshots_register.py``.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from qtpy.QtWidgets import QApplication, QWidget

SIZE = (1400, 860)
WAIT_S = 500.0
# A search of a few seconds, enough for this phantom.
QUICK = "thorough: false\ncandidates: 200\nside: 20\nstep_deg: 16.0\nmaterial: dense\n"
PHANTOM = {
    "seed": 21,
    "shape": (160, 160, 160),
    "voxel_um": 26.0,
    "pixel_um": 6.5,
    "laboratory": {"turn_deg": 200.0, "mirrored": True},
}


def wait(condition: Callable[[], bool]) -> None:
    """Process events until a condition holds, and until the window is drawn."""
    start = time.monotonic()
    while not condition():
        QApplication.processEvents()
        time.sleep(0.02)
        if time.monotonic() - start > WAIT_S:
            raise TimeoutError
    drawn = time.monotonic()
    while time.monotonic() - drawn < 0.7:
        QApplication.processEvents()
        time.sleep(0.02)


class Window:
    """A viewer with one widget of the plugin."""

    def __init__(self, widget: Callable[[object], QWidget], name: str) -> None:
        import napari

        self.viewer = napari.Viewer(title="napari", show=True)
        self.viewer.window.resize(*SIZE)
        self.widget = widget(self.viewer)
        self.viewer.window.add_dock_widget(self.widget, name=name, area="right")
        wait(lambda: True)

    def save(self, path: Path) -> None:
        """Save a picture of the window as a PNG of few colours."""
        wait(lambda: True)
        image = self.viewer.window.screenshot(canvas_only=False, flash=False)[..., :3]
        Image.fromarray(np.ascontiguousarray(image)).quantize(224, dither=Image.Dither.NONE).save(path, optimize=True)
        print(path)

    def __enter__(self) -> "Window":
        return self

    def __exit__(self, *error: object) -> None:
        self.viewer.close()
        wait(lambda: True)


@contextmanager
def phantom() -> Iterator[Path]:
    """Yield the folder of a synthetic specimen."""
    from tomostain.phantom import PhantomConfig, write_specimen

    with tempfile.TemporaryDirectory() as folder:
        yield write_specimen(PhantomConfig.from_dict(PHANTOM), Path(folder) / "A12")


def register(specimen: Path, out: Path) -> None:
    """Picture the widget Register: set manually, found, and with landmarks."""
    from tomostain.napari.register.widget import RegisterWidget
    from tomostain.register.hints import read_section
    from tomostain.register.preview import seen_in_volume_um

    with Window(RegisterWidget, "Register") as window:
        widget = window.widget
        widget.open_page.volume_path.set_path(specimen / "volume")
        widget.open_page.slide_path.set_path(specimen / "slide.ome.tif")
        settings = specimen.parent / "register.yaml"
        settings.write_text(QUICK)
        widget.open_page.config_path.set_path(settings)
        widget.open_page.open_button.click()
        wait(lambda: widget.score is not None and not widget.live.is_running)
        truth = read_section(specimen / "truth" / "section.yaml")
        pose = widget.inputs.preview.to_pose(truth)
        off = replace(
            pose, tilt_row_deg=pose.tilt_row_deg + 6, offset_um=pose.offset_um - 150, turn_deg=pose.turn_deg + 9
        )
        widget.set_section(widget.inputs.preview.to_section(off), "manual")
        wait(lambda: not widget.live.is_running)
        window.save(out / "napari-register-sliders.png")
        widget.pose_page.find_button.click()
        wait(lambda: not widget.task.is_running and not widget.live.is_running)
        window.save(out / "napari-register-found.png")
        widget.view.choice.setCurrentIndex(2)
        window.save(out / "napari-register-checkerboard.png")
        widget.view.choice.setCurrentIndex(0)
        widget.tabs.setCurrentIndex(2)
        rows, columns = (n * widget.scene.slide.scale[0] for n in widget.scene.slide.data.shape[:2])
        points = np.array([[0.2, 0.62], [0.45, 0.16], [0.7, 0.78], [0.86, 0.24]]) * (rows, columns)
        widget.landmarks.set_pairs(points, seen_in_volume_um(widget.section, points) + 12.0)
        widget.landmark_page.add_button.setChecked(True)
        window.save(out / "napari-register-landmarks.png")
        widget.landmark_page.add_button.setChecked(False)
        widget.close_scene()


def mask(specimen: Path, out: Path) -> None:
    """Picture the widget Mask with a painted exclusion."""
    from tomostain.napari.mask import MaskWidget
    from tomostain.register.files import register_files
    from tomostain.register.hints import Hint, read_section

    pair = specimen.parent / "pair"
    hint = Hint(read_section(specimen / "truth" / "section.yaml"), accept=True, refine=False)
    register_files(specimen / "volume", specimen / "slide.ome.tif", pair, hint=hint)
    with Window(MaskWidget, "Mask") as window:
        widget = window.widget
        widget.path.set_path(pair)
        widget.open_button.click()
        layer = widget.pair.excluded
        rows, columns = np.indices(layer.data.shape)
        height, width = layer.data.shape
        drawn = ((rows - 0.7 * height) / (0.16 * height)) ** 2 + ((columns - 0.8 * width) / (0.11 * width)) ** 2 < 1
        layer.data_setitem(np.nonzero(drawn), 1)
        window.save(out / "napari-mask.png")


def normalise(specimen: Path, out: Path) -> None:
    """Picture the widget Normalise with regions on the volume."""
    from tomostain.io import open_volume
    from tomostain.napari.normalise import NormaliseWidget
    from tomostain.napari.readers import read_ct

    with Window(NormaliseWidget, "Normalise") as window:
        widget, viewer = window.widget, window.viewer
        data, options, _ = read_ct(specimen / "volume")[0]
        layer = viewer.add_image(data, **options)
        widget.volume_box.choose(layer)
        z, bone, dark = brightest(np.asarray(open_volume(specimen / "volume")))
        viewer.dims.set_current_step(0, z)
        for kind, (row, column) in (("background", dark), ("bone", bone)):
            widget.draw("ct", kind)
            corners = [(z, row + i, column + j) for i, j in ((-4, -4), (-4, 4), (4, 4), (4, -4))]
            widget.shapes["ct", kind].add_rectangles(np.array(corners, float))
        wait(lambda: widget.ct is not None)
        viewer.reset_view()
        window.save(out / "napari-normalise.png")


def brightest(volume: np.ndarray) -> tuple[int, tuple[int, int], tuple[int, int]]:
    """Return a slice, and places on it in bone and in the darkest part."""
    from scipy import ndimage

    from tomostain.imaging.intensity_estimation import estimate_reference

    z = len(volume) // 3
    mean = ndimage.uniform_filter(volume[z].astype(float), 11)
    reference = estimate_reference(volume[::16])
    inside = np.s_[12:-12, 12:-12]
    bone = np.abs(mean[inside] - reference.bone)
    bone += 4 * ndimage.generic_filter(volume[z].astype(float)[inside], np.std, 11)
    places = (np.unravel_index(a.argmin(), a.shape) for a in (bone, mean[inside]))
    first, second = ((int(row) + 12, int(column) + 12) for row, column in places)
    return z, first, second


PICTURES = {"register": register, "mask": mask, "normalise": normalise}


def main() -> None:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, nargs="?", default=Path(__file__).parent / "img")
    parser.add_argument("--only", nargs="*", choices=list(PICTURES), default=list(PICTURES))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as settings, phantom() as specimen:
        os.environ["NAPARI_CONFIG"] = str(Path(settings) / "settings.yaml")
        for name in arguments.only:
            PICTURES[name](specimen, arguments.out)


if __name__ == "__main__":
    main()
