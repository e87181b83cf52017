"""The Neuroglancer state of the browser view, as plain JSON: three planes and a volume rendering.

Source: the state's JSON schema in Neuroglancer's documentation ("Viewer state"), and its shader language ("Image layer
rendering"). A channel dimension whose name ends in ``^`` is passed to the shader as a whole. It must be in one chunk,
as in a stained volume.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tomostain.io.ome_zarr.pyramid import Shape
from tomostain.view.render.rgba import HAZE

PANEL_PX = 380
"""Side of a panel in the initial layout, px: a quarter of a common window."""

_STAIN_SHADER = """#uicontrol float {cut} slider(min=0, max=1, step=0.01, default={start})
#uicontrol float stain slider(min=0, max=1, step=0.01, default=1)
#uicontrol float haze slider(min=0, max=0.9, step=0.01, default={haze:.2f})

// Planes and rendering call the position in a chunk differently; the preprocessor knows no true and false by itself.
#define true 1
#define false 0
#if VOLUME_RENDERING
#define positionInChunk curChunkPosition
#else
#define positionInChunk vChunkPosition
#endif
#undef true
#undef false

void main() {{
  vec3 rgb = vec3(toNormalized(getDataValue(0)), toNormalized(getDataValue(1)), toNormalized(getDataValue(2)));
  vec3 voxel = positionInChunk + uTranslation;
  // Left of the border, a share of x, the stain gives way.
  // A ray's last step may lie behind the volume, in the padding of a chunk.
  if ({where}voxel.x < {cut} * uUpperClipBound.x || any(greaterThan(voxel, uUpperClipBound))) {{
    emitTransparent();
    return;
  }}
  if (VOLUME_RENDERING) {{
    float alpha = 1.0 - (rgb.r + rgb.g + rgb.b) / 3.0;
    emitRGBA(vec4(rgb, stain * clamp((alpha - haze) / (1.0 - haze), 0.0, 1.0)));
  }} else {{
    emitRGBA(vec4(rgb, stain));
  }}
}}
"""

_GREY_SHADER = """#uicontrol invlerp grey(range=[0, 255], channel=[0])
void main() {
  emitGrayscale(grey());
}
"""


@dataclass(frozen=True)
class ViewerLayer:
    """One volume of the view.

    Attributes
    ----------
    name : str
        Its name in the list of layers.
    url : str
        Address of the OME-Zarr.
    shape : tuple of int
        (Z, Y, X), voxels.
    voxel_um : tuple of float
        Voxel size (z, y, x), µm.
    kind : str
        ``stain``: in its colours; ``ct``: grey.
    zarr_format : int
        2 or 3. Stated to the viewer, so that it does not request missing files.
    origin_um : tuple of float
        The translation (z, y, x) that the OME-Zarr states, µm.
    """

    name: str
    url: str
    shape: Shape
    voxel_um: tuple[float, float, float]
    kind: Literal["stain", "ct"] = "stain"
    zarr_format: Literal[2, 3] = 3
    origin_um: tuple[float, float, float] = (0.0, 0.0, 0.0)


def viewer_state(layers: Sequence[ViewerLayer], title: str) -> dict[str, Any]:
    """Return the state for volumes of one specimen: planes xy, xz, yz and the rendering.

    Parameters
    ----------
    layers : sequence of ViewerLayer
        From bottom to top. With a µCT below it, the stain is drawn from the middle of x on, and ``swipe`` moves this
        border.
    title : str
        Title of the page.

    Returns
    -------
    dict
        JSON of a Neuroglancer state; lengths in m, as its schema requires.
    """
    top = layers[-1]
    step_um = min(top.voxel_um)
    extent_um = [n * step for n, step in zip(top.shape, top.voxel_um, strict=True)]
    compared = len(layers) > 1
    # Positions are in voxels of the top layer, x first.
    return {
        "title": title,
        "dimensions": _dimensions(top.voxel_um),
        "displayDimensions": ["x", "y", "z"],
        "position": [
            n / 2 + first / step
            for n, first, step in zip(top.shape[::-1], top.origin_um[::-1], top.voxel_um[::-1], strict=True)
        ],
        "crossSectionScale": max(extent_um) / step_um / PANEL_PX,
        "projectionScale": 1.9 * max(extent_um) / step_um,
        "projectionOrientation": [0.22, 0.22, 0.05, 0.95],
        "crossSectionBackgroundColor": "#ffffff",
        "projectionBackgroundColor": "#ffffff",
        "showSlices": False,
        "showDefaultAnnotations": False,
        "layers": [_layer(layer, compared) for layer in layers],
        "layout": "4panel",
        "toolPalettes": {"Look": {"side": "right", "row": 0, "size": 250, "query": "type:shaderControl"}},
    }


def _dimensions(voxel_um: tuple[float, float, float]) -> dict[str, list[Any]]:
    return {axis: [float(f"{step * 1e-6:.12g}"), "m"] for axis, step in zip("xyz", voxel_um[::-1], strict=True)}


def _layer(layer: ViewerLayer, compared: bool) -> dict[str, Any]:
    """Return the state of a layer. The shader receives all channels because the dimension is named ``c^``."""
    inner = {"c^": [1, ""], **dict(reversed(_dimensions(layer.voxel_um).items()))}
    shader = _GREY_SHADER if layer.kind == "ct" else _stain_shader(compared)
    return {
        "type": "image",
        "name": layer.name,
        "source": {"url": f"zarr{layer.zarr_format}://{layer.url}", "transform": {"outputDimensions": inner}},
        "channelDimensions": {"c^": [1, ""]},
        "opacity": 1,
        "blend": "default",
        "shader": shader,
        "volumeRendering": "off" if layer.kind == "ct" else "on",
        "volumeRenderingDepthSamples": 256,
    }


def _stain_shader(compared: bool) -> str:
    """Return the shader of the stain: with a swipe against the layer below, or with a cut in the rendering."""
    if compared:
        return _STAIN_SHADER.format(cut="swipe", start=0.5, where="", haze=HAZE / 255)
    return _STAIN_SHADER.format(cut="cut", start=0.0, where="VOLUME_RENDERING && ", haze=HAZE / 255)
