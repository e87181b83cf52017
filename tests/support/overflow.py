"""A GPU in float16 that overflows, as far as a CPU can imitate one."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from tomostain.stain import StainJob, translator


class Overflowing(torch.nn.Module):
    """A network whose output is infinite where the input is bright, as half precision may be."""

    def __init__(self, network: Any, limit: float = 0.9) -> None:
        super().__init__()
        self.network, self.limit = network, limit
        self.size_multiple, self.min_size_px = network.size_multiple, network.min_size_px

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the output of the network, infinite where the first channel exceeds the limit."""
        result: torch.Tensor = self.network(images)
        return result.masked_fill(images[:, :1] > self.limit, torch.inf)


def imitate_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every device but "cpu" be a GPU, on which models in float16 overflow; all is computed on the CPU."""
    build, cpu = translator._build, torch.device("cpu")

    def build_on_cpu(path: Any, spec: Any, state: Any, place: torch.device, precision: Any) -> Any:
        if place.type == "cpu":
            return build(path, spec, state, place, precision)
        network = build(path, spec, state, cpu, "float32")
        return network if precision == "float32" else Overflowing(network)

    def on_cpu(*arguments: Any, **keywords: Any) -> translator.Translator:
        return replace(translator_class(*arguments, **keywords), device=cpu, runner=None)

    translator_class = translator.Translator
    monkeypatch.setattr(translator, "_build", build_on_cpu)
    monkeypatch.setattr(translator, "Translator", on_cpu)
    for module in ("translator", "cluster"):
        monkeypatch.setattr(
            f"tomostain.stain.{module}.choose_device", lambda name: cpu if name == "cpu" else torch.device("cuda")
        )
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(StainJob, "is_batched", True)
