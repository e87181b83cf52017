"""Stage: view. Pictures, volume renderings, exports for other software, and the report page."""

from tomostain.deprecation import renamed
from tomostain.figures.curves import draw_curves, training_curves
from tomostain.figures.planes import orthogonal_planes, side_by_side
from tomostain.view.browser.view import browse
from tomostain.view.exchange.export import convert_model
from tomostain.view.exchange.options import ExportedModel
from tomostain.view.export.formats import export
from tomostain.view.folder import read_small, view_path
from tomostain.view.qupath.export import ExportedSection, SectionsExport, export_sections
from tomostain.view.qupath.planes import Plane, planes_across
from tomostain.view.render.camera import Camera
from tomostain.view.render.composite import composite_projection
from tomostain.view.render.rgba import rgba, transfer_opacity
from tomostain.view.render.volume import has_vtk, picture_of_volume, render_volume
from tomostain.view.report.blocks import Compare, Figure, Frames, MetricTable, Report, ReportSection, Row
from tomostain.view.report.writer import write_report

__all__ = [
    "Camera",
    "Compare",
    "ExportedModel",
    "ExportedSection",
    "Figure",
    "Frames",
    "MetricTable",
    "Plane",
    "Report",
    "ReportSection",
    "Row",
    "SectionsExport",
    "browse",
    "composite_projection",
    "convert_model",
    "draw_curves",
    "export",
    "export_sections",
    "has_vtk",
    "orthogonal_planes",
    "picture_of_volume",
    "planes_across",
    "read_small",
    "render_volume",
    "rgba",
    "side_by_side",
    "training_curves",
    "transfer_opacity",
    "view_path",
    "write_report",
]

__getattr__ = renamed(__name__, {"Section": "ReportSection"})
