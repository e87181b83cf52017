"""Does staining help segmentation? Classes of tissue from the stain, from the µCT, and from both.

    python -m studies.measure.segmentation STUDY STAINED OUT [--stain h&e] [--classifier NAME=FOLDER …] [--sections]

STUDY has specimens of `studies.measure.specimens` that trained no classifier, STAINED their stained volumes under the
same names. All variants see the same features, training voxels and capacity. Every STEP-th slice counts. Writes
OUT/segmentation.csv (Dice and relative error of the volume of each class and specimen), OUT/confusion.json and
OUT/segmentation.txt (means, and paired differences with 95 % bootstrap intervals over specimens). `--sections`
classifies the real slide of each specimen, and the same plane stained by the model, with the classifier of sections;
its files begin with section-.
"""

import argparse
import csv
import json
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tifffile
import yaml
from numpy.typing import NDArray
from scipy.stats import bootstrap

from studies.measure.train_classifiers import VOXEL_UM, coarser, real_section, truth
from tomostain.config import read_yaml
from tomostain.errors import OutOfDistributionWarning
from tomostain.geometry.section import Section, grid_um, interpolate
from tomostain.imaging.intensity import IntensityReference, normalise_ct
from tomostain.imaging.intensity_estimation import volume_reference
from tomostain.io import Volume, open_stained, open_volume, read_image
from tomostain.measure.classes import CLASSES, Labels, TissueClass, phantom_classes
from tomostain.measure.tissue.channels import ct_channel, stain_channels
from tomostain.measure.tissue.classifier import CT_CHANNEL, STAIN_CHANNELS, TissueClassifier
from tomostain.measure.tissue.classifier_files import load_classifier
from tomostain.measure.tissue.classify import classify_image
from tomostain.measure.tissue.features import FeatureReader
from tomostain.stain import load_stainer

STAIN = "toluidine-blue"
SHORT = {"toluidine-blue": "tb", "h&e": "he"}
SECTION = "builtin:phantom-tb-section"
MODEL = "builtin:phantom-tb"
MIN_VOXELS = 500
"""Fewer voxels of a class give no Dice coefficient of a specimen."""
FAR_STEP = 31
Counts = NDArray[np.int64]
Row = dict[str, str | float]


def confusion(truth: Labels, found: Labels) -> Counts:
    """Return the number of voxels by true class (rows) and found class (columns); `NOT_MEASURED` does not count."""
    n = len(CLASSES)
    measured = truth != TissueClass.NOT_MEASURED
    pairs = truth[measured].astype(np.int64) * n + found[measured]
    return np.bincount(pairs, minlength=n * n).reshape(n, n)


def dice(counts: Counts) -> NDArray[np.float64]:
    """Return the Dice coefficient of each class; NaN where fewer than `MIN_VOXELS` voxels are of it."""
    size = counts.sum(axis=0) + counts.sum(axis=1)
    with np.errstate(invalid="ignore"):
        values = 2 * np.diag(counts) / size
    return np.where(counts.sum(axis=1) >= MIN_VOXELS, values, np.nan)


def slices_of(
    folder: Path, stained: Path, classifiers: dict[str, TissueClassifier], step: int, stain: str = STAIN
) -> Iterable[tuple[int, dict[str, NDArray[np.float32]]]]:
    """Yield the index of every STEP-th slice and the features for each classifier, (F, Y, X).

    Classifiers with the same specification of features share them.
    """
    ct, colours = open_volume(folder / "volume"), open_stained(stained)
    reference = volume_reference(ct)

    def read(start: int, stop: int) -> NDArray[np.float32]:
        grey = ct_channel(normalise_ct(ct.read(start, stop), reference))
        return np.moveaxis(np.concatenate([stain_channels(colours.read(start, stop), stain), grey]), 1, 0)

    specs = {str(each.spec.features): each.spec.features for each in classifiers.values()}
    readers = {key: FeatureReader(read, ct.shape, spec) for key, spec in specs.items()}
    names = {key: spec.names([*STAIN_CHANNELS, CT_CHANNEL]) for key, spec in specs.items()}
    for start in range(0, ct.shape[0], 8):
        stop = min(start + 8, ct.shape[0])
        for reader in readers.values():
            reader.prepare(start, stop)
        for z in range(-(-start // step) * step, stop, step):
            features = {key: reader.features(z) for key, reader in readers.items()}
            yield z, {name: _columns(features, names, each) for name, each in classifiers.items()}


def _columns(
    features: dict[str, NDArray[np.float32]], names: dict[str, tuple[str, ...]], classifier: TissueClassifier
) -> NDArray[np.float32]:
    key = str(classifier.spec.features)
    return features[key][[names[key].index(name) for name in classifier.spec.feature_names]]


def errors_and_uncertainty(
    folder: Path, stained: Path, classifier: TissueClassifier, step: int = 4
) -> tuple[NDArray[np.bool_], NDArray[np.uint8], NDArray[np.intp]]:
    """Return the inputs of an abstention curve for one specimen.

    Returns
    -------
    wrong : ndarray of bool, shape (n, Y, X)
        Where the class of every `step`-th slice is not the true one.
    uncertainty : ndarray of uint8, shape (n, Y, X)
        1 minus the largest probability, times 255.
    slices : ndarray of int, shape (n,)
        Indices of these slices, with which an uncertainty map of the same volume is read.
    """
    labels = truth(folder)
    wrong, uncertainty, slices = [], [], []
    for z, features in slices_of(folder, stained, {"": classifier}, step):
        found, uncertain = classifier.decide(classifier.probabilities(features[""]))
        wrong.append(found != labels[z])
        uncertainty.append(uncertain)
        slices.append(z)
    return np.stack(wrong), np.stack(uncertainty), np.array(slices)


def virtual_section(folder: Path, reference: IntensityReference | None = None) -> tuple[NDArray[np.uint8], Labels]:
    """Return the µCT under the pixels of the slide, stained, and the classes there; both at the voxel size."""
    values = yaml.safe_load((folder / "truth" / "section.yaml").read_text(encoding="utf-8"))
    pixel_um = float(values.pop("pixel_um"))
    section = Section.from_dict(values)
    volume: Volume = open_volume(folder / "volume")
    shift_um = np.moveaxis(tifffile.imread(folder / "truth" / "shift_um.tif"), 0, -1)
    places = section.slide_to_section_um(grid_um(shift_um.shape[:2], pixel_um)) + shift_um
    factor = round(VOXEL_UM / pixel_um)
    rows, columns = (side // factor for side in shift_um.shape[:2])
    places = places[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor, 2).mean(axis=(1, 3))
    index = section.to_volume_um(places) / np.asarray(volume.voxel_um)
    raw = interpolate(np.asarray(volume), index, fill=np.nan)
    reference = reference or volume_reference(volume)
    ct = normalise_ct(np.where(np.isnan(raw), reference.background, raw), reference)
    labels = read_image(folder / "truth" / "slide_labels.tif")
    classes = coarser(np.zeros((*labels.shape, 3), np.uint8), phantom_classes(labels), factor)[1]
    classes[np.isnan(raw)] = TissueClass.NOT_MEASURED
    return load_stainer(MODEL)(ct, intensity="normalised"), classes


def table(rows: list[Row], baseline: str) -> str:
    """Return means over specimens, and paired differences from a variant with bootstrap intervals, as text."""
    names = list(dict.fromkeys(str(row["variant"]) for row in rows))
    columns = [*(each.name for each in CLASSES), "mean"]
    values = {
        name: np.array([[float(row[column]) for column in columns] for row in rows if row["variant"] == name])
        for name in names
    }
    lines = [f"{'Dice':<20}" + "".join(f"{column:>24}" for column in columns)]
    for name in names:
        lines.append(f"{name:<20}" + "".join(f"{mean:>24.3f}" for mean in np.nanmean(values[name], axis=0)))
    for name in names:
        if name != baseline:
            cells = [interval(values[name][:, i] - values[baseline][:, i]) for i in range(len(columns))]
            lines.append(f"{name + ' - ' + baseline:<20}" + "".join(f"{cell:>24}" for cell in cells))
    lines.append(f"{'volume error':<20}" + "".join(f"{each.name:>24}" for each in CLASSES))
    for name in names:
        errors = np.array([[float(row[f"{c.name} volume"]) for c in CLASSES] for row in rows if row["variant"] == name])
        mean, spread = np.nanmean(errors, axis=0), np.nanstd(errors, axis=0)
        cells = [f"{100 * m:+.1f} ± {100 * s:.1f} %" for m, s in zip(mean, spread, strict=True)]
        lines.append(f"{name:<20}" + "".join(f"{cell:>24}" for cell in cells))
    return "\n".join(lines) + "\n"


def interval(differences: NDArray[np.float64]) -> str:
    """Return the mean of paired differences with its 95 % bootstrap interval over specimens."""
    known = differences[np.isfinite(differences)]
    if len(known) < 2:
        return "-"
    drawn = bootstrap((known,), np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(0))
    low, high = drawn.confidence_interval
    return f"{known.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


def row_of(specimen: str, variant: str, counts: Counts, implant: str = "") -> Row:
    """Return a row of the table: for each class Dice and relative error of the volume, and the mean of the Dice."""
    scores, present = dice(counts), counts.sum(axis=1) >= MIN_VOXELS
    errors = np.where(present, counts.sum(axis=0) / np.maximum(counts.sum(axis=1), 1) - 1, np.nan)
    row: Row = {"specimen": specimen, "implant": implant, "variant": variant}
    row |= {each.name: round(float(score), 4) for each, score in zip(CLASSES, scores, strict=True)}
    row |= {"mean": round(float(np.nanmean(scores)), 4)}
    return row | {f"{each.name} volume": round(float(error), 4) for each, error in zip(CLASSES, errors, strict=True)}


def implant_of(folder: Path) -> str:
    """Return the material of the implant of a specimen."""
    return str(read_yaml(folder / "specimen.yaml")["implant"])


def write(out: Path, prefix: str, rows: list[Row], counts: dict[str, Counts], baseline: str) -> None:
    """Write the results, and print the table."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / f"{prefix}segmentation.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    matrices = {name: each.tolist() for name, each in counts.items()}
    facts = {"classes": [each.name for each in CLASSES], "rows": "true class", "columns": "found class"}
    (out / f"{prefix}confusion.json").write_text(json.dumps(facts | {"counts": matrices}) + "\n", encoding="utf-8")
    metal = [row for row in rows if row["implant"] != "PEEK"]
    text = f"All specimens\n{table(rows, baseline)}\nMetal implants only\n{table(metal, baseline)}"
    (out / f"{prefix}segmentation.txt").write_text(text, encoding="utf-8")
    print(text, flush=True)


def volumes(folders: list[Path], stained: Path, named: dict[str, str], out: Path, step: int, stain: str) -> None:
    """Compare the variants on volumes."""
    classifiers = {name: load_classifier(path) for name, path in named.items()}
    n = len(CLASSES)
    total = {name: np.zeros((n, n), np.int64) for name in named}
    rows, far = [], {name: [] for name in named}
    for folder in folders:
        labels = truth(folder)
        counts = {name: np.zeros((n, n), np.int64) for name in named}
        samples: dict[str, list[NDArray[np.float32]]] = {name: [] for name in named}
        for z, features in slices_of(folder, stained / folder.name, classifiers, step, stain):
            for name, each in features.items():
                counts[name] += confusion(labels[z], classifiers[name].decide(classifiers[name].probabilities(each))[0])
                samples[name].append(each.reshape(len(each), -1)[:, ::FAR_STEP])
        for name in named:
            total[name] += counts[name]
            rows.append(row_of(folder.name, name, counts[name], implant_of(folder)))
            known = classifiers[name].familiarity
            if known is not None:
                far_voxels, voxels = known.far(np.concatenate(samples[name], axis=1))
                far[name].append(round(far_voxels / voxels / known.max_share, 2))
        print(folder.name, {str(row["variant"]): row["mean"] for row in rows[-len(named) :]}, flush=True)
    print(f"share of voxels unlike the training data, relative to the limit: {far}")
    write(out, "", rows, total, "ct")


def sections(folders: list[Path], out: Path) -> None:
    """Compare real and virtual sections, by the same classifier."""
    classifier = load_classifier(SECTION)
    n = len(CLASSES)
    total = {name: np.zeros((n, n), np.int64) for name in ("real", "virtual")}
    rows, shares = [], {"real": [], "virtual": []}
    for folder in folders:
        for name, (rgb, classes) in (("real", real_section(folder, STAIN)), ("virtual", virtual_section(folder))):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", OutOfDistributionWarning)
                found = classify_image(classifier, rgb, VOXEL_UM)
            assert found.labels is not None
            counts = confusion(classes, found.labels)
            total[name] += counts
            shares[name].append(round(found.far_share, 4))
            rows.append(row_of(folder.name, name, counts, implant_of(folder)))
    write(out, "section-", rows, total, "real")
    limit = None if classifier.familiarity is None else classifier.familiarity.max_share
    print(f"far shares (limit {limit}): {shares}")


def main() -> None:
    """Compare the variants."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("stained", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--classifier", nargs="*", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--step", type=int, default=4)
    parser.add_argument("--stain", choices=SHORT, default=STAIN, help="that of the stained volumes")
    parser.add_argument("--sections", action="store_true")
    options = parser.parse_args()
    folders = sorted(path.parent for path in options.study.glob("*/specimen.yaml"))
    if options.sections:
        sections(folders, options.out)
    else:
        more = dict(each.split("=", 1) for each in options.classifier)
        short = SHORT[options.stain]
        builtin = {name: f"builtin:phantom-{short}-{name}" for name in ("stain", "ct", "both")}
        builtin["ct"] = "builtin:phantom-ct"
        folders = [folder for folder in folders if (options.stained / folder.name).exists()]
        volumes(folders, options.stained, builtin | more, options.out, options.step, options.stain)


if __name__ == "__main__":
    main()
