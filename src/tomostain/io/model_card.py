"""The card of a model: a README.md for people."""

from collections.abc import Collection, Mapping

from tomostain.io.model_spec import (
    DISCRIMINATORS,
    GENERATOR,
    PICTURE,
    RECIPE,
    REVERSE,
    SEEN,
    SPEC,
    SUMS,
    ModelSpec,
    TrainingRecord,
)

LIMITS = """\
The model is valid only for specimens, scanners and stains like those of its training. On other tissue, voxel
sizes or grey values its result may look plausible and still be wrong.
Its colours are a translation of X-ray attenuation, not a chemical stain. Do not use them for a diagnosis."""
_CONTENTS = {
    GENERATOR: "weights of the generator that stains",
    REVERSE: "weights of the generator from histology to µCT",
    DISCRIMINATORS: "weights of the discriminators, for further training",
    SEEN: "training reference: a sample of the training data, to detect what is unlike it",
    SPEC: "architecture, voxel size, grey values of the training µCT, metrics",
    RECIPE: "the recipe for further training: that of this training, unless the authors state another",
    PICTURE: "µCT, stained, real histology",
}


def model_card(spec: ModelSpec, files: Collection[str] = (GENERATOR, SPEC)) -> str:
    """Return the model card (Markdown): training, quality, training µCT and limits.

    Parameters
    ----------
    spec : ModelSpec
    files : collection of str
        Names of the files in the model folder.
    """
    about = [f"{spec.summary.rstrip('.')}.", ""] if spec.summary else []
    picture = [f"![µCT, stained, real histology]({PICTURE})", ""] if PICTURE in files else []
    return "\n".join(
        [
            f"# Virtual staining model: {spec.stain}",
            "",
            *about,
            f"Turns µCT slices into virtually stained ones ({spec.stain}). "
            f"Written by tomostain {spec.tomostain_version}.",
            "",
            *picture,
            *_training(spec, RECIPE in files),
            *_validation(spec),
            *_training_ct(spec, SEEN in files),
            *("## Limits", "", LIMITS, ""),
            *("## Licence", "", spec.licence or "Not stated. Ask the authors before you share the model.", ""),
            *("## Files", ""),
            *(f"- `{name}`: {meaning}" for name, meaning in _CONTENTS.items() if name in files),
            f"- `{SUMS}`: checksums of these files, without the picture and this card (`sha256sum -c {SUMS}`)",
            "",
        ]
    )


def _training(spec: ModelSpec, has_recipe: bool) -> list[str]:
    fold = "all training pairs" if spec.fold is None else f"fold {spec.fold}"
    seed = "" if spec.training is None else f", seed {spec.training.seed}"
    where = f"; see `{RECIPE}`" if has_recipe else ""
    channels = f"{spec.in_channels} channel(s)"
    if spec.ct_slices > 1:
        channels = f"{spec.ct_slices} neighbouring slices (the middle one is stained)"
    if spec.noise_channels:
        channels += f" and {spec.noise_channels} channel(s) of noise"
    inverted = ", inverted" if spec.inverted_ct else ""
    return [
        "## Training",
        "",
        f"- recipe: {spec.recipe}, {spec.steps} steps, {fold}{seed}{where}",
        *([] if spec.training is None else _data(spec.training)),
        f"- voxel size: {spec.voxel_um:g} µm (other sizes must be resampled to it)",
        f"- generator: {_one_line(spec.generator)}",
        f"- reverse generator: {_one_line(spec.reverse) if spec.reverse else 'not included'}",
        f"- µCT input: {channels}{inverted}, normalised to background 10000 and bone 30000, grey values "
        f"{spec.ct_window[0]} to {spec.ct_window[1]}",
        "",
    ]


def _data(training: TrainingRecord) -> list[str]:
    implants = f" (implants: {', '.join(training.implants)})" if training.implants else ""
    first = training.initial_model
    start = "none, random weights"
    if first is not None:
        start = f"{first.name} ({first.stain}, {first.voxel_um:g} µm, recipe {first.recipe}, hash {first.hash})"
    names = ", ".join(f"{name} ({correlation:.2f})" for name, correlation in training.rejected_pairs.items())
    rejected = f"- rejected pairs, with their correlation with the output: {names}; they did not train at the end"
    return [
        f"- pairs: {training.pairs} for training, {training.validation_pairs} for validation",
        *([rejected] if names else []),
        f"- specimens: {training.specimens}{implants}",
        f"- images: sha256 {training.data}",
        f"- initial model: {start}",
    ]


def _validation(spec: ModelSpec) -> list[str]:
    lines = [f"- {name}: {_one_line(value)}" for name, value in spec.metrics.items()]
    step = None if spec.training is None else spec.training.validation_step
    measured = [] if step is None or not lines else [f"Measured at step {step} of {spec.steps}.", ""]
    return ["## Validation", "", *measured, *(lines or ["None were recorded."]), ""]


def _training_ct(spec: ModelSpec, has_reference: bool) -> list[str]:
    """Describe what the model stores of its training µCT, with which new volumes are compared."""
    quantiles = [f"- {name}: {value:g}" for name, value in spec.fingerprint.items()]
    reference = f"stored in `{SEEN}`" if has_reference else "not included"
    return [
        "## µCT it was trained on",
        "",
        *(quantiles or ["No grey values were recorded."]),
        f"- grey values of solid matter: {f'of {len(spec.greys)} pairs' if spec.greys else 'not recorded'}",
        f"- training reference, to detect what is unlike the training data: {reference}",
        "",
    ]


def _one_line(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_one_line(item)}" for key, item in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
