"""Evaluate models on a dataset: stain every pair, compare with the real histology, write tables and pictures."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from tomostain import __version__
from tomostain.dataset.dataset import Dataset, load_dataset
from tomostain.dataset.pair import Pair
from tomostain.errors import InputError
from tomostain.evaluate.baselines import ColourLookup, MeanImage, raw_ct
from tomostain.evaluate.calibration import check_uncertainty_options, write_calibration
from tomostain.evaluate.config import EvaluateConfig
from tomostain.evaluate.figures import difference_image, draw_boxplots, side_by_side
from tomostain.evaluate.metrics.lpips import Lpips
from tomostain.evaluate.metrics.patch import background_colour, fill_background
from tomostain.evaluate.protocols import PAPER, VIEWS, intervals_csv, measure_views, screw_region
from tomostain.evaluate.table import Table
from tomostain.io import write_image
from tomostain.io.atomic import atomic_folder, write_text
from tomostain.io.models import REVERSE
from tomostain.io.output_folder import output_folder
from tomostain.progress import Progress, silent, track
from tomostain.stain import Translator, load_translator, stain_slice
from tomostain.stain.translator import choose_device

RGB = NDArray[np.uint8]
Stainer = Callable[[Pair], RGB]

RAW_CT = "raw µCT"
MEAN_IMAGE = "mean training image"
LOOKUP = "grey-value look-up"
COLUMNS = ("model", "pair", "row", "column", "height", "width", "overlap", "ssim", "lpips", "psnr")
ALEX_NOTE = "LPIPS is computed with AlexNet; the paper used SqueezeNet, whose values do not compare."


def evaluate(
    model_or_run: Path,
    dataset: Path,
    out: Path,
    *,
    device: str = "auto",
    lpips: Lpips | str | None = "alex",
    overwrite: bool = False,
    notes: Sequence[str] = (),
    progress: Progress = silent,
    **options: Any,
) -> Table:
    """Evaluate one model on a dataset and write the results.

    Parameters
    ----------
    model_or_run : Path
        A model folder, or a run (its ``model`` is taken).
    dataset : Path
        A dataset folder.
    out : Path
        Gets ``metrics.csv`` (every patch), ``table.csv``, ``table.txt``, ``boxplots.png``, ``pictures/<pair>.png``
        (µCT, stained, real, difference) and ``evaluate.yaml``; also ``table-without-screw.txt``,
        ``table-shift-tolerant.txt`` with their ``metrics-….csv``, and in ``intervals.csv`` all medians and paired
        differences with 95 % intervals over specimens (`tomostain.evaluate.protocols`). With ``doubt`` also ``doubt/``
        (`tomostain.evaluate.calibration`).
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    lpips : Lpips, str or None
        The metric, or the name of its network (``alex``; ``squeeze`` needs its weights, see `Lpips`), or None.
    overwrite : bool
        Replace an earlier evaluation at `out`.
    notes : sequence of str
        Sentences to print below the table.
    progress : Progress
        Told of every image stained and compared.
    **options
        The keys of `EvaluateConfig`: ``split, patch_px, stride_px, baselines, doubt, stain``.

    Returns
    -------
    Table
        Median and quartiles of each metric over the patches.

    Raises
    ------
    InputError
        If an option is wrong, there is no model or dataset, the split is empty, or `out` may not be replaced.

    References
    ----------
    Irvine et al., J. Synchrotron Rad. 2026, sections 2.8, 2.10 and 3.2.
    """
    return compare(
        out,
        [model_or_run],
        dataset,
        device=device,
        lpips=lpips,
        overwrite=overwrite,
        notes=notes,
        progress=progress,
        **options,
    )


def compare(
    out: Path,
    runs: Sequence[Path],
    dataset: Path,
    *,
    device: str = "auto",
    lpips: Lpips | str | None = "alex",
    overwrite: bool = False,
    notes: Sequence[str] = (),
    progress: Progress = silent,
    **options: Any,
) -> Table:
    """Evaluate several models on the same pairs, in one table and one box plot; see `evaluate`.

    A model is named after its run's folder. The trained baselines use the training pairs of the models' fold.

    Raises
    ------
    InputError
        As `evaluate`; also if two runs share a name, or validated on different folds.
    """
    if isinstance(lpips, str):
        lpips = Lpips(lpips, device=choose_device(device))
    config = EvaluateConfig.from_dict({"lpips": lpips.network if lpips else "none", **options}, "evaluate")
    out = Path(out)
    output_folder(out, "evaluation", "evaluate.yaml", overwrite=overwrite)
    data = load_dataset(dataset)
    folders = name_models(runs)
    translators = {
        name: load_translator(
            folder, device, reverse=config.doubt and (folder / REVERSE).is_file(), precision=config.stain.precision
        )
        for name, folder in folders.items()
    }
    if config.doubt:
        check_uncertainty_options(translators)
    fold = _common_fold(translators, config.split)
    ids = _pairs_of(data, config.split, fold)
    stainers, warnings = _stainers(translators, data, fold, config)
    warnings += [ALEX_NOTE] if config.lpips == "alex" else []
    with atomic_folder(out, overwrite) as folder:
        ct_slices = max(t.spec.ct_slices for t in translators.values())
        pairs = (data.load(pair_id, ct_slices) for pair_id in ids)
        records = _measure(pairs, len(ids), stainers, tuple(translators), config, lpips, folder / "pictures", progress)
        if not records:
            raise InputError(
                f"{dataset}: no {config.patch_px}-px patch of split '{config.split}' has half of it in the mask; "
                "choose a smaller patch_px or correct the masks"
            )
        label = lpips.label if lpips else "LPIPS"
        notes = (*notes, *warnings)
        table = Table.from_records(_seen(records, PAPER), lpips_label=label, notes=notes)
        write_results(folder, _seen(records, PAPER), table)
        for view in VIEWS[1:]:
            other = Table.from_records(_seen(records, view), lpips_label=label, notes=(f"View: {view}.", *notes))
            write_text(folder / f"table-{view}.txt", other.to_text())
            write_text(folder / f"metrics-{view}.csv", _patches_csv(_seen(records, view)))
        specimens = {pair_id: str(data.records.get(pair_id, {}).get("specimen", pair_id)) for pair_id in ids}
        write_text(folder / "intervals.csv", intervals_csv(records, specimens))
        if config.doubt:
            write_calibration(folder / "doubt", data, ids, translators, config.stain, progress)
        values = _provenance(config, folders, translators, data, ids, table)
        write_text(folder / "evaluate.yaml", yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
    return table


def name_models(runs: Iterable[Path]) -> dict[str, Path]:
    """Find the model folder of each run or model, and name it after the run.

    Raises
    ------
    InputError
        If there is no model, or two have one name.
    """
    models: dict[str, Path] = {}
    for run in map(Path, runs):
        folder = run if (run / "model.yaml").is_file() else run / "model"
        if not (folder / "model.yaml").is_file():
            raise InputError(f"{run}: neither a model nor a run with one (no model.yaml); give a RUN or MODEL folder")
        resolved = folder.resolve()
        name = resolved.parent.name if resolved.name == "model" else resolved.name
        if name in models:
            raise InputError(f"{run}: a second model named '{name}'; rename one of the folders")
        models[name] = folder
    if not models:
        raise InputError("compare: no run is given; name at least one RUN or MODEL folder")
    return models


def write_results(folder: Path, records: Sequence[Mapping[str, Any]], table: Table) -> None:
    """Write ``metrics.csv``, ``table.csv``, ``table.txt`` and ``boxplots.png`` into a folder."""
    write_text(folder / "metrics.csv", _patches_csv(records))
    write_text(folder / "table.csv", table.to_csv())
    write_text(folder / "table.txt", table.to_text())
    write_image(folder / "boxplots.png", draw_boxplots(records, table), overwrite=True)


def _patches_csv(records: Sequence[Mapping[str, Any]]) -> str:
    """Return a line for each patch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def _stainers(
    translators: Mapping[str, Translator], data: Dataset, fold: int | None, config: EvaluateConfig
) -> tuple[dict[str, Stainer], list[str]]:
    """Return what turns a pair's µCT into colours, by name (models first), and what the reader should know of it."""

    def staining(translator: Translator) -> Stainer:
        return lambda pair: stain_slice(translator, pair.context(translator.spec.ct_slices), config.stain)

    def of_grey(baseline: Callable[[NDArray[np.uint16]], RGB]) -> Stainer:
        return lambda pair: baseline(pair.ct)

    stainers = {name: staining(translator) for name, translator in translators.items()}
    warnings = [
        f"{name} was trained at {t.spec.voxel_um:g} µm, the dataset has {data.voxel_um:g} µm."
        for name, t in translators.items()
        if not np.isclose(t.spec.voxel_um, data.voxel_um, rtol=0.05)
    ]
    if config.baselines:
        stainers[RAW_CT] = of_grey(raw_ct)
        train = data.split(fold).train
        if train:
            stainers[MEAN_IMAGE] = of_grey(MeanImage.fit(data.load(pair_id) for pair_id in train))
            stainers[LOOKUP] = of_grey(ColourLookup.fit(data.load(pair_id) for pair_id in train))
        else:
            warnings.append("The dataset has no training pairs, so the baselines that need them are left out.")
    return stainers, warnings


def _measure(
    pairs: Iterable[Pair],
    number: int,
    stainers: Mapping[str, Stainer],
    models: Sequence[str],
    config: EvaluateConfig,
    lpips: Lpips | None,
    pictures: Path,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Stain and compare pair by pair; write a picture of each."""
    records: list[dict[str, Any]] = []
    jobs = track(list(stainers) * number, "evaluating", progress)
    for pair in pairs:
        colour, screw = background_colour(pair.histology, pair.mask), screw_region(pair.histology)
        stained = {}
        for _ in stainers:
            name = next(jobs)
            stained[name] = stainers[name](pair)
            patches = measure_views(
                stained[name],
                pair.histology,
                pair.mask,
                config.patch_px,
                config.stride_px,
                lpips,
                colour=colour,
                screw=screw,
            )
            records += [{"model": name, "pair": pair.id, **patch} for patch in patches]
        write_image(pictures / f"{pair.id}.png", _picture(pair, {name: stained[name] for name in models}))
    next(jobs, None)  # lets the bar reach its end
    return records


def _seen(records: Sequence[Mapping[str, Any]], view: str) -> list[dict[str, Any]]:
    """Return the records of one view, without the key that says so."""
    return [{key: value for key, value in r.items() if key != "view"} for r in records if r["view"] == view]


def _picture(pair: Pair, stained: Mapping[str, RGB]) -> RGB:
    """Return µCT | stained by each model | real | differences, masked as in section 2.8."""
    colour = background_colour(pair.histology, pair.mask)
    real = fill_background(pair.histology, pair.mask, colour)
    fakes = {name: fill_background(image, pair.mask, colour) for name, image in stained.items()}
    differences = {f"|{name} - real|": difference_image(fake, real) for name, fake in fakes.items()}
    return side_by_side({"µCT": raw_ct(pair.ct), **fakes, "real": real, **differences})


def _common_fold(translators: Mapping[str, Translator], split: str) -> int | None:
    """Return the fold on which the models were validated."""
    folds = {name: translator.spec.fold for name, translator in translators.items()}
    if len(set(folds.values())) > 1 and split != "test":
        listed = ", ".join(f"{name}: {fold}" for name, fold in folds.items())
        raise InputError(f"split '{split}': the models have different folds ({listed}); compare them on 'test'")
    return next(iter(folds.values()))


def _pairs_of(data: Dataset, split: str, fold: int | None) -> tuple[str, ...]:
    """Return the ids of a split, at least one."""
    groups = data.split(fold)
    ids = data.ids if split == "all" else getattr(groups, split)
    if not ids:
        known = ", ".join(f"{name} {len(getattr(groups, name))}" for name in ("train", "validation", "test"))
        raise InputError(f"split '{split}': {data.path} has no such pairs ({known}); choose another split")
    return ids


def _provenance(
    config: EvaluateConfig,
    folders: Mapping[str, Path],
    translators: Mapping[str, Translator],
    data: Dataset,
    ids: Sequence[str],
    table: Table,
) -> dict[str, Any]:
    """Return what `evaluate.yaml` says: options, models, pairs, versions."""
    models = {}
    for name, folder in folders.items():
        spec, digest = translators[name].spec, translators[name].hash
        models[name] = {
            "path": str(folder),
            "hash": digest,
            "recipe": spec.recipe,
            "fold": spec.fold,
            "steps": spec.steps,
        }
    packages = {name: version(name) for name in ("torch", "numpy", "scikit-image")}
    return {
        "options": config.model_dump(mode="json"),
        "lpips_network": table.lpips_label,
        "models": models,
        "dataset": str(data.path),
        "pairs": list(ids),
        "notes": list(table.notes),
        "versions": {"tomostain": __version__, **packages},
    }
