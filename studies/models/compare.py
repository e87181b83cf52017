"""Compare models of one stain on the test pairs of a family: quality, degradation layer, and what is flagged.

    python -m studies.models.compare FAMILY OLD NEW [--phantoms FOLDER] [--real SHARED_DATA]

FAMILY comes from `studies.models.family`. Test specimens ``s…`` have a section along the screw, ``o…`` one near slices
of a volume of random orientation. FOLDER holds phantoms with default options, one folder each. Prints tables.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from studies.models.family import slices_anatomy, slices_member
from studies.novelty.kinds import Slices, normalised, zoomed
from studies.novelty.run import rat_jaw
from studies.table1.data import labels_on_pair
from tomostain.dataset.dataset import Dataset, load_dataset
from tomostain.evaluate import evaluate_models
from tomostain.evaluate.config import PAPER
from tomostain.geometry.section import Section
from tomostain.io import Volume, open_volume, read_image, write_image
from tomostain.io.models import load_model
from tomostain.ood import TrainingReference
from tomostain.ood.novelty import novel_share
from tomostain.phantom.tomography import tomograph

METRICS = ("ssim", "lpips", "psnr")
LAYER = ("metal_in_degradation", "degradation_dice")
# Specimens of random orientation that no family of at most 72 has.
NEW = range(72, 88)
KINDS = {"s": "along the screw", "o": "random orientation"}


def write_labels(family: Path) -> None:
    """Write the tissue of each pixel next to each pair, for the metrics of the layer."""
    data = load_dataset(family / "dataset")
    for pair_id in data.ids:
        path = family / "dataset" / "pairs" / pair_id / "labels.tif"
        if not path.is_file():
            pair = data.load(pair_id)
            labels = read_image(family / "specimens" / pair_id / "truth" / "slide_labels.tif")
            section = Section.from_dict(pair.section or {})
            write_image(path, labels_on_pair(labels, 10.0, section, pair.mask.shape, pair.voxel_um))


def quality(family: Path, models: Sequence[str]) -> None:
    """Print medians over the test patches, and over the test images for the layer."""
    frame = evaluate_models(
        {f"{n}": model for n, model in enumerate(models)},
        family / "dataset",
        split="test",
        baselines=False,
        metrics=(*METRICS, *LAYER),
    )
    print("\n| test pairs | model | SSIM | LPIPS | PSNR / dB | layer stained as metal / % | degradation Dice |")
    print("|---|---|---|---|---|---|---|")
    for kind, name in KINDS.items():
        for number, model in enumerate(models):
            rows = frame[(frame["model"] == f"{number}") & frame["pair"].str.startswith(kind)]
            patches = rows[(rows["scope"] == "patch") & (rows["protocol"] == PAPER)]
            images = rows[rows["scope"] == "image"]
            values = [f"{patches[metric].median():.3f}" for metric in METRICS]
            values += [f"{images[metric].median():.3f}" for metric in LAYER]
            print(f"| {name} | `{model}` | {' | '.join(values)} |")
    frame.to_csv(family / "compare.csv")


def grown(number: int, noise: float | None = None) -> Slices:
    """Return slices of a specimen with random orientation that the family does not have, or of its noisier scan."""
    config = slices_member(number, "toluidine-blue")
    if noise is not None:
        config = config.model_copy(update={"tomography": config.tomography.model_copy(update={"noise": noise})})
    volume, _ = tomograph(slices_anatomy(config)[0])
    return normalised(Volume.from_array(volume, voxel_um=config.voxel_um, name=f"{number}"), f"{number}")


def kinds(data: Dataset, phantoms: Path | None, real: Path | None) -> Iterator[tuple[str, list[Slices]]]:
    """Yield the name of each kind of volume, and its slices."""
    test = {kind: [data.load(i).ct[None] for i in data.test if i.startswith(kind)] for kind in KINDS}
    for kind, name in KINDS.items():
        yield f"own test pairs, {name}", test[kind]
    yield "own, random orientation, slices", [grown(number) for number in NEW]
    if phantoms is not None:
        volumes = sorted(path / "volume" for path in phantoms.iterdir())
        yield "phantoms with default options", [normalised(open_volume(path), str(path)) for path in volumes]
    both = [test[kind][number].astype(np.float32) for kind in KINDS for number in range(len(test[kind]))]
    for factor in (0.5, 2.0):
        yield f"resampled x{factor:g}", [zoomed(each, factor) for each in both]
    for sigma in (1.5, 2.5):
        yield f"blur {sigma:g} px", [ndimage.gaussian_filter(each, (0, sigma, sigma)) for each in both]
    for noise in (0.09, 0.18):
        yield f"noise {noise:g} (the family: 0.01 to 0.06)", [grown(number, noise) for number in (600, 601, 602)]
    if real is not None:
        bone = open_volume(real / "trabecular_bone", voxel_um=19.5)
        yield "real trabecular bone, 19.5 µm", [normalised(bone, "trabecular bone")]
        yield "real rat jaw, 20.46 µm", [rat_jaw(real)]


def flagged(family: Path, models: Sequence[str], phantoms: Path | None, real: Path | None) -> None:
    """Print the share of each kind of volume that the models' references flag: mean, and range over the volumes."""
    references = [TrainingReference.from_arrays(load_model(model).training_reference or {}, model) for model in models]
    print(f"\n| flagged | {' | '.join(f'`{model}`' for model in models)} |\n|---|{'---|' * len(models)}")
    for name, volumes in kinds(load_dataset(family / "dataset"), phantoms, real):
        shares = pd.DataFrame([[novel_share(volume, each) for each in references] for volume in volumes])
        cells = [f"{shares[n].mean():.3f} ({shares[n].min():.3f}–{shares[n].max():.3f})" for n in shares]
        print(f"| {name} ({len(volumes)}) | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", type=Path)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--phantoms", type=Path)
    parser.add_argument("--real", type=Path)
    options = parser.parse_args()
    write_labels(options.family)
    quality(options.family, options.models)
    flagged(options.family, options.models, options.phantoms, options.real)


if __name__ == "__main__":
    main()
