"""Machine, date and commit of a result."""

import platform
import subprocess
from datetime import date

import torch


def where_and_when() -> str:
    """Return machine, date and commit."""
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    machine = platform.processor() or platform.machine()
    return f"{machine}, {torch.get_num_threads()} threads, {date.today()}, commit {git.stdout.strip()}"
