"""The samples of "File > Open Sample": synthetic specimens, made at the first use and stored for the user."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from napari.utils.notifications import show_error

from tomostain import __version__
from tomostain.errors import InterruptedRunError
from tomostain.io.ome_zarr.plan import unfinished
from tomostain.napari.readers import LayerData, read_ct, read_specimen, read_stained
from tomostain.progress import Progress, ShouldStop, raising_on_stop, silent

SIDE = 128
"""Voxels along each side of a sample: 2.6 mm at the voxel size of the built-in models."""
MODEL = "builtin:phantom-tb"
WAITING = "making the sample …"
_PLACEHOLDER = "tomostain_placeholder"
PHANTOM = "phantom"
STAINED = "phantom-stained.ome.zarr"
_lock = threading.Lock()


def cache_folder() -> Path:
    """Return the folder of the samples: part of the user's cache, separate for each version."""
    import pooch

    return Path(pooch.os_cache("tomostain")) / "samples" / __version__


def phantom_folder(progress: Progress = silent) -> Path:
    """Return the folder of the synthetic specimen. The first call makes it, in some seconds."""
    from tomostain.phantom import PhantomConfig, write_specimen

    folder = cache_folder() / PHANTOM
    if folder.is_dir():  # it is complete; the lock may be held while the phantom is stained
        return folder
    with _lock:
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            write_specimen(PhantomConfig(shape=(SIDE, SIDE, SIDE)), folder, progress=progress)
    return folder


def stained_folder(progress: Progress = silent) -> Path:
    """Return the stained volume of the specimen. The first call makes it, in some seconds."""
    from tomostain.models import find_model
    from tomostain.stain import stain_volume

    volume = phantom_folder(progress) / "volume"
    stained = cache_folder() / STAINED
    with _lock:
        # An interrupted volume is continued, a complete one is left as it is.
        stain_volume(find_model(MODEL), volume, stained, progress=progress)
    return stained


def clear_samples() -> None:
    """Delete the stored samples."""
    shutil.rmtree(cache_folder(), ignore_errors=True)


def open_ct() -> list[LayerData]:
    """Return the µCT volume of the sample."""
    return _layers(phantom_folder, lambda folder: read_ct(folder / "volume"))


def open_stained_sample() -> list[LayerData]:
    """Return the µCT volume of the sample, and the stained volume above it."""

    def read(stained: Path) -> list[LayerData]:
        return [*read_ct(phantom_folder() / "volume"), *read_stained(stained)]

    return _layers(stained_folder, read)


def open_pair() -> list[LayerData]:
    """Return µCT volume and slide of the sample, which are not registered."""
    return _layers(phantom_folder, read_specimen)


def _layers(make: Callable[[Progress], Path], read: Callable[[Path], list[LayerData]]) -> list[LayerData]:
    """Return layers. In a viewer, a sample that does not exist yet is made in a thread and added when it is there."""
    viewer = _viewer_with_window()
    if viewer is None or _is_made(make):
        return read(make(silent))
    _make_later(viewer, make, read)
    # napari reports an error for a sample without layers.
    return [(np.zeros((2, 2), np.uint8), {"name": WAITING, "metadata": {_PLACEHOLDER: True}}, "image")]


def _is_made(make: Callable[[Progress], Path]) -> bool:
    if make is not stained_folder:
        return (cache_folder() / PHANTOM).is_dir()
    stained = cache_folder() / STAINED
    return stained.is_dir() and not unfinished(stained)


def _viewer_with_window() -> Any:
    """Return the current viewer, or None if there is none, or it has no window."""
    from napari import current_viewer

    viewer = current_viewer()
    return viewer if viewer is not None and getattr(viewer, "window", None) is not None else None


def _make_later(viewer: Any, make: Callable[[Progress], Path], read: Callable[[Path], list[LayerData]]) -> None:
    from tomostain.napari.tasks import TaskWidget

    task = TaskWidget()
    dock = viewer.window.add_dock_widget(task, name="Sample", area="right")

    def clean_up() -> None:
        viewer.window.remove_dock_widget(dock)
        for layer in [each for each in viewer.layers if _PLACEHOLDER in each.metadata]:
            viewer.layers.remove(layer)

    def add(folder: Path) -> None:
        clean_up()
        for data, options, kind in read(folder):
            getattr(viewer, f"add_{kind}")(data, **options)
        viewer.reset_view()

    def work(progress: Progress, should_stop: ShouldStop) -> Path:
        return make(raising_on_stop(progress, should_stop, "sample"))

    def close(error: Exception) -> None:
        clean_up()
        if not isinstance(error, InterruptedRunError):
            show_error(f"The sample could not be made: {error}")

    task.start(work, label="Making the sample …", on_result=add, on_error=close)
