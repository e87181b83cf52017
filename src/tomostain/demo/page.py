"""The pages that a person opens at the end: the demo's and an evaluation's. What they look like is in `view.report`."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain import __version__
from tomostain.demo.config import DemoConfig
from tomostain.demo.truth import TruthSlices
from tomostain.evaluate import Table
from tomostain.figures.curves import has_curves, training_curves
from tomostain.figures.planes import orthogonal_planes, side_by_side
from tomostain.imaging.network_range import CT_WINDOW
from tomostain.io import open_stained, open_volume, read_image, write_image
from tomostain.progress import Progress, silent
from tomostain.view import picture_of_volume
from tomostain.view.report.blocks import Compare, Figure, Frames, MetricTable, Report, Section
from tomostain.view.report.writer import write_report

MODEL = "trained model"
FLOOR = "raw µCT"
NO_BIOLOGY = (
    "These specimens are made up: their anatomy, their µCT and their slides come from rules and a random seed. The "
    "page shows that the machinery works, and says nothing about how well a model would do on real tissue."
)


def demo_page(out: Path, config: DemoConfig, slices: TruthSlices, table: Table, progress: Progress = silent) -> Path:
    """Write the demo's `report.html` and the pictures on it.

    Parameters
    ----------
    out : Path
        The demo's folder.
    config : DemoConfig
    slices : TruthSlices
        µCT, stained and true slices of the held-out specimen.
    table : Table
        Their metrics with the floors.
    progress : Progress

    Returns
    -------
    Path
        `out`/report.html.
    """
    report = out / "report.html"
    voxel_um = config.voxel_um
    middle = len(slices.z) // 2
    ct, stained, truth = slices.ct[middle], slices.stained[middle], slices.truth[middle]
    row = side_by_side(
        [ct, stained, truth], ["µCT", "stained by the model", "truth"], voxel_um, windows=[CT_WINDOW, None, None]
    )
    write_image(out / "slices.png", row, overwrite=True)
    sections = (
        _held_out(slices, row, voxel_um),
        _planes_and_rendering(out, config, progress),
        _numbers(table),
        _training(out),
        _slide(out),
        *_registration(out),
    )
    page = Report(
        title="tomostain demo: a µCT volume, stained",
        summary=(_sentence(config), NO_BIOLOGY),
        key_figures=_key_figures(table, config),
        sections=sections,
        next_commands=(
            f"tomostain export {out / 'stained.ome.zarr'} {out / 'rgba'} --to rgba-tiff",
            f"tomostain train {out / 'dataset'} {out / 'run-longer'} --max-steps {config.steps * 5}",
            f"tomostain stain {out / 'run/model'} YOUR_VOLUME stained.ome.zarr --dry-run",
        ),
        provenance={"tomostain": __version__, "recipe": config.recipe, "steps": str(config.steps), **_model_hash(out)},
    )
    return write_report(report, page, overwrite=True)


def _sentence(config: DemoConfig) -> str:
    materials = ", ".join(f"{specimen.material} after {specimen.weeks} weeks" for specimen in config.specimens[:-1])
    last = config.specimens[-1]
    return (
        f"{len(config.specimens)} bone-implant phantoms were grown. On {len(config.specimens) - 1} of them "
        f"({materials}) a paired CycleGAN learnt from one µCT section and one slide each, one of them for validation; "
        f"the volume of the last ({last.material} after {last.weeks} weeks), which training never saw, was stained."
    )


def _key_figures(table: Table, config: DemoConfig) -> tuple[tuple[str, str], ...]:
    model, floor = table.rows[MODEL], table.rows[FLOOR]
    return (
        ("SSIM, model (raw µCT)", f"{model['ssim'].median:.2f} ({floor['ssim'].median:.2f})"),
        ("PSNR, model (raw µCT)", f"{model['psnr'].median:.1f} dB ({floor['psnr'].median:.1f} dB)"),
        ("LPIPS, model (raw µCT)", f"{model['lpips'].median:.2f} ({floor['lpips'].median:.2f})"),
        ("voxels stained", f"{np.prod(config.shape) / 1e6:.1f} million"),
    )


def _held_out(slices: TruthSlices, row: NDArray[np.uint8], voxel_um: float) -> Section:
    middle = len(slices.z) // 2
    frames = [
        side_by_side([ct, stained, truth], ["µCT", "stained", "truth"], voxel_um, windows=[CT_WINDOW, None, None])
        for ct, stained, truth in zip(slices.ct, slices.stained, slices.truth, strict=True)
    ]
    return Section(
        "The specimen that was kept out",
        (
            "The truth is an ideal section about the slice, 40 µm thick, without a laboratory's damage. Air outside "
            "the block was masked in training, so its colour is nobody's concern.",
        ),
        (
            Figure(row, "µCT, stained by the model, and the truth, in the middle of the volume.", "Three images"),
            Compare(
                (np.clip(slices.ct[middle] / CT_WINDOW[1], 0, 1) * 255).astype(np.uint8),
                slices.stained[middle],
                ("µCT", "stained"),
                "Pull the slider: the same slice before and after.",
            ),
            Frames(frames, [f"z = {z * voxel_um:.0f} µm" for z in slices.z], "Leaf through the volume."),
        ),
    )


def _planes_and_rendering(out: Path, config: DemoConfig, progress: Progress) -> Section:
    stained = open_stained(out / "stained.ome.zarr")
    volume = open_volume(out / "specimens" / "held-out" / "volume")
    depth = stained.shape[0]
    rgb = stained.read(0, depth)
    planes = orthogonal_planes(rgb, stained.voxel_um)
    write_image(out / "planes.png", planes, overwrite=True)
    rendering = picture_of_volume(rgb, stained.voxel_um, progress=progress)
    write_image(out / "rendering.png", rendering, overwrite=True)
    return Section(
        "In three dimensions",
        (
            "The model stains slice by slice (XY). XZ and YZ show what that costs: slices that do not quite agree are "
            "stripes there.",
        ),
        (
            Figure(planes, "Stained: the planes XY, XZ and YZ through the middle.", "Three planes in colour"),
            Figure(orthogonal_planes(volume.read(0, depth), volume.voxel_um), "The same planes of the µCT."),
            Figure(
                rendering,
                "Volume rendering of the stained volume, a corner cut away; opacity is the inverted mean of red, green "
                "and blue, as in the paper's section 2.11.",
                "A screw in bone, in the colours of the stain",
            ),
        ),
    )


def _numbers(table: Table) -> Section:
    return Section(
        "Numbers",
        (
            "Median and quartiles over the slices above, pixels outside the specimen set to the background "
            "(sections 2.8 and 2.10). Raw µCT is the floor: what one gets without staining. The look-up gives each "
            "grey value its mean colour.",
        ),
        (MetricTable.of(table),),
    )


def _training(out: Path) -> Section:
    samples = sorted((out / "run" / "samples").glob("*.png"))
    blocks: list[Any] = []
    if has_curves(out / "run" / "metrics.csv"):
        blocks.append(Figure(training_curves(out / "run" / "metrics.csv"), "Losses while training."))
    if samples:
        caption = "Patches at the last step, a row each: µCT, generated histology, mask, real histology, generated µCT."
        blocks.append(Figure(samples[-1], caption, narrow=True))
    return Section("Training", (), tuple(blocks))


def _slide(out: Path) -> Section:
    picture = next(iter((out / "dataset" / "pairs").glob("held-out*/qc.png")), None)
    if picture is None:
        return Section("The slide")
    text = "The pair of the held-out specimen as prepared: with the laboratory's cracks, saw marks, stain and light."
    return Section("What the model is trained on", (text,), (Figure(picture, "µCT, histology, checkerboard, mask."),))


def _registration(out: Path) -> tuple[Section, ...]:
    """Show how the sections were found, where they were."""
    folder = out / "dataset-registration"
    pictures = sorted(folder.glob("*/qc.png"))
    if not pictures:
        return ()
    text = (
        "Nobody said where the slides lie in their volumes: each section was found by a search over all orientations "
        "and offsets, then refined. Edges of the histology must lie on those of the µCT."
    )
    names = [picture.parent.name for picture in pictures]
    last = folder / "held-out" / "volume.png"
    images = [read_image(picture)[..., :3] for picture in pictures]
    blocks: list[Any] = [Frames(images, names, "One slide after another.")]
    if last.is_file():
        blocks.append(Figure(last, "The held-out specimen's slide where it was found in the volume."))
    return (Section("Where the slides lie", (text,), tuple(blocks)),)


def _model_hash(out: Path) -> dict[str, str]:
    stained = open_stained(out / "stained.ome.zarr")
    return {"model": str(stained.provenance["model"]["hash"])[:16]}
