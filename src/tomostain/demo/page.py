"""The page of the demo. Its layout is in `view.report`."""

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
    "These specimens are synthetic: their anatomy, µCT and slides come from rules and a random seed. The page "
    "shows that the software works. It does not show how well a model would perform on real tissue."
)


def demo_page(out: Path, config: DemoConfig, slices: TruthSlices, table: Table, progress: Progress = silent) -> Path:
    """Write `report.html` of the demo and its images.

    Parameters
    ----------
    out : Path
        Folder of the demo.
    config : DemoConfig
    slices : TruthSlices
        Slices of the held-out specimen: µCT, stained and truth.
    table : Table
        Their metrics, with the baselines.
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
        f"{len(config.specimens)} bone-implant phantoms were generated. A paired CycleGAN was trained on "
        f"{len(config.specimens) - 1} of them ({materials}), with one µCT section and one slide each; one of them was "
        f"used for validation. The volume of the last specimen ({last.material} after {last.weeks} weeks), which is "
        "not in the training data, was stained."
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
        "The held-out specimen",
        (
            "The truth is an ideal section, 40 µm thick, centred on the slice, without damage by the laboratory. Air "
            "outside the block was masked in training, so its colour is not evaluated.",
        ),
        (
            Figure(row, "µCT, stained by the model, and the truth, in the middle of the volume.", "Three images"),
            Compare(
                (np.clip(slices.ct[middle] / CT_WINDOW[1], 0, 1) * 255).astype(np.uint8),
                slices.stained[middle],
                ("µCT", "stained"),
                "The same slice before and after staining. Move the slider.",
            ),
            Frames(frames, [f"z = {z * voxel_um:.0f} µm" for z in slices.z], "Slices of the volume."),
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
            "The model stains slice by slice (XY). Differences between neighbouring slices appear as stripes in XZ and "
            "YZ.",
        ),
        (
            Figure(planes, "Stained: the planes XY, XZ and YZ through the middle.", "Three planes in colour"),
            Figure(orthogonal_planes(volume.read(0, depth), volume.voxel_um), "The same planes of the µCT."),
            Figure(
                rendering,
                "Volume rendering of the stained volume, with a corner removed. Opacity is the inverted mean of "
                "red, green and blue, as in the paper's section 2.11.",
                "A screw in bone, in the colours of the stain",
            ),
        ),
    )


def _numbers(table: Table) -> Section:
    return Section(
        "Numbers",
        (
            "Median and quartiles over the slices above, pixels outside the specimen set to the background "
            "(sections 2.8 and 2.10). Raw µCT is the baseline without staining. The look-up assigns each grey value "
            "its mean colour.",
        ),
        (MetricTable.of(table),),
    )


def _training(out: Path) -> Section:
    samples = sorted((out / "run" / "samples").glob("*.png"))
    blocks: list[Any] = []
    if has_curves(out / "run" / "metrics.csv"):
        blocks.append(Figure(training_curves(out / "run" / "metrics.csv"), "Losses while training."))
    if samples:
        caption = "Patches at the last step, in rows: µCT, generated histology, mask, real histology, generated µCT."
        blocks.append(Figure(samples[-1], caption, narrow=True))
    return Section("Training", (), tuple(blocks))


def _slide(out: Path) -> Section:
    picture = next(iter((out / "dataset" / "pairs").glob("held-out*/qc.png")), None)
    if picture is None:
        return Section("The slide")
    text = "The prepared pair of the held-out specimen, with the cracks, saw marks and illumination of a laboratory."
    return Section("A prepared pair", (text,), (Figure(picture, "µCT, histology, checkerboard, mask."),))


def _registration(out: Path) -> tuple[Section, ...]:
    """Show the registered sections, if there was a registration."""
    folder = out / "dataset-registration"
    pictures = sorted(folder.glob("*/qc.png"))
    if not pictures:
        return ()
    text = (
        "The position of each slide in its volume was found by registration: a search over all orientations "
        "and offsets, then a refinement. The edges of the histology must match those of the µCT."
    )
    names = [picture.parent.name for picture in pictures]
    last = folder / "held-out" / "volume.png"
    images = [read_image(picture)[..., :3] for picture in pictures]
    blocks: list[Any] = [Frames(images, names, "The slides.")]
    if last.is_file():
        blocks.append(Figure(last, "The slide of the held-out specimen at its registered position in the volume."))
    return (Section("Registration", (text,), tuple(blocks)),)


def _model_hash(out: Path) -> dict[str, str]:
    stained = open_stained(out / "stained.ome.zarr")
    return {"model": str(stained.provenance["model"]["hash"])[:16]}
