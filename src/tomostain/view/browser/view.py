"""A stained volume in the web browser: planes with the µCT, and a volume rendering, served from this machine."""

import math
import os
import sys
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypedDict, Unpack

from tomostain.config import check_keywords
from tomostain.deprecation import renamed_parameters
from tomostain.errors import InputError
from tomostain.io import Volume, open_stained, open_volume
from tomostain.io.atomic import temporary_folder
from tomostain.io.metadata.placement import Placement
from tomostain.io.ome_zarr.reader import StainedVolume
from tomostain.io.stained_input import warn_of_other_input
from tomostain.paths import StrPath
from tomostain.progress import Progress, silent
from tomostain.view.browser.ct_placement import ct_placement
from tomostain.view.browser.first_view import FirstView, Viewer
from tomostain.view.browser.grey_copy import grey_copy, grey_window
from tomostain.view.browser.neuroglancer_state import ViewerLayer, viewer_state
from tomostain.view.browser.plane_layers import Overlays, PlaneGrid, ct_layer, overlay_layer, stain_layer
from tomostain.view.browser.plane_site import PlaneLayer, PlaneSite
from tomostain.view.browser.pyramid import BrickCache
from tomostain.view.browser.server import HOST, Site, ViewServer, volume_url
from tomostain.view.folder import is_stained

_VERIFIED_AT_ONCE = 2**30
"""Volumes up to this size, in bytes before compression, are compared with their checksums before they are shown."""


class ServeKeywords(TypedDict, total=False):
    """The options of `serve`."""

    port: int
    open_page: bool
    first: FirstView
    echo: Callable[[str], None]


@renamed_parameters(tell="echo")
def browse(
    path: StrPath,
    ct: StrPath | None = None,
    *,
    voxel_um: float | Sequence[float] | None = None,
    allow_missing: bool = False,
    overlays: Overlays = Overlays(),
    progress: Progress = silent,
    **serving: Unpack[ServeKeywords],
) -> None:
    """Show a volume in the browser until Ctrl-C.

    Parameters
    ----------
    path : str or os.PathLike
        A stained OME-Zarr (served directly), or a µCT volume (shown grey, from a copy in a temporary folder).
    ct : str or os.PathLike, optional
        The µCT volume that was stained, shown next to the stain with a movable border.
    voxel_um : float or sequence of float, optional
        Voxel size of the µCT if its files do not state it, µm.
    allow_missing : bool
        Fill slices of a µCT volume of which data are missing with zeros.
    overlays : Overlays
        Uncertainty and tissue labels.
    progress : Progress
        Progress while a µCT volume is copied.
    **serving
        The options of `serve`: ``port``, ``open_page``, ``first`` and ``echo``.

    Raises
    ------
    InputError
        If the 3D viewer is asked for and not installed, a volume cannot be read, or the port is taken.
    """
    check_keywords("browse", serving, ServeKeywords.__annotations__)
    sources = client_of(serving.get("first", FirstView()).viewer), Path(path), None if ct is None else Path(ct)
    with prepared_site(*sources, voxel_um, progress, allow_missing=allow_missing, overlays=overlays) as site:
        serve(site, **serving)


@renamed_parameters(tell="echo")
def serve(
    site: Site,
    *,
    port: int = 0,
    open_page: bool = True,
    first: FirstView = FirstView(),
    echo: Callable[[str], None] = print,
) -> None:
    """Serve a view until Ctrl-C. Ctrl-C is the normal end, so nothing is raised.

    Parameters
    ----------
    site : Site
    port : int
        Port on 127.0.0.1; 0 for a free one.
    open_page : bool
        Open the page in the user's browser.
    first : FirstView
        The page that is opened.
    echo : callable
        Called with the address, and with how to stop.

    Raises
    ------
    InputError
        If the port is taken or not allowed.
    """
    server = start_server(site, port, echo)
    try:  # from the first message on: a user who reads that Ctrl-C stops the server may press it at once
        echo(f"view: {first.url(server)}")
        echo(
            f"      from elsewhere: ssh -L {server.server_port}:{HOST}:{server.server_port} THIS_MACHINE, same address"
        )
        echo("      Ctrl-C ends it")
        if open_page and can_open_page():
            webbrowser.open(first.url(server))
        server.serve_forever()
    except KeyboardInterrupt:
        echo("closed")
    finally:
        server.stop()


def client_of(viewer: Viewer) -> Path | None:
    """Return the folder of the 3D viewer; None if it is not installed and not asked for.

    Raises
    ------
    InputError
        If it is asked for and not installed.
    """
    try:
        return client_folder()
    except InputError:
        if viewer == "3d":
            raise
        return None


def client_folder() -> Path:
    """Return the folder with the built files of the 3D viewer, without importing its package.

    Raises
    ------
    InputError
        If it is not installed, or was installed without them.
    """
    try:
        spec = find_spec("neuroglancer")
    except ValueError:  # the module was set to None
        spec = None
    locations = spec.submodule_search_locations if spec is not None else None
    if not locations:
        raise InputError("`viewer`: the 3D viewer is not installed: pip install 'tomostain[browser]'")
    client = Path(next(iter(locations))) / "static" / "client"
    if not (client / "index.html").is_file():
        raise InputError(
            f"{client}: the files of the viewer are missing; install it again: "
            "pip install --force-reinstall neuroglancer"
        )
    return client


@contextmanager
def prepared_site(
    client: Path | None,
    path: Path,
    ct: Path | None = None,
    voxel_um: float | Sequence[float] | None = None,
    progress: Progress = silent,
    *,
    allow_missing: bool = False,
    overlays: Overlays = Overlays(),
) -> Iterator[Site]:
    """Yield the content to serve. A grey copy of the µCT exists in a temporary folder during this time.

    Parameters
    ----------
    client : Path or None
        Folder of the 3D viewer; None if it is not installed.
    path, ct, voxel_um, progress, allow_missing, overlays
        See `browse`.

    Raises
    ------
    InputError
        If a volume cannot be read.
    """
    stained = is_stained(path)
    grey = ct if stained else path
    if ct is not None and not stained:
        raise InputError(f"`ct` {ct}: is for a stained volume, and {path} is not one; omit it", parameter="ct")
    opened = open_stained(path) if stained else None
    volume = None if grey is None else open_volume(grey, voxel_um=voxel_um, allow_missing=allow_missing)
    if opened:
        _verify(opened, progress)
        if volume:
            warn_of_other_input(volume, opened)
    grid = _grid_of(opened or volume)
    placement = ct_placement(volume, opened) if opened and volume else grid.placement
    above = _overlay_layers(overlays, grid)  # refused before the copy, which takes long
    planes: dict[str, PlaneLayer] = {}
    with temporary_folder("view") as scratch:
        checks: dict[str, Callable[[str], None]] = {}
        site = Site(client, volumes := {}, state := {}, checks=checks, planes=PlaneSite(path.name, planes))
        layers = []
        if volume is not None:
            copy = volumes["ct.ome.zarr"] = scratch / "ct.ome.zarr"
            window = grey_window(volume)
            shape, step = grey_copy(volume, copy, placement=placement, window=window, progress=progress)
            url = volume_url("ct.ome.zarr", site.token)
            layers.append(ViewerLayer("µCT", url, shape, step, "ct", origin_um=placement.origin_um))
            planes["ct"] = ct_layer(volume, copy, placement, grid, window)
        if opened:
            volumes["stained.ome.zarr"] = path
            checks["stained.ome.zarr"] = opened.verify_file
            layers.append(_state_layer(opened, volume_url("stained.ome.zarr", site.token)))
            planes["stain"] = stain_layer(path, grid)
        planes.update({layer.name: layer for layer in above})
        state.update(viewer_state(layers, path.name))
        yield site


def _grid_of(volume: StainedVolume | Volume | None) -> PlaneGrid:
    """Return the voxels that the layers of the plane view must cover."""
    assert volume is not None
    return PlaneGrid(volume.shape, volume.voxel_um, volume.placement or Placement(), BrickCache())


def _overlay_layers(overlays: Overlays, grid: PlaneGrid) -> list[PlaneLayer]:
    """Return the layers above the stain."""
    layers = []
    if overlays.uncertainty is not None:
        layers.append(overlay_layer("uncertainty", overlays.uncertainty, grid))
    if overlays.labels is not None:
        layers.append(overlay_layer("labels", overlays.labels, grid))
    return layers


def _state_layer(stained: StainedVolume, url: str) -> ViewerLayer:
    """Return the stained volume as a layer of the 3D viewer."""
    zarr_format: Literal[2, 3] = 2 if (stained.path / ".zgroup").is_file() else 3
    origin_um = (stained.placement or Placement()).origin_um
    return ViewerLayer("stain", url, stained.shape, stained.voxel_um, zarr_format=zarr_format, origin_um=origin_um)


def _verify(stained: StainedVolume, progress: Progress) -> None:
    """Compare a volume of some seconds with its checksums. Of a larger one, a shard is compared when it is served."""
    size = sum(math.prod(shape) * 3 for shape, _ in stained.levels)
    if size <= _VERIFIED_AT_ONCE:
        stained.verify(progress=progress)
    else:
        stained.verify_present()


def start_server(site: Site, port: int, report: Callable[[str], None] = print) -> ViewServer:
    """Return a listening server. `serve_forever` answers requests. `report` is called once for each damaged shard.

    Raises
    ------
    InputError
        If the port is taken or not allowed.
    """
    try:
        return ViewServer(site, port, report)
    except OSError as error:
        raise InputError(
            f"`port` {port}: cannot be used ({error.strerror}); state another one, or none for a free one"
        ) from None


def can_open_page() -> bool:
    """Whether there is a screen. Without one, a text browser would start in the user's terminal."""
    return not sys.platform.startswith("linux") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
