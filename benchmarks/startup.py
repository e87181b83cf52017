"""Start-up time: CPU-seconds of whole processes, including the start of the interpreter."""

import resource
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.measure import as_rows, paired

CODE = {
    "import torch": "import torch",
    "python alone": "pass",
    "import tomostain": "import tomostain",
    "tomostain --help": "from tomostain.cli import main; main(['--help'])",
    "tomostain stain --help": "from tomostain.cli import main; main(['stain', '--help'])",
}


def _children() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)  # resolution of 1 µs; os.times has a resolution of 10 ms
    return spent.ru_utime + spent.ru_stime


def measure(rounds: int) -> list[dict[str, Any]]:
    """Start each in turn. Ratios are relative to importing torch."""

    def start(code: str) -> Callable[[], Any]:
        return lambda: subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=True)

    return as_rows(paired({name: start(code) for name, code in CODE.items()}, rounds, clock=_children))
