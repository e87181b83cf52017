"""Train the built-in classifiers of tissue on phantoms.

    python -m studies.measure.train_classifiers STUDY OUT --tb STAINED --he STAINED [--voxels 20000]
    python -m studies.measure.train_classifiers STUDY OUT --tb STAINED --wide

STUDY has the training specimens of `studies.measure.specimens`, STAINED their volumes under the same names, stained
with builtin:phantom-tb and builtin:phantom-he. Writes OUT/NAME, a folder for each classifier. The real sections that
train the classifiers of sections are the slides of the specimens; for H&E they are made again from the same specimens
with the other stain. `--wide` trains classifiers that are not shipped, for `studies.measure.segmentation`: with a wider
field of view and three times the capacity.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray

from tomostain.config import read_yaml
from tomostain.imaging.colour import normalise_histology
from tomostain.imaging.intensity import normalise_ct
from tomostain.imaging.intensity_estimation import volume_reference
from tomostain.integers import to_integers
from tomostain.io import open_stained, open_volume, read_image
from tomostain.measure.classes import Labels, TissueClass, phantom_classes
from tomostain.measure.tissue.channels import ct_channel, stain_channels
from tomostain.measure.tissue.classifier import ClassifierSpec, TrainingFacts, Variant
from tomostain.measure.tissue.classifier_files import save_classifier
from tomostain.measure.tissue.features import FeatureReader, FeatureSpec, image_features
from tomostain.measure.tissue.training import Samples, TrainingConfig, choose_voxels, train_classifier
from tomostain.phantom import PhantomConfig, grow_anatomy, make_slide, section_through_screw

VOXEL_UM = 20.0
FEATURES = FeatureSpec(scales=(1, 2, 4, 8, 16), gradients=(1, 2, 4, 8), extremes=(2, 4, 8))
SECTION_FEATURES = FeatureSpec(dimension=2, scales=(1, 2, 4, 8, 16), gradients=(1, 2, 4, 8), extremes=(2, 4, 8))
WIDE = FeatureSpec(scales=(1, 2, 4, 8, 16, 32), gradients=(1, 2, 4, 8, 16), extremes=(2, 4, 8, 16))
TRAINING = TrainingConfig()
MODELS = {"toluidine-blue": "builtin:phantom-tb", "h&e": "builtin:phantom-he"}
SHORT = {"toluidine-blue": "tb", "h&e": "he"}
SUMMARY = {
    "stain": "Tissue from the colours of a stained volume",
    "ct": "Tissue from the µCT alone",
    "both": "Tissue from the colours of a stained volume and the µCT",
    "section": "Tissue from the colours of a real or virtual section",
}
NO_METAL = ". In H&E the metal is cut out: its white place differs from void by its surroundings only"


def truth(folder: Path) -> Labels:
    """Return the true classes of the voxels of a specimen."""
    return phantom_classes(tifffile.imread(folder / "truth" / "labels.tif"))


def volume_samples(folder: Path, stained: Path | None, spec: ClassifierSpec, voxels: int, seed: int) -> Samples:
    """Return the features of random voxels: from stain and µCT together, or from the µCT alone."""
    ct, colours = open_volume(folder / "volume"), None if stained is None else open_stained(stained)
    reference, labels = volume_reference(ct), truth(folder)
    chosen = choose_voxels(labels, voxels, seed)

    def read(start: int, stop: int) -> NDArray[np.float32]:
        parts = [ct_channel(normalise_ct(ct.read(start, stop), reference))]
        if colours is not None:
            parts.insert(0, stain_channels(colours.read(start, stop), spec.stain or ""))
        return np.moveaxis(np.concatenate(parts), 1, 0)

    reader = FeatureReader(read, ct.shape, spec.features)
    area = ct.shape[1] * ct.shape[2]
    parts = []
    for z in range(ct.shape[0]):
        if z % 8 == 0:
            reader.prepare(z, min(z + 8, ct.shape[0]))
        inside = chosen[(chosen >= z * area) & (chosen < (z + 1) * area)] - z * area
        parts.append(reader.features(z).reshape(-1, area)[:, inside].T)
    return Samples(folder.name, np.concatenate(parts), labels.reshape(-1)[chosen])


def real_section(folder: Path, stain: str) -> tuple[NDArray[np.uint8], Labels]:
    """Return the normalised slide of a specimen at the voxel size, and its classes; damage is not measured."""
    config = PhantomConfig.from_dict(read_yaml(folder / "specimen.yaml")["config"], str(folder))
    if stain == config.stain:
        rgb, labels = read_image(folder / "slide.ome.tif"), read_image(folder / "truth" / "slide_labels.tif")
        damaged = read_image(folder / "truth" / "damaged.tif") > 0
    else:
        other = PhantomConfig.from_dict(config.model_dump() | {"stain": stain})
        anatomy = grow_anatomy(other)
        slide = make_slide(anatomy, *section_through_screw(other, anatomy.pose))
        rgb, labels, damaged = slide.rgb, slide.labels, slide.damaged
    classes = phantom_classes(labels)
    classes[damaged] = TissueClass.NOT_MEASURED
    factor = round(VOXEL_UM / config.pixel_um)
    return coarser(normalise_histology(rgb), classes, factor)


def coarser(rgb: NDArray[np.uint8], classes: Labels, factor: int) -> tuple[NDArray[np.uint8], Labels]:
    """Return the mean colours and the most frequent classes of blocks of pixels."""
    rows, columns = (side // factor for side in classes.shape)
    blocks = classes[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    blocks = blocks.swapaxes(1, 2).reshape(rows, columns, -1)
    counts = np.stack([(blocks == each).sum(axis=-1) for each in TissueClass])
    colours = rgb[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor, 3).mean(axis=(1, 3))
    return to_integers(colours, np.uint8, "colours"), np.array(list(TissueClass), np.uint8)[counts.argmax(axis=0)]


def section_samples(folder: Path, stain: str, seed: int, pixels: int) -> Samples:
    """Return the features of random pixels of the slide."""
    rgb, labels = real_section(folder, stain)
    features = image_features(stain_channels(rgb, stain), SECTION_FEATURES)
    chosen = choose_voxels(labels, pixels, seed)
    return Samples(folder.name, features.reshape(len(features), -1)[:, chosen].T, labels.reshape(-1)[chosen])


def spec_of(variant: Variant, stain: str) -> ClassifierSpec:
    """Return the specification of a built-in classifier."""
    uses_stain = variant != "ct"
    text = SUMMARY[variant] + (NO_METAL if stain == "h&e" and variant in ("stain", "section") else "")
    return ClassifierSpec(
        variant=variant,
        stain=stain if uses_stain else None,
        voxel_um=VOXEL_UM,
        features=SECTION_FEATURES if variant == "section" else FEATURES,
        training=TrainingFacts(model=MODELS[stain] if variant in ("stain", "both") else ""),
        summary=text + f"; trained on phantoms at {VOXEL_UM:g} µm",
    )


def name_of(spec: ClassifierSpec) -> str:
    """Return the name of a built-in classifier."""
    return f"phantom-{spec.variant}" if spec.stain is None else f"phantom-{SHORT[spec.stain]}-{spec.variant}"


def columns_of(spec: ClassifierSpec) -> list[int]:
    """Return the columns of the features of stain and µCT together that a variant uses."""
    everything = spec_of("both", "toluidine-blue").feature_names
    return [everything.index(name) for name in spec.feature_names]


def train_all(study: Path, stained: dict[str, Path], out: Path, voxels: int) -> None:
    """Train and save the classifiers."""
    folders = sorted(path.parent for path in study.glob("*/specimen.yaml"))
    for stain, where in stained.items():
        started = time.process_time()
        samples = [
            volume_samples(each, where / each.name, spec_of("both", stain), voxels, i) for i, each in enumerate(folders)
        ]
        print(f"{stain}: features {time.process_time() - started:.0f} s", flush=True)
        variants: tuple[Variant, ...] = ("stain", "ct", "both") if stain == "toluidine-blue" else ("stain", "both")
        for variant in variants:
            spec = spec_of(variant, stain)
            save(out, spec, [each.part(columns_of(spec)) for each in samples])
        save(
            out, spec_of("section", stain), [section_samples(each, stain, i, voxels) for i, each in enumerate(folders)]
        )


def train_wide(study: Path, stained: Path, out: Path, voxels: int) -> None:
    """Train classifiers with a wider field of view and three times the capacity."""
    folders = sorted(path.parent for path in study.glob("*/specimen.yaml"))
    update = {"features": WIDE, "hidden": 96}
    everything = spec_of("both", "toluidine-blue").model_copy(update=update)
    samples = [volume_samples(each, stained / each.name, everything, voxels, i) for i, each in enumerate(folders)]
    for variant in ("ct", "both", "stain"):
        spec = spec_of(variant, "toluidine-blue").model_copy(update=update)
        columns = [everything.feature_names.index(name) for name in spec.feature_names]
        save(out, spec, [each.part(columns) for each in samples], f"{name_of(spec)}-wide")


def save(out: Path, spec: ClassifierSpec, samples: list[Samples], name: str = "") -> None:
    """Train, save and report one classifier."""
    name = name or name_of(spec)
    started = time.process_time()
    classifier = train_classifier(samples, spec, TRAINING)
    save_classifier(out / name, classifier, overwrite=True)
    known = classifier.familiarity
    limit = "" if known is None else f", far share limit {known.max_share:.3f}"
    print(f"{name}: {classifier.spec.training.dice}{limit}, {time.process_time() - started:.0f} s", flush=True)


def main() -> None:
    """Train the classifiers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tb", type=Path, metavar="STAINED")
    parser.add_argument("--he", type=Path, metavar="STAINED")
    parser.add_argument("--wide", action="store_true")
    parser.add_argument("--voxels", type=int, default=20_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    stained = {"toluidine-blue": options.tb, "h&e": options.he}
    if options.wide:
        train_wide(options.study, options.tb, options.out, options.voxels)
    else:
        train_all(options.study, {stain: path for stain, path in stained.items() if path}, options.out, options.voxels)


if __name__ == "__main__":
    main()
