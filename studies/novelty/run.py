"""Which detector separates a model's own kind of volume from others? Choose on phantoms, confirm on real volumes.

    python -m studies.novelty.kinds T1 KINDS
    python -m studies.novelty.run choose T1 KINDS [--model RUN/model]
    python -m studies.novelty.run confirm T1 KINDS --real SHARED_DATA

T1 is where `studies.table1.data` has made specimens and data sets. `choose` compares the variants of
`studies.novelty.detectors`, by two slices of up to four volumes of each kind. `confirm` prints the novel share of up to
four whole volumes (eight slices) of each kind, for the reference of older models and that of `tomostain.ood`, also for
few pairs and for models that never saw a material, and then for real volumes.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from studies.novelty.detectors import NETWORK_VARIANTS, VARIANTS, Detector
from studies.novelty.kinds import normalised
from tomostain.dataset.dataset import load_dataset
from tomostain.dataset.pair import Pair
from tomostain.imaging.intensity import normalise_ct
from tomostain.imaging.intensity_estimation import volume_reference
from tomostain.io import Volume, open_volume, read_image
from tomostain.ood.neighbourhoods import neighbourhood_reference
from tomostain.ood.novelty import TrainingReference, novel_share, training_reference

Slices = NDArray[Any]
OWN = ("own - test specimens", "own - new seeds", "own - another scanner")
FEW = ([0, 1, 3, 4, 6], [7, 8, 9, 10, 12], [0, 1, 2, 3, 5])


def read_kinds(folder: Path, volumes: int | None = None) -> dict[str, list[Slices]]:
    """Return the volumes of each kind."""
    kinds = {}
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as arrays:
            kinds[path.stem] = [arrays[name] for name in sorted(arrays.files)[:volumes]]
    return kinds


def training_pairs(t1: Path) -> list[Pair]:
    """Return the training pairs of *paper*."""
    data = load_dataset(t1 / "paper")
    return [data.load(pair_id) for pair_id in data.ids if pair_id not in data.test]


def choose(t1: Path, folder: Path, model: Path | None) -> None:
    """Print AUC and flag rates of each variant."""
    slices = [pair.ct for pair in training_pairs(t1)]
    kinds = {name: [v[[2, 4]] for v in of] for name, of in read_kinds(folder, 4).items() if "material" not in name}
    network = {} if model is None else network_features(model)
    print("| detector | AUC | flagged at 2 % false alarms | calibrated: own, mean (max) | calibrated: others |")
    print("|---|---|---|---|---|")
    for variant in (*VARIANTS, *(NETWORK_VARIANTS if network else ())):
        detector = Detector(variant, slices, network)
        grids = {name: [np.stack([detector.grid(ct) for ct in v]) for v in of] for name, of in kinds.items()}
        in_distribution = np.sort(np.concatenate([v.ravel() for name in OWN[:2] for v in grids[name]]))
        limit = in_distribution[int(0.98 * len(in_distribution))]
        others = [np.concatenate([v.ravel() for v in of]) for name, of in grids.items() if not name.startswith("own")]
        auc = np.mean([np.searchsorted(in_distribution, values).mean() / len(in_distribution) for values in others])
        alarms = [(v > 1).mean() for name in OWN for v in grids[name]]
        rates = [np.mean([(values > bound).mean() for values in others]) for bound in (limit, 1.0)]
        print(
            f"| {variant.name} | {auc:.3f} | {rates[0]:.3f} | {np.mean(alarms):.3f} ({max(alarms):.3f}) "
            f"| {rates[1]:.3f} |",
            flush=True,
        )


def network_features(model: Path) -> dict[str, Callable[[Slices], Slices]]:
    """Return functions that give activations of the encoder of a U-Net on a grid of 4 px, 20 fixed projections each."""
    import torch

    from tomostain.stain import load_translator

    translator = load_translator(model, "cpu")
    down = translator.network.get_submodule("down")
    captured: dict[str, Any] = {}

    def features(level: int) -> Callable[[Slices], Slices]:
        def describe(ct: Slices) -> Slices:
            hook = down.get_submodule(str(level)).register_forward_hook(
                lambda module, inputs, output: captured.__setitem__("x", output)
            )
            translator(torch.from_numpy(np.asarray(ct, np.float32))[None])
            hook.remove()
            x = captured.pop("x")[0]
            rows, columns = (-(-side // 4) for side in ct.shape)
            x = x.repeat_interleave(2 ** max(0, level - 1), -1).repeat_interleave(2 ** max(0, level - 1), -2)
            x = x[:, :rows, :columns]
            projection = torch.randn(len(x), 20, generator=torch.Generator().manual_seed(0)) / len(x) ** 0.5
            return np.asarray(torch.einsum("crx,cp->rxp", x, projection))

        return describe

    return {f"network-{level}": features(level) for level in (1, 3)}


def show(name: str, of: Sequence[Slices], references: Sequence[TrainingReference]) -> None:
    """Print the novel share of each volume of a kind: mean, smallest, largest, and how many are warned of."""
    cells = []
    for reference in references:
        shares = np.array([novel_share(slices, reference) for slices in of])
        warned = int((shares > reference.share_limit).sum())
        cells.append(f"{shares.mean():.3f} ({shares.min():.3f}–{shares.max():.3f}) | {warned} of {len(shares)}")
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def confirm(t1: Path, folder: Path, real: Path | None) -> None:
    """Print the novel shares of whole volumes, for the older reference and for that of `tomostain.ood`."""
    pairs, kinds = training_pairs(t1), read_kinds(folder, 4)
    both = [neighbourhood_reference(pairs), training_reference(pairs)]
    print("| 22 pairs | older: share (range) | warned of | now: share (range) | warned of |\n|---|---|---|---|---|")
    for name, of in kinds.items():
        if "material" not in name:
            show(name, of, both)
    specimens = kinds["own - test specimens"]
    for side in (192, 128, 96):
        start = (256 - side) // 2
        crop = np.s_[:, start : start + side, start : start + side]
        show(f"own - test specimens, the middle {side} px", [v[crop] for v in specimens], both)
    for material in sorted({pair.implant for pair in pairs}):
        rest = [pair for pair in pairs if pair.implant != material]
        references = [neighbourhood_reference(rest), training_reference(rest)]
        show(f"{material}, never seen", kinds[f"material {material}"], references)
    print("\n| few pairs, now | share (range) | warned of |\n|---|---|---|")
    for numbers in FEW:
        few = [pairs[n] for n in numbers]
        known = sorted({pair.implant for pair in few})
        reference = training_reference(few)
        text = f"five pairs ({', '.join(known)})"
        show(f"{text}: own", [v for m in known for v in kinds[f"material {m}"]], [reference])
        for name in ("blur 2.5 px", "noise x3", "resampled x0.5", "voxels of 40 µm", "foam 500 µm", "rings x8"):
            show(f"{text}: {name}", kinds[name], [reference])
    if real is not None:
        print("\n| real volumes, 22 pairs | older | warned of | now | warned of |\n|---|---|---|---|---|")
        bone = open_volume(real / "trabecular_bone", voxel_um=19.5)
        show("trabecular bone, 19.5 µm", [normalised(bone, "trabecular bone")], both)
        show("rat jaw, 20.46 µm (binned twice)", [rat_jaw(real)], both)


def rat_jaw(real: Path) -> Slices:
    """Return the section of the rat jaw, binned to twice its voxel size."""
    image = read_image(real / "microct_histology_pair" / "microct.mha").astype(np.float32)
    binned = ndimage.uniform_filter(image, 2)[::2, ::2]
    volume = Volume.from_array(binned[None], voxel_um=20.46, name="rat jaw")
    return np.asarray(normalise_ct(binned[None], volume_reference(volume, source="rat jaw")), np.float32)


def main() -> None:
    """Run one part of the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("choose", "confirm"))
    parser.add_argument("t1", type=Path)
    parser.add_argument("kinds", type=Path)
    parser.add_argument("--model", type=Path, help="A tomostain-cpu model, for features of the network.")
    parser.add_argument("--real", type=Path, help="Folder with trabecular_bone and microct_histology_pair.")
    options = parser.parse_args()
    if options.part == "choose":
        choose(options.t1, options.kinds, options.model)
    else:
        confirm(options.t1, options.kinds, options.real)


if __name__ == "__main__":
    main()
