"""Agreement of the measures of phantoms with their truth, in 3D: from the stain, from the µCT, from both.

    python -m studies.measure.agreement STUDY STAINED OUT [--parts contact shells degradation] [--jobs 2]
    python -m studies.measure.agreement STUDY STAINED OUT --report

STUDY is the folder that `studies.measure.specimens` made, STAINED has their stained volumes, test/NAME, by
`tomostain stain builtin:phantom-tb`. For every test specimen the true labels are measured, and those that the built-in
classifiers find. OUT/rows has one table for each specimen, source and group of measures; existing ones are reused.
The report prints bias, limits of agreement and concordance, and writes them to OUT/agreement.csv.
"""

import argparse
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile
import torch
from numpy.typing import NDArray

from tomostain.config import read_yaml
from tomostain.errors import InputError
from tomostain.figures.charts import draw_identity
from tomostain.imaging.intensity import IntensityReference
from tomostain.io import open_stained, open_volume, write_image
from tomostain.measure.classes import phantom_classes
from tomostain.measure.config import MeasureConfig
from tomostain.measure.initial import KnownImplant, known_implant
from tomostain.measure.label_source import LabelArray
from tomostain.measure.morphometry.initial_geometry import geometry_from_mask
from tomostain.measure.rows import measure_rows
from tomostain.measure.statistics.agreement import agreement
from tomostain.measure.tissue.classifier_files import builtin_classifier, load_classifier
from tomostain.measure.tissue.classify import classify_volume
from tomostain.measure.volume import PARTS, measure_labels
from tomostain.phantom.screw import screw_distance
from tomostain.phantom.specimen import load_specimen

SOURCES = ("truth", "stain", "ct", "both", "stain-fitted", "ct-fitted", "both-fitted")
"""With ``-fitted``: contact and shells at the surface of the fitted screw."""
STAIN = "toluidine-blue"


def labels_of(folder: Path, stained: Path, source: str, stored: Path) -> LabelArray:
    """Return the labels of a specimen: its truth, or classified from a source. They are stored for another run."""
    volume = open_volume(folder / "volume")
    if source == "truth":
        return LabelArray(phantom_classes(tifffile.imread(folder / "truth" / "labels.tif")), volume.voxel_um)
    if stored.is_file():
        return LabelArray(tifffile.imread(stored), volume.voxel_um)
    drawn = open_stained(stained)
    levels = drawn.provenance["levels"]
    classifier = load_classifier(builtin_classifier(source, STAIN))  # type: ignore[arg-type]
    found = classify_volume(
        classifier,
        stained=drawn,
        ct=volume,
        reference=IntensityReference(float(levels["background"]), float(levels["bone"])),
    )
    assert found.labels is not None
    stored.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(stored, found.labels, compression="zlib")
    return LabelArray(found.labels, volume.voxel_um)


def true_geometry(folder: Path, labels: LabelArray) -> Any:
    """Return volume and surface of the new screw in the field of view, from the phantom's own geometry."""
    pose = load_specimen(folder).anatomy.pose

    def read(start: int, stop: int) -> Any:
        index = np.stack(np.meshgrid(np.arange(start, stop), *map(np.arange, labels.shape[1:]), indexing="ij"), -1)
        points = pose.to_specimen(index.reshape(-1, 3) * labels.voxel_um).astype(np.float32)
        return (screw_distance(points) < 0).reshape(index.shape[:3])

    return geometry_from_mask(read, labels.shape, labels.voxel_um, max_bytes=100_000_000)


def measure_one(folder: Path, stained: Path, source: str, parts: tuple[str, ...], out: Path) -> str:
    """Measure one specimen from one source, and write its rows."""
    torch.set_num_threads(1)
    missing = [part for part in parts if not (out / "rows" / f"{folder.name}-{source}-{part}.csv").is_file()]
    if not missing:
        return f"{folder.name} {source}: exists"
    image = source.removesuffix("-fitted")
    labels = labels_of(folder, stained, image, out / "labels" / f"{folder.name}-{image}.tif")
    facts = read_yaml(folder / "specimen.yaml")
    surface = "labels" if image == source else "fitted"
    values = {"implant": facts["implant"], "weeks": facts["weeks"], "geometry": "m2-screw", "surface": surface}
    config = MeasureConfig.from_dict(values)
    known = None
    try:
        if source == "truth" and "degradation" in missing:
            known = KnownImplant(true_geometry(folder, labels))
        elif surface == "fitted" or "degradation" in missing:
            known = known_implant(config, labels)
    except InputError as error:
        if surface == "fitted":
            return f"{folder.name} {source}: {error}"
        print(folder.name, source, error)
    for part in missing:
        measured = measure_labels(labels, config, parts=(part,), known=known)
        rows = pd.DataFrame(measure_rows(measured.measures, specimen=folder.name, source=source))
        for name in ("implant", "weeks"):
            rows[name] = facts[name]
        rows["energy_kev"] = facts["config"]["tomography"]["energy_kev"]
        rows.to_csv(out / "rows" / f"{folder.name}-{source}-{part}.csv", index=False)
    return f"{folder.name} {source}: {', '.join(missing)}"


def run(options: argparse.Namespace) -> None:
    """Measure the test specimens."""
    study, stained, out = options.study, options.stained, options.out
    (out / "rows").mkdir(parents=True, exist_ok=True)
    folders = sorted(path for path in (study / "test").iterdir() if path.is_dir())
    folders = folders[: options.specimens]
    with ProcessPoolExecutor(options.jobs) as pool:
        tasks = [
            pool.submit(measure_one, folder, stained / "test" / folder.name, source, tuple(options.parts), out)
            for folder in folders
            for source in options.sources
        ]
        for task in tasks:
            print(task.result(), flush=True)


def stored_rows(out: Path, max_energy_kev: float | None = None) -> pd.DataFrame:
    """Return the rows of all specimens.

    Parameters
    ----------
    out : Path
    max_energy_kev : float, optional
        Only specimens that were scanned at most at this energy. Above the K edge of gadolinium (50.2 keV) metal and
        layer of Mg-10Gd can be brighter than the 16-bit scale of the phantom's scanner.
    """
    rows = pd.concat([pd.read_csv(path) for path in sorted((out / "rows").glob("*.csv"))])
    return rows if max_energy_kev is None else rows[rows["energy_kev"] <= max_energy_kev]


def agreement_table(rows: pd.DataFrame, sources: Iterable[str] = SOURCES[1:]) -> pd.DataFrame:
    """Return the agreement of each source with the source ``truth``, for each measure and region.

    Parameters
    ----------
    rows : DataFrame
    sources : iterable of str

    Returns
    -------
    DataFrame
        Bias with its 95 % interval, limits of agreement, Lin's concordance with its 95 % interval, and the bias in
        percent of the mean true value.
    """
    result = []
    keys = ["measure", "symbol", "region", "unit"]
    for key, group in rows.groupby(keys, sort=False):
        wide = group.pivot(index="specimen", columns="source", values="value")
        for source in sources:
            both = wide[["truth", source]].dropna() if source in wide else wide.iloc[:0]
            if len(both) < 3:
                continue
            found = agreement(both[source], both["truth"])
            values = dict(zip(keys, key, strict=True)) | {"source": source, "n": found.n, "truth": both["truth"].mean()}
            values |= {"bias": found.bias.value, "bias_low": found.bias.low, "bias_high": found.bias.high}
            values |= {"loa_low": found.lower.value, "loa_high": found.upper.value}
            values |= {"ccc": found.concordance.value}
            values |= {"ccc_low": found.concordance.low, "ccc_high": found.concordance.high}
            values["bias_percent"] = 100 * found.bias.value / both["truth"].mean()
            result.append(values)
    return pd.DataFrame(result)


def contact_figure(rows: pd.DataFrame) -> NDArray[np.uint8]:
    """Return a plot of the contact from stain and µCT against the truth, for both surfaces of the implant."""
    wide = rows[rows["measure"] == "bic_surface"].pivot(index="specimen", columns="source", values="value")
    names = {"both": "surface of the labels", "both-fitted": "surface of the fitted screw"}
    pairs = {name: wide[["truth", source]].dropna() for source, name in names.items()}
    series = {name: (both.iloc[:, 0].to_numpy(), both.iloc[:, 1].to_numpy()) for name, both in pairs.items()}
    return draw_identity(series, "%", title="BIC from stain and µCT")


def main() -> None:
    """Measure, or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("stained", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=["contact", "shells", "degradation"])
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--specimens", type=int, help="only the first ones")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--with-value-of", choices=SOURCES, help="only specimens whose contact this source gives")
    parser.add_argument("--figure", type=Path, help="plot of the contact against the truth")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--max-energy-kev", type=float)
    options = parser.parse_args()
    if not options.report:
        run(options)
    rows = stored_rows(options.out, options.max_energy_kev)
    if options.with_value_of is not None:
        measured = rows[(rows["source"] == options.with_value_of) & (rows["measure"] == "bic_surface")]
        rows = rows[rows["specimen"].isin(measured["specimen"])]
    found = agreement_table(rows)
    found.to_csv(options.out / "agreement.csv", index=False)
    if options.figure is not None:
        write_image(options.figure, contact_figure(rows), overwrite=True)
    with pd.option_context("display.width", 250, "display.max_rows", 500, "display.max_columns", 20):
        print(found.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
