"""Print the lowest versions that `pyproject.toml` allows, one requirement a line, for pip.

`python -m studies.trust.lowest [EXTRA …] > lowest.txt`, then `pip install -r lowest.txt` in a new environment; tests.
torch is left out: its lowest release has no build for every machine, and takes gigabytes with CUDA.
"""

import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def lowest(extras: Iterable[str] = (), project: Path = PROJECT) -> list[str]:
    """Return ``name==version`` for each dependency of the package and of the extras, except torch.

    Raises
    ------
    ValueError
        If a dependency states no lower bound.
    """
    stated = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    requirements = [
        *stated["dependencies"],
        *(each for extra in extras for each in stated["optional-dependencies"][extra]),
    ]
    pins = []
    for requirement in requirements:
        match = re.fullmatch(r"([\w.-]+(?:\[[\w,]+\])?)(?:>=|==)([\w.]+)(?:,.*)?", requirement)
        if match is None:
            raise ValueError(f"{requirement}: states no lowest version")
        if match[1] != "torch":
            pins.append(f"{match[1]}=={match[2]}")
    return pins


if __name__ == "__main__":
    print("\n".join(lowest(sys.argv[1:])))
