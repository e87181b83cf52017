"""Off-screen volume rendering of a stained volume with its own colours (paper section 2.11, Fig. 8 d)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.progress import Progress, silent
from tomostain.view.render.camera import Camera, Cut, cut_away
from tomostain.view.render.composite import render_composite
from tomostain.view.render.rgba import background_alpha, rgba, transfer_opacity
from tomostain.view.render.surfaces import crop_to_matter, light_surfaces, spread_colours

if TYPE_CHECKING:
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkRenderingCore import vtkVolume

RGB = NDArray[np.uint8]
MAX_VOXELS = 2**29
"""Maximum number of voxels that are rendered (2 GiB as RGBA). Larger volumes are rendered at a coarser level."""


def has_vtk() -> bool:
    """Whether VTK is installed."""
    try:
        return find_spec("vtkmodules") is not None
    except ValueError:  # the module was set to None
        return False


def picture_of_volume(
    rgb: NDArray[np.uint8],
    voxel_um: float | Sequence[float],
    *,
    size: tuple[int, int] = (1000, 760),
    cut: Cut = "corner",
    camera: Camera | None = None,
    progress: Progress = silent,
) -> RGB:
    """Render a stained volume for a page: with VTK if it is installed, else with NumPy (slower, coarser).

    Parameters
    ----------
    rgb : ndarray of uint8, shape (Z, Y, X, 3)
        Stained volume. Alpha is that of the paper (`rgba`). The haze of the white background is removed.
    voxel_um : float or sequence of float
        Voxel size, or (z, y, x), µm.
    size : tuple of int
        (width, height), px.
    cut : str
        See `cut_away`.
    camera : Camera, optional
        The view.
    progress : Progress
        Progress of the NumPy renderer.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
    """
    step, camera = _voxel(voxel_um), camera or Camera()
    volume = rgba(rgb)
    volume = cut_away(crop_to_matter(transfer_opacity(volume, floor=background_alpha(volume))), cut, camera)
    volume = light_surfaces(volume, camera)
    if has_vtk():
        return render_volume(volume, step, size=size, camera=camera)
    small = (size[0] // 2, size[1] // 2)
    return render_composite(volume, step, size=small, camera=camera, unit_um=min(step), progress=progress)


class Look(TypedDict, total=False):
    """Absorption, light and background of `render_volume`."""

    unit_um: float | None
    shade: bool
    background: tuple[int, int, int]


def render_volume(
    volume: NDArray[np.uint8],
    voxel_um: float | Sequence[float],
    *,
    size: tuple[int, int] = (1000, 760),
    cut: Cut = "none",
    camera: Camera | None = None,
    **look: Unpack[Look],
) -> RGB:
    """Render colours with alpha by direct RGBA mapping, in parallel projection, without a display.

    Parameters
    ----------
    volume : ndarray of uint8, shape (Z, Y, X, 4)
        Colours with alpha, from `rgba`.
    voxel_um : float or sequence of float
        Voxel size, or (z, y, x), µm.
    size : tuple of int
        (width, height), px.
    cut : str
        ``corner``, ``half`` or ``none``: the part that is removed to show the inside; see `cut_away`.
    camera : Camera, optional
        The view.
    **look
        ``unit_um`` (float): length over which the fraction alpha / 255 of the light is absorbed, µm. Default: the
        smallest side of a voxel. ``shade`` (bool): light the surfaces. By default the colours are those of the stain.
        ``background`` (tuple of int): colour behind the volume, by default white.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)

    Raises
    ------
    InputError
        If VTK is not installed or the volume is too large.

    References
    ----------
    Irvine et al., J. Synchrotron Rad. 2026, section 2.11 and Fig. 8 (d).
    """
    if not has_vtk():
        raise InputError("volume rendering needs VTK: pip install 'tomostain[render]'")
    if volume.dtype != np.uint8 or volume.ndim != 4 or volume.shape[3] != 4:
        raise ValueError(f"a volume is uint8 (Z, Y, X, 4), found {volume.dtype} of shape {volume.shape}")
    voxels = int(np.prod(volume.shape[:3]))
    if voxels > MAX_VOXELS:
        raise InputError(
            f"a volume of {voxels:.2g} voxels is too large to render; choose a coarser level of its pyramid"
        )
    step, camera = _voxel(voxel_um), camera or Camera()
    with _quiet():
        image = vtk_image(spread_colours(cut_away(volume, cut, camera)), step)
        prop = _volume_prop(image, look.get("unit_um") or min(step), look.get("shade", False))
        extent = np.asarray(volume.shape[:3]) * np.asarray(step)
        centre, background = np.asarray(image.GetCenter()), look.get("background", (255, 255, 255))
        return _photograph(prop, camera, extent, centre, size, background)


def vtk_image(volume: NDArray[np.uint8], voxel_um: tuple[float, float, float]) -> "vtkImageData":
    """Wrap an array of shape (Z, Y, X, C) as ``vtkImageData`` with spacing in µm; the memory is shared.

    The scalars are named RGBA or RGB, depending on their number of components.
    """
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonDataModel import vtkImageData

    depth, rows, columns, channels = volume.shape
    image = vtkImageData()
    image.SetDimensions(columns, rows, depth)
    image.SetSpacing(*voxel_um[::-1])
    scalars = numpy_to_vtk(np.ascontiguousarray(volume).reshape(-1, channels))
    scalars.SetName("RGBA"[:channels])
    image.GetPointData().SetScalars(scalars)
    return image


def _voxel(voxel_um: float | Sequence[float]) -> tuple[float, float, float]:
    z, y, x = (float(v) for v in np.broadcast_to(np.asarray(voxel_um, dtype=float), 3))
    return z, y, x


def _volume_prop(image: "vtkImageData", unit_um: float, shade: bool) -> "vtkVolume":
    """Create the volume with direct colours; alpha / 255 is the opacity over `unit_um`."""
    from vtkmodules.vtkCommonDataModel import vtkPiecewiseFunction
    from vtkmodules.vtkRenderingCore import vtkVolume, vtkVolumeProperty
    from vtkmodules.vtkRenderingVolumeOpenGL2 import vtkSmartVolumeMapper

    opacity = vtkPiecewiseFunction()
    opacity.AddPoint(0.0, 0.0)
    opacity.AddPoint(255.0, 1.0)
    looks = vtkVolumeProperty()
    looks.IndependentComponentsOff()
    looks.SetScalarOpacity(opacity)
    looks.SetScalarOpacityUnitDistance(unit_um)
    looks.SetInterpolationTypeToLinear()
    looks.SetShade(shade)
    looks.SetAmbient(0.45)
    looks.SetDiffuse(0.65)
    looks.SetSpecular(0.05)
    mapper = vtkSmartVolumeMapper()
    mapper.SetInputData(image)
    mapper.SetAutoAdjustSampleDistances(False)
    mapper.SetSampleDistance(min(image.GetSpacing()) / 2)
    prop = vtkVolume()
    prop.SetMapper(mapper)
    prop.SetProperty(looks)
    return prop


def _photograph(
    prop: "vtkVolume",
    camera: Camera,
    extent_um: NDArray[np.float64],
    centre_xyz: NDArray[np.float64],
    size: tuple[int, int],
    background: tuple[int, int, int],
) -> RGB:
    """Render one image off screen; the first row is at the top."""
    import vtkmodules.vtkRenderingOpenGL2
    import vtkmodules.vtkRenderingVolumeOpenGL2  # noqa: F401  (both register the factories that draw)
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkRenderingCore import vtkRenderer, vtkRenderWindow, vtkWindowToImageFilter

    renderer = vtkRenderer()
    renderer.SetBackground(*(c / 255 for c in background))
    renderer.AddVolume(prop)
    window = vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(0)
    window.SetSize(*size)
    window.AddRenderer(renderer)
    view = renderer.GetActiveCamera()
    view.ParallelProjectionOn()
    view.SetFocalPoint(*centre_xyz)
    view.SetPosition(*(centre_xyz + camera.towards[::-1] * float(np.linalg.norm(extent_um)) * 2))
    view.SetViewUp(*(-camera.down[::-1]))
    view.SetParallelScale(camera.half_height_um(extent_um, size))
    renderer.ResetCameraClippingRange()
    window.Render()
    grab = vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.SetInputBufferTypeToRGB()
    grab.ReadFrontBufferOff()
    grab.Update()
    pixels = vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars())
    picture = pixels.reshape(size[1], size[0], 3)[::-1].copy()
    window.Finalize()
    return picture


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress VTK's message on stderr that there is no display. It renders without one."""
    from vtkmodules.vtkCommonCore import vtkLogger, vtkObject

    shown, verbosity = vtkObject.GetGlobalWarningDisplay(), vtkLogger.GetCurrentVerbosityCutoff()
    vtkObject.GlobalWarningDisplayOff()
    vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_OFF)
    try:
        yield
    finally:
        vtkObject.SetGlobalWarningDisplay(shown)
        vtkLogger.SetStderrVerbosity(verbosity)
