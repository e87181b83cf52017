"""Stage: view. Pictures, volume renderings, exports for other software, and the report page."""

from tomostain.view.browser import browse
from tomostain.view.camera import Camera
from tomostain.view.composite import composite_projection
from tomostain.view.curves import draw_curves, training_curves
from tomostain.view.export import export
from tomostain.view.folder import read_small, view_path
from tomostain.view.planes import orthogonal_planes, side_by_side
from tomostain.view.render import has_vtk, picture_of_volume, render_volume
from tomostain.view.report import Compare, Figure, Frames, MetricTable, Report, Row, Section, write_report
from tomostain.view.rgba import rgba, transfer_opacity

__all__ = [
    "Camera",
    "Compare",
    "Figure",
    "Frames",
    "MetricTable",
    "Report",
    "Row",
    "Section",
    "browse",
    "composite_projection",
    "draw_curves",
    "export",
    "has_vtk",
    "orthogonal_planes",
    "picture_of_volume",
    "read_small",
    "render_volume",
    "rgba",
    "side_by_side",
    "training_curves",
    "transfer_opacity",
    "view_path",
    "write_report",
]
