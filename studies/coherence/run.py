"""Flicker of stained volumes from slice to slice, and methods against it, on phantoms with a known stain in 3D.

    python -m studies.coherence.run OUT --specimens SPECIMENS --model NAME=FOLDER [NAME=FOLDER ...]

SPECIMENS is the folder OUT/specimens of `studies.table1.data`. Each model stains the volumes of the test specimens
slice by slice (the method of the paper: each tile has its own statistics), with the statistics of the volume, along
three axes, and in exact tiles where its normalisation allows them. The stripe index
(`tomostain.evaluate.metrics.stripes`) of each is computed, and SSIM, LPIPS and PSNR against the ideal stain of every
eighth slice. Existing volumes are reused.

With --drift 0.02 the scans drift (`studies.coherence.drift`). The stripe index always refers to the scan without drift,
so that stripes of the scan in the stained volume count.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from studies.coherence.drift import drifted_scan
from studies.table1.data import FIRST_SEED
from studies.table1.editions import EDITIONS, specimen_values
from tomostain.evaluate.intervals import median_interval
from tomostain.evaluate.metrics.lpips import Lpips
from tomostain.evaluate.metrics.patch import patch_metrics
from tomostain.evaluate.metrics.stripes import draw_stripes, stripe_index
from tomostain.io import open_stained, open_volume, write_image
from tomostain.phantom import PhantomConfig
from tomostain.phantom.anatomy import grow_anatomy
from tomostain.phantom.specimen import Specimen, truth_slice
from tomostain.stain import StainConfig, load_translator, stain_volume

EDITION = EDITIONS["cpu"]
EVERY = 8
METRICS = ("ssim", "lpips", "psnr")
WAYS: dict[str, dict[str, Any]] = {
    "slice by slice, mean": {"blend": "mean"},
    "slice by slice, Hann": {"blend": "hann"},
    "3 axes, mean": {"blend": "hann", "planes": "zyx", "fuse": "mean"},
    "3 axes, median": {"blend": "hann", "planes": "zyx", "fuse": "median"},
    "3 axes, weighted": {"blend": "hann", "planes": "zyx", "fuse": "weighted"},
    "volume statistics, mean": {"blend": "mean", "statistics": "volume"},
    "volume statistics, exact tiles": {"blend": "exact", "statistics": "volume"},
    "volume statistics, exact tiles, 3 axes, mean": {
        "blend": "exact",
        "statistics": "volume",
        "planes": "zyx",
        "fuse": "mean",
    },
    "volume statistics, exact tiles, 3 axes, median": {
        "blend": "exact",
        "statistics": "volume",
        "planes": "zyx",
        "fuse": "median",
    },
    "exact tiles": {"blend": "exact"},
    "exact tiles, 3 axes, median": {"blend": "exact", "planes": "zyx", "fuse": "median"},
}


def ways_of(model: Path, chosen: Sequence[str]) -> Iterator[tuple[str, StainConfig]]:
    """Return the selected staining methods that a model supports."""
    by_tile = load_translator(model, "cpu").spec.generator.get("norm", "instance") == "instance"
    for name, values in ((name, WAYS[name]) for name in chosen):
        pooled = "statistics" in values
        if (by_tile or not pooled) and (values["blend"] != "exact" or pooled or not by_tile):
            yield name, StainConfig(stride_px=EDITION.stride_px, **values)


def way_folder(out: Path, model: str, scan: str, way: str) -> Path:
    """Return the path of a stained volume."""
    return out / model / scan / f"{way.replace(', ', '-').replace(' ', '-')}.ome.zarr"


def specimen_of(number: int, folder: Path) -> Specimen:
    """Grow a phantom of the study again and return it. It is not stored on disk."""
    config = PhantomConfig.from_dict(specimen_values(EDITION, number, FIRST_SEED))
    return Specimen(folder.name, config, grow_anatomy(config))


def truths(specimen: Specimen) -> dict[int, tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    """Return the ideal stain of every eighth slice, and the mask of the tissue."""
    depth = specimen.config.shape[0]
    return {z: truth_slice(specimen, z) for z in range(EVERY // 2, depth, EVERY)}


def truth_index(specimen: Specimen, original: Path) -> float:
    """Return the stripe index of the ideal stain."""
    stain = np.stack([truth_slice(specimen, z)[0] for z in range(specimen.config.shape[0])])
    return stripe_index(stain, open_volume(original)).index


def judge(stained: Path, ct: Path, truth: dict[int, Any], lpips: Lpips) -> dict[str, float]:
    """Return stripe index, flicker and the medians of the metrics over patches."""
    volume = open_stained(stained)
    stripes = stripe_index(volume, open_volume(ct))
    records = []
    for z, (real, mask) in truth.items():
        sizes = (EDITION.patch_px, EDITION.stride_px)
        records += patch_metrics(volume.read(z, z + 1)[0], real, mask, *sizes, lpips)
    scores = {metric: float(np.median([r[metric] for r in records])) for metric in METRICS}
    return {"stripe index": stripes.index, "flicker": stripes.flicker, **scores}


def main() -> None:
    """Stain, evaluate, print a table and draw a figure per method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--specimens", type=Path, required=True)
    parser.add_argument("--model", nargs="+", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--numbers", nargs="+", type=int, default=list(range(22, 30)))
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--drift", type=float, default=0.0)
    options = parser.parse_args()
    lpips, records = Lpips("alex"), []
    for number in options.numbers:
        original = options.specimens / f"p{number:02d}" / "volume"
        specimen, scan = specimen_of(number, original.parent), f"p{number:02d}"
        truth, ct = truths(specimen), original
        print(
            json.dumps({"specimen": number, "stripe index of the truth": truth_index(specimen, original)}), flush=True
        )
        if options.drift:
            scan += f"-drift-{options.drift:g}"
            ct = drifted_scan(original, options.out / "scans" / scan, options.drift, number)
        for name, folder in (text.split("=", 1) for text in options.model):
            for way, config in ways_of(Path(folder), options.ways):
                stained = way_folder(options.out, name, scan, way)
                stain_volume(Path(folder), ct, stained, config=config)
                record = {"model": name, "way": way, "specimen": number, "drift": options.drift}
                record |= judge(stained, original, truth, lpips)
                records.append(record)
                print(json.dumps(record), flush=True)
                if number == options.numbers[0]:
                    stripes = stripe_index(open_stained(stained), open_volume(original))
                    write_image(
                        stained.with_suffix(".png"), draw_stripes(open_stained(stained), stripes), overwrite=True
                    )
    print(table(records))


def table(records: list[dict[str, Any]]) -> str:
    """Return a line per model and method: medians over specimens with 95 % intervals."""
    columns = ("stripe index", "flicker", *METRICS)
    lines = [f"| model | way | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    for model, way in dict.fromkeys((record["model"], record["way"]) for record in records):
        chosen = [r for r in records if (r["model"], r["way"]) == (model, way)]
        names = [str(r["specimen"]) for r in chosen]
        cells = [str(median_interval([r[column] for r in chosen], names)) for column in columns]
        lines.append(f"| {model} | {way} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
