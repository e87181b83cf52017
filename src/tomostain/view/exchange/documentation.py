"""The documentation of an exported model: its card, how to validate it, and how to use the graph."""

from tomostain.io.model_card import LIMITS, model_card
from tomostain.io.models import CARD, SEEN, Model
from tomostain.view.exchange.shapes import CT, HISTOLOGY, NOISE, GraphShapes

_VALIDATE = """\
Validate the model on pairs of µCT and histology that it was not trained on, of your own specimens, scanner and stain:
make the pairs with `tomostain prepare`, and compare the colours with the real histology with `tomostain evaluate`. It
reports SSIM, PSNR and LPIPS next to simple baselines (raw µCT, mean image, colour look-up). Do not use the colours
where the model is not better than the baselines. `tomostain.inspection.check_against` reports whether a
volume is unlike the training data."""


def documentation(model: Model, shapes: GraphShapes) -> str:
    """Return the documentation of a package (Markdown), with a section "Validation".

    The text is the card of the model folder, which its authors may have edited, without the list of its files.

    Parameters
    ----------
    model : Model
    shapes : GraphShapes
    """
    path = model.path / CARD
    card = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else model_card(model.spec)
    card = card.replace(f"stored in `{SEEN}`", "in the model folder, not in this package")
    first, *sections = f"\n{card}".split("\n## ")
    by_title = {section.partition("\n")[0].strip(): section.partition("\n")[2].strip() for section in sections}
    by_title.pop("Files", None)
    measured = by_title.get("Validation", "None were recorded.")
    by_title["Validation"] = f"Measured by its authors:\n\n{measured}\n\n{_VALIDATE}\n\n{LIMITS}"
    by_title["Input and output"] = _input_and_output(model, shapes)
    parts = [first.strip(), *(f"## {title}\n\n{text}" for title, text in by_title.items())]
    return "\n\n".join(parts) + "\n"


def _input_and_output(model: Model, shapes: GraphShapes) -> str:
    spec = model.spec
    lines = [
        f"- input `{CT}`: float32, (batch, {shapes.slices}, y, x), µCT at {spec.voxel_um:g} µm, normalised: background "
        "10000, bone 30000. With the mean grey values b of the background and k of bone in your volume: "
        "10000 + 20000 · (v - b) / (k - b). The graph scales and clips them itself.",
    ]
    if shapes.slices > 1:
        lines.append(f"- its {shapes.slices} channels are neighbouring slices; the middle one is stained")
    if spec.noise is not None and shapes.noise_channels:
        lines.append(
            f"- input `{NOISE}`: float32, (batch, {shapes.noise_channels}, y, x), nearly normal noise with mean 0 and "
            f"variance 1, whose correlation falls to 1/e at {spec.noise.correlation_px:g} px: "
            "`tomostain.tiling.noise.slice_noise`"
        )
    lines += [
        f"- output `{HISTOLOGY}`: float32, (batch, 3, y, x), red, green and blue from 0 to 255, not rounded",
        f"- y and x are multiples of {shapes.multiple} px, at least {shapes.minimum} px. Tiles of {spec.patch_px} px, "
        "the size of the training patches, give the best results. Overlap tiles by a quarter and blend them.",
    ]
    return "\n".join(lines)
