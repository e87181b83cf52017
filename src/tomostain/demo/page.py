"""The page of the demo. Its layout is in `view.report`."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomostain.dataset.dataset import load_dataset
from tomostain.demo.config import HELD_OUT, DemoConfig
from tomostain.demo.facts import install_command, next_commands, provenance
from tomostain.demo.truth import Margin, TruthSlices, margins, verdict
from tomostain.evaluate import Table
from tomostain.figures.curves import has_curves, training_curves
from tomostain.figures.detail import enlarged_detail, square_around
from tomostain.figures.planes import orthogonal_planes, side_by_side
from tomostain.imaging.network_range import DISPLAY_WINDOW
from tomostain.integers import to_integers
from tomostain.io import load_model, open_stained, open_volume, read_image, write_image
from tomostain.phantom import Label
from tomostain.phantom.stains import STAINS, Stain
from tomostain.progress import Progress, silent
from tomostain.view import has_vtk, picture_of_volume
from tomostain.view.report.blocks import (
    Block,
    Compare,
    Figure,
    Frames,
    KeyFigures,
    Legend,
    MetricTable,
    Panels,
    Report,
    ReportSection,
)
from tomostain.view.report.writer import write_report

NO_BIOLOGY = (
    "These specimens are synthetic: their anatomy, µCT and slides come from rules and a random seed. The page "
    "shows that the software works. It does not show how well a model would perform on real tissue."
)
_STAIN_NAMES = {"toluidine-blue": "toluidine blue", "h&e": "haematoxylin and eosin (H&E)"}
_MEANINGS = {
    Label.BONE: "mature bone (darker where it is less mineralised)",
    Label.WOVEN: "young woven bone",
    Label.LACUNA: "lacunae of bone cells",
    Label.CANAL: "canals of blood vessels",
    Label.SOFT: "soft tissue",
    Label.MARROW: "bone marrow",
    Label.ADIPOCYTE: "fat cells in the marrow",
    Label.DEGRADATION: "degradation layer of a magnesium screw",
    Label.SCREW: "the screw",
}
# Side of the opening picture, relative to that of a slice, and the part of its width that the screw takes.
_DETAIL_FRACTION, _SCREW_FRACTION = 0.6, 0.3


def demo_page(
    out: Path,
    config: DemoConfig,
    slices: TruthSlices,
    table: Table,
    *,
    seconds: Mapping[str, float] | None = None,
    progress: Progress = silent,
) -> Path:
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
    seconds : mapping of str to float, optional
        Time of each stage.
    progress : Progress

    Returns
    -------
    Path
        `out`/report.html.
    """
    seconds = seconds or {}
    page = Report(
        title="A µCT volume, stained by tomostain",
        opening=(_details(out, slices, config), _legend(config)),
        summary=(_sentence(config), NO_BIOLOGY),
        sections=(
            _in_three_dimensions(out, progress),
            _numbers(table),
            _held_out(out, slices, config.voxel_um),
            *_registration(out),
            _training(out, config),
            *_times(seconds),
        ),
        next_commands=next_commands(out, config),
        provenance=provenance(config, load_model(out / "run" / "model"), seconds),
    )
    return write_report(out / "report.html", page, overwrite=True)


def _details(out: Path, slices: TruthSlices, config: DemoConfig) -> Panels:
    """Show µCT, stained and truth in full resolution, around a flank of the screw in the middle of the volume."""
    middle = len(slices.z) // 2
    truth = slices.truth[middle]
    side_px = round(_DETAIL_FRACTION * truth.shape[1])
    box = square_around(_flank(_screw(truth, config), side_px), side_px)
    images = {
        "µCT": enlarged_detail(slices.ct[middle], box, config.voxel_um, window=DISPLAY_WINDOW),
        "Stained by the model": enlarged_detail(slices.stained[middle], box, config.voxel_um, scale_bar=False),
        "Truth": enlarged_detail(truth, box, config.voxel_um, scale_bar=False),
    }
    for name, image in zip(("ct", "stained", "truth"), images.values(), strict=True):
        write_image(out / f"detail-{name}.png", image, overwrite=True)
    specimen = config.specimens[-1]
    caption = (
        f"The same region of the specimen that was not used for training ({specimen.material}, {specimen.weeks} "
        f"weeks), at full resolution, {config.voxel_um:g} µm per voxel. The truth is an ideal section of this slice."
    )
    return Panels(tuple(images.values()), tuple(images), caption)


def _screw(truth: NDArray[np.uint8], config: DemoConfig) -> NDArray[np.bool_]:
    """Return the pixels with the colour of the screw. With a stain that leaves it clear, there are none."""
    colour = _stain(config).colours.get(Label.SCREW, (255.0, 255.0, 255.0))
    distance = np.abs(truth.astype(np.float32) - np.asarray(colour, np.float32)).max(axis=-1)
    return np.asarray((distance < 12) & (min(colour) < 200))


def _flank(screw: NDArray[np.bool_], side_px: int) -> NDArray[np.bool_]:
    """Return the rows of the screw, over the columns of a box that shows its right flank and the bone next to it."""
    columns = np.flatnonzero(screw.any(axis=0))
    if not len(columns):
        return screw
    first = max(0, int(columns[-1]) - round(_SCREW_FRACTION * side_px))
    region = np.zeros_like(screw)
    region[screw.any(axis=1), first : first + side_px] = True
    return region


def _stain(config: DemoConfig) -> Stain:
    return STAINS[config.stain]


def _legend(config: DemoConfig) -> Legend:
    """Name the stain and its colours, which are those of the phantom."""
    stain = _stain(config)
    entries = [
        ((round(red), round(green), round(blue)), meaning)
        for label, meaning in _MEANINGS.items()
        for red, green, blue in [stain.colours[label]]
    ]
    red, green, blue = (round(value) for value in stain.young)
    entries.insert(2, ((red, green, blue), "the youngest bone, at the screw"))
    name = _STAIN_NAMES.get(config.stain, config.stain)
    return Legend(tuple(entries), f"The stain is {name}, through a section 40 µm thick. White is empty glass.")


def _sentence(config: DemoConfig) -> str:
    materials = ", ".join(f"{specimen.material} after {specimen.weeks} weeks" for specimen in config.specimens[:-1])
    last = config.specimens[-1]
    begin = f"The model {config.init} was fine-tuned" if config.init else "A model was trained from random weights"
    return (
        f"The demo generated {len(config.specimens)} bone-implant phantoms. {begin} on {len(config.specimens) - 1} of "
        f"them ({materials}), with one µCT section and one slide each. Then the µCT volume of the last specimen "
        f"({last.material} after {last.weeks} weeks), which is not in the training data, was stained."
    )


def _in_three_dimensions(out: Path, progress: Progress) -> ReportSection:
    stained = open_stained(out / "stained.ome.zarr")
    rgb = stained.read(0, stained.shape[0])
    rendering = picture_of_volume(rgb, stained.voxel_um, progress=progress)
    write_image(out / "rendering.png", rendering, overwrite=True)
    text = "" if has_vtk() else f"For a sharper rendering install VTK: {install_command('render')}"
    return ReportSection(
        "In three dimensions",
        tuple(filter(None, (text,))),
        (
            Figure(
                rendering,
                f"Volume rendering of the stained volume, {rgb[..., 0].size / 1e6:.1f} million voxels, with a corner "
                "removed. Opacity is the inverted mean of red, green and blue, as in the paper's section 2.11.",
                "A screw in bone, in the colours of the stain",
            ),
        ),
    )


def _numbers(table: Table) -> ReportSection:
    results = margins(table)
    return ReportSection(
        "Numbers",
        (
            verdict(results),
            "Median and quartiles over the compared slices. Pixels outside the specimen are not evaluated (sections "
            "2.8 and 2.10 of the paper). Raw µCT is the image without staining. The mean training image is one colour "
            "or image for all. The look-up gives each grey value its mean colour in the training pairs: no network "
            "that sees only single grey values has a higher PSNR on them.",
        ),
        (KeyFigures(tuple(_key_figure(margin) for margin in results)), MetricTable.of(table)),
    )


def _key_figure(margin: Margin) -> tuple[str, str, str]:
    """Return label, value of the model, and its margin over the strongest baseline."""
    digits = margin.digits
    # Of the rounded values, so that a reader who subtracts them gets the same.
    gain = abs(round(margin.model, digits) - round(margin.baseline, digits))
    return (
        margin.label,
        f"{margin.model:.{digits}f} {margin.unit}".strip(),
        f"{gain:.{digits}f} {'better' if margin.gain > 0 else 'worse'} than the strongest baseline, the "
        f"{margin.name} ({margin.baseline:.{digits}f})",
    )


def _held_out(out: Path, slices: TruthSlices, voxel_um: float) -> ReportSection:
    middle = len(slices.z) // 2
    frames = [
        side_by_side([ct, stained, truth], ["µCT", "stained", "truth"], voxel_um, windows=[DISPLAY_WINDOW, None, None])
        for ct, stained, truth in zip(slices.ct, slices.stained, slices.truth, strict=True)
    ]
    write_image(out / "slices.png", frames[middle], overwrite=True)
    stained = open_stained(out / "stained.ome.zarr")
    planes = orthogonal_planes(stained.read(0, stained.shape[0]), stained.voxel_um)
    write_image(out / "planes.png", planes, overwrite=True)
    volume = open_volume(out / "specimens" / HELD_OUT / "volume")
    return ReportSection(
        "Slices of the stained volume",
        (),
        (
            Frames(frames, [f"z = {z * voxel_um:.0f} µm" for z in slices.z], "Whole slices, with their truth."),
            Compare(
                to_integers(np.clip(slices.ct[middle] / DISPLAY_WINDOW[1], 0, 1) * 255, np.uint8, "µCT", rounded=False),
                slices.stained[middle],
                ("µCT", "stained"),
                "The same slice before and after staining. Move the slider.",
            ),
            Figure(
                planes,
                "The planes XY, XZ and YZ through the middle of the stained volume. The model stains slice by slice "
                "(XY). Differences between neighbouring slices appear as stripes in XZ and YZ.",
                "Three planes in colour",
            ),
            Figure(orthogonal_planes(volume.read(0, volume.shape[0]), volume.voxel_um), "The same planes of the µCT."),
        ),
    )


def _registration(out: Path) -> tuple[ReportSection, ...]:
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
    last = folder / HELD_OUT / "volume.png"
    images = [read_image(picture)[..., :3] for picture in pictures]
    blocks: list[Block] = [Frames(images, names, "The slides.")]
    if last.is_file():
        blocks.append(
            Figure(last, "The slide of the held-out specimen at its registered position in the volume.", narrow=True)
        )
    return (ReportSection("Registration", (text,), tuple(blocks)),)


def _training(out: Path, config: DemoConfig) -> ReportSection:
    """Show the pairs that were trained on, the losses, and the last sample image."""
    data = load_dataset(out / "dataset")
    trained = data.split(None).train
    pairs = [read_image(data.folder(pair_id) / "qc.png")[..., :3] for pair_id in trained]
    caption = "The training pairs: µCT, histology, checkerboard of both, correspondence mask."
    blocks: list[Block] = [Frames(pairs, list(trained), caption)]
    if has_curves(out / "run" / "metrics.csv"):
        blocks.append(Figure(training_curves(out / "run" / "metrics.csv"), "Losses while training.", wide=True))
    samples = sorted((out / "run" / "samples").glob("*.png"))
    if samples:
        caption = (
            "A patch at the last step: µCT, generated histology, mask, real histology, and generated µCT if the recipe "
            "has a generator for it."
        )
        blocks.append(Figure(samples[-1], caption, narrow=True))
    text = (
        f"These {len(trained)} pairs were trained on, for {config.steps} steps. The slides have the cracks, saw marks "
        f"and uneven light of a laboratory. The pair of the specimen '{', '.join(data.test)}' is not among them."
    )
    return ReportSection("Training", (text,), tuple(blocks))


def _times(seconds: Mapping[str, float]) -> tuple[ReportSection, ...]:
    """Show the time of each stage. That of the last one is not known yet when the page is written."""
    if not seconds:
        return ()
    rows = [(name, f"{value:.0f}") for name, value in seconds.items()]
    total = sum(seconds.values())
    text = f"The stages before this page took {total / 60:.1f} minutes of wall time on the machine named below."
    return (
        ReportSection("Time", (text,), (MetricTable(("stage", "seconds"), (*rows, ("together", f"{total:.0f}"))),)),
    )
