"""The verb `view`: figures of a volume, or the browser."""

from contextlib import ExitStack
from pathlib import Path

import typer

from tomostain.cli.common import ALLOW_MISSING, OVERWRITE, bars, existing, show_volume, triple
from tomostain.cli.options import option_group
from tomostain.cli.verbs import verb
from tomostain.errors import InputError


@option_group
class BrowserOptions:
    """Options of the browser view."""

    browser: bool = typer.Option(False, "--browser", help="Show the volume in the web browser, until Ctrl-C.")
    ct: Path | None = typer.Option(None, help="With --browser: the µCT volume that was stained, for comparison.")
    port: int = typer.Option(0, min=0, max=65535, help="With --browser: port on 127.0.0.1 (0: any free port).")
    no_open: bool = typer.Option(False, "--no-open", help="With --browser: print the address, do not open the browser.")
    viewer: str = typer.Option("planes", help="With --browser: planes, or 3d with the volume rendering.")
    uncertainty: Path | None = typer.Option(None, help="With --browser: a map of the uncertainty, as stain writes it.")
    labels: Path | None = typer.Option(None, help="With --browser: tissue labels, as measure writes them.")
    at: str = typer.Option("", help="With --browser: a link that the page copied; open the view that it describes.")

    @property
    def is_stated(self) -> bool:
        """Whether an option is given that only the browser has."""
        paths = (self.ct, self.uncertainty, self.labels)
        others = self.port or self.no_open or self.at or self.viewer != "planes"
        return any(path is not None for path in paths) or bool(others)


@verb(
    order=100,
    examples="""
    tomostain view stained.ome.zarr
    tomostain view specimen/volume --out planes
    tomostain view stained.ome.zarr --browser
    tomostain view stained.ome.zarr --browser --ct reco_folder --voxel-um 5
    tomostain view stained.ome.zarr --browser --labels measures/labels.ome.zarr
""",
)
def view(
    context: typer.Context,
    options: BrowserOptions,
    path: Path = typer.Argument(help="A stained OME-Zarr, or a µCT volume."),
    out: Path | None = typer.Option(
        None,
        help="Folder for the figures (default: NAME-view next to a stained volume, or here for a µCT volume).",
    ),
    voxel_um: str | None = typer.Option(None, help="Voxel size, µm, if the file does not state it: 5 or z,y,x."),
    allow_missing: bool = ALLOW_MISSING,
    overwrite: bool = OVERWRITE,
) -> None:
    """Make figures of a volume: three orthogonal planes and, for a stained volume, a volume rendering.

    With --browser, nothing is written. The web browser shows planes of any orientation interactively, with the µCT next
    to the stain. The page is served on this machine only (127.0.0.1) and needs no internet.
    """
    existing(path, "file or folder")
    size = triple(voxel_um, "--voxel-um")
    if options.browser:
        if out is not None:
            raise InputError(f"--out {out}: --browser writes no figures; use only one of them")
        _browse(context, path, options, size, allow_missing)
        return
    if options.is_stated:
        raise InputError("--ct, --port, --no-open, --viewer, --uncertainty, --labels and --at: need --browser")
    from tomostain.io.output_folder import base_name
    from tomostain.view import view_path
    from tomostain.view.folder import is_stained

    if not is_stained(path):
        show_volume(path, size, allow_missing=allow_missing)
    if out is None:
        # Next to a stained volume; the folder of a µCT volume belongs to its instrument.
        out = (path.parent if is_stained(path) else Path()) / f"{base_name(path.absolute())}-view"
    for figure in view_path(path, out, size, overwrite, allow_missing=allow_missing):
        typer.echo(f"figure: {figure}")


def _browse(
    context: typer.Context,
    path: Path,
    options: BrowserOptions,
    voxel_um: tuple[float, float, float] | None,
    allow_missing: bool,
) -> None:
    """Serve a view until Ctrl-C. The progress bars end before."""
    from tomostain.view.browser.first_view import FirstView, check_viewer
    from tomostain.view.browser.plane_layers import Overlays
    from tomostain.view.browser.view import client_of, prepared_site, serve

    for chosen, kind in ((options.ct, "µCT volume"), (options.uncertainty, "map"), (options.labels, "label volume")):
        if chosen is not None:
            existing(chosen, kind)
    first = FirstView(check_viewer(options.viewer), options.at)
    sources = client_of(first.viewer), path, options.ct, voxel_um
    overlays = Overlays(options.uncertainty, options.labels)
    with ExitStack() as stack:
        with bars(context) as progress:
            prepared = prepared_site(*sources, progress, allow_missing=allow_missing, overlays=overlays)
            site = stack.enter_context(prepared)
        serve(site, port=options.port, open_page=not options.no_open, first=first, echo=typer.echo)
