"""Make the pictures of the napari plugin, docs/img/napari-*.png, from the real viewer.

    xvfb-run -s "-screen 0 1500x1000x24" python docs/screenshots.py [NAME ...]

NAME is a function of this file without `shoot_`; by default all. Each widget is opened through the plugin manager of
napari, as the menu does, in a dark and a light theme. The specimen is a small phantom in a temporary folder.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

OUT = Path(__file__).parent / "img"
SIZE = (1240, 780)
SIDE = 96
MAX_BYTES = 200_000
THEMES = ("dark", "light")


def specimen(folder: Path) -> None:
    """Make a phantom, its stained volume with an uncertainty, and the pair of one of its slices."""
    from tomostain.dataset.pair import Pair, save_pair
    from tomostain.imaging.intensity import normalise_ct
    from tomostain.imaging.intensity_estimation import volume_reference
    from tomostain.io import open_volume
    from tomostain.phantom import PhantomConfig, write_specimen
    from tomostain.phantom.specimen import load_specimen, truth_slice
    from tomostain.stain import stain_volume

    config = PhantomConfig(seed=77, shape=(40, 144, 144), orientation="lying")
    write_specimen(config, folder / "rat")
    stained, uncertainty = folder / "rat-stained.ome.zarr", folder / "rat-uncertainty.ome.zarr"
    stain_volume("builtin:phantom-tb", folder / "rat" / "volume", stained, uncertainty=uncertainty)
    volume = open_volume(folder / "rat" / "volume")
    ct = normalise_ct(volume.read(20, 21)[0], volume_reference(volume))
    histology, mask = truth_slice(load_specimen(folder / "rat"), 20)
    section = {"origin_um": [400.0, 0, 0], "row": [0, 1, 0], "column": [0, 0, 1]}
    save_pair(Pair("rat", ct, histology, mask, 20.0, stain="toluidine-blue", section=section), folder / "pair")


def wait(seconds: float = 0.5, until: Callable[[], bool] | None = None) -> None:
    """Let the window work for some seconds, or until something is true."""
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + (300 if until else seconds)
    while time.monotonic() < end and not (until and until()):
        QApplication.processEvents()
        time.sleep(0.01)
    if until and not until():
        raise TimeoutError("the viewer did not become ready")


@contextmanager
def viewer() -> Iterator[object]:
    """Open a viewer that is shown."""
    import napari

    made = napari.Viewer(show=True)
    made.window.resize(*SIZE)
    try:
        yield made
    finally:
        made.close()


def add(made: object, *paths: Path) -> None:
    """Open paths with the reader of the plugin."""
    from tomostain.napari.readers import read_path

    for path in paths:
        for data, options, kind in read_path(str(path)):
            made._add_layer_from_data(data, options, kind)
    made.reset_view()


def widget(made: object, name: str) -> object:
    """Open a widget of the plugin as the menu does."""
    return made.window.add_plugin_dock_widget("tomostain", name)[1]


def shoot(made: object, name: str) -> None:
    """Write a picture for each theme."""
    from PIL import Image

    for theme in THEMES:
        made.theme = theme
        wait(0.7)
        path = OUT / f"napari-{name}-{theme}.png"
        picture = Image.fromarray(made.screenshot(canvas_only=False, flash=False)).convert("RGB")
        picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size > MAX_BYTES:
            picture.quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
        print(f"{path.name}: {path.stat().st_size // 1000} kB", flush=True)


def shoot_volume(folder: Path) -> None:
    """The stained volume in 2D with its uncertainty, and in 3D."""
    with viewer() as made:
        add(made, folder / "rat-stained.ome.zarr", folder / "rat-uncertainty.ome.zarr")
        shoot(made, "uncertainty")
        made.layers["rat-uncertainty"].visible = False
        made.dims.ndisplay = 3
        made.camera.angles = (10, 40, 120)
        shoot(made, "3d")


def shoot_stain(folder: Path) -> None:
    """The Stain widget with previews of a slice and of an oblique plane."""
    with viewer() as made:
        add(made, folder / "rat" / "volume")
        tool = widget(made, "Stain")
        tool.controls.model.setCurrentText("builtin:phantom-tb")
        tool.preview_button.click()
        wait(until=lambda: "Preview in" in tool.message.text())
        made.layers["stain preview"].opacity = 0.75
        shoot(made, "stain")
        tool.kind.setCurrentText("oblique plane")
        tool.tilt_row.set_value(20)
        tool.tilt_column.set_value(8)
        tool.message.clear_text()
        tool.preview_button.click()
        wait(until=lambda: "Preview in" in tool.message.text())
        made.reset_view()
        shoot(made, "stain-oblique")


def shoot_compare(folder: Path) -> None:
    """The Compare widget: the section of a pair side by side, and with a swipe."""
    with viewer() as made:
        add(made, folder / "rat" / "volume", folder / "rat-stained.ome.zarr", folder / "pair")
        tool = widget(made, "Compare")
        tool.ct.choose(made.layers["volume"])
        tool.stained.choose(made.layers["rat-stained"])
        tool.histology.choose(made.layers["rat histology"])
        tool.start_button.click()
        wait(until=lambda: not tool.task.is_running)
        wait(0.5)
        made.reset_view()
        made.cursor.position = (1400.0, 900.0)
        tool._report(made, None)
        shoot(made, "compare")
        tool.view.setCurrentText("swipe")
        made.reset_view()
        shoot(made, "compare-swipe")


def shoot_measure(folder: Path) -> None:
    """The Measure widget with the labels and the table."""
    with viewer() as made:
        add(made, folder / "rat" / "volume", folder / "rat-stained.ome.zarr")
        tool = widget(made, "Measure")
        tool.stained.choose(made.layers["rat-stained"])
        tool.ct.choose(made.layers["volume"])
        tool.lines["implant"].setText("Mg-10Gd")
        tool.lines["weeks"].setText("8")
        tool.maps.setChecked(False)
        tool.out.set_path(folder / "measures")
        tool.start_button.click()
        wait(until=lambda: not tool.task.is_running)
        made.reset_view()
        tool.scroll.verticalScrollBar().setValue(300)
        wait(0.5)
        shoot(made, "measure")


def main(names: list[str]) -> None:
    """Make the pictures of some or all functions."""
    import npe2

    import tomostain.napari

    manager = npe2.PluginManager.instance()
    manager.discover()
    if "tomostain" not in manager:  # not installed since the plugin was added
        file = Path(tomostain.napari.__file__).with_name("napari.yaml")
        manager.register(npe2.PluginManifest.from_file(file))
    known = {name.removeprefix("shoot_"): each for name, each in globals().items() if name.startswith("shoot_")}
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        specimen(Path(folder))
        for name in names or known:
            known[name](Path(folder))


if __name__ == "__main__":
    os.environ.setdefault("NAPARI_CONFIG", str(Path(tempfile.mkdtemp()) / "settings.yaml"))
    main(sys.argv[1:])
