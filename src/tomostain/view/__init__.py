"""Stage: view. Pictures, volume renderings, exports for other software, and the report page."""

from tomostain.view.camera import Camera
from tomostain.view.planes import orthogonal_planes, side_by_side
from tomostain.view.render import picture_of_volume, render_volume
from tomostain.view.rgba import rgba, transfer_opacity

__all__ = [
    "Camera",
    "orthogonal_planes",
    "picture_of_volume",
    "render_volume",
    "rgba",
    "side_by_side",
    "transfer_opacity",
]
