"""Does a wider window of grey values show the degradation layer of dense magnesium better?

    python -m studies.recipe.window DATASETS OUT [--seconds 200]

As `studies.recipe.ablation` for the recipe `gan-j02-knots`, with the window [0, 60000] instead of [0, 40000] (bone is
30000), the same knots of the grey encoding, and two more at 45000 and 60000. The record has the name `wide-window`.
"""

import sys
import tempfile
from pathlib import Path

import yaml

from studies.recipe import ablation

WINDOW = (0, 60_000)


def knots(old: list[float]) -> list[float]:
    """Return the knots at the same grey values in the wide window, and those at 45000 and 60000.

    Examples
    --------
    >>> knots([-0.5, 1.0])
    [-0.6667, 0.3333, 0.5, 1.0]
    """
    return [round((knot + 1) * 2 / 3 - 1, 4) for knot in old] + [0.5, 1.0]


def main() -> None:
    """Train and record."""
    recipe = ablation.load_recipe(ablation.RECIPES / f"{ablation.BASE}.yaml").model_dump(mode="json")
    recipe["name"] = "wide-window"
    recipe["ct_window"] = list(WINDOW)
    recipe["generator"]["grey_knots"] = knots(recipe["generator"]["grey_knots"])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "wide-window.yaml"
        file.write_text(yaml.safe_dump(recipe), encoding="utf-8")
        sys.argv.insert(3, str(file))
        ablation.main()


if __name__ == "__main__":
    main()
