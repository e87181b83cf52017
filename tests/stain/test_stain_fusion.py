"""Fusing colours: the bytes of NumPy's formulas on every device, little memory, and no waiting."""

from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from torch.utils._python_dispatch import TorchDispatchMode

from tests.support.operators import count_operators
from tomostain.errors import InputError
from tomostain.stain import fusion
from tomostain.stain.fusion import fuse, fuse_tensors

HOW = pytest.mark.parametrize("how", ["mean", "median", "weighted"])
RGB = NDArray[np.uint8]
DRAWINGS = hnp.arrays(np.uint8, st.tuples(st.just(3), st.integers(1, 3), st.integers(1, 4), st.just(3)))


def fused_with_numpy(colours: RGB, how: str) -> RGB:
    """Return the fusion as its definition says it, in float32."""
    stack = colours.astype(np.float32)
    fused = stack.mean(axis=0) if how == "mean" else np.median(stack, axis=0)
    if how == "weighted":
        distance = np.abs(stack - fused).mean(axis=-1, keepdims=True)
        weights = 1 / (1 + distance / 8)
        fused = np.sort(weights * stack, axis=0).sum(axis=0) / np.sort(weights, axis=0).sum(axis=0)
    rounded: RGB = np.rint(fused).astype(np.uint8)
    return rounded


@st.composite
def stacks(draw: st.DrawFn) -> tuple[RGB, list[int]]:
    """Draw colours of two to four axes, and an order of their dimensions in memory."""
    shape = draw(st.lists(st.integers(1, 5), min_size=0, max_size=3))
    near = draw(st.integers(1, 255))  # ties and equal values are frequent among few values
    colours = draw(hnp.arrays(np.uint8, (draw(st.integers(2, 4)), *shape, 3), elements=st.integers(0, near)))
    return colours, draw(st.permutations(range(len(shape) + 1)))


@HOW
@given(drawn=stacks(), piece=st.integers(1, 40))
def test_the_bytes_are_those_of_numpy(how: str, drawn: tuple[RGB, list[int]], piece: int) -> None:
    colours, order = drawn
    back = np.argsort(order).tolist()
    turned = [np.ascontiguousarray(each.transpose(order)).transpose(back) for each in colours]
    with patch.object(fusion, "_CPU_VALUES", piece):
        np.testing.assert_array_equal(fuse([colours[0], *turned[1:]], how), fused_with_numpy(colours, how))


@HOW
def test_the_bytes_are_those_of_numpy_for_all_triples(how: str) -> None:
    """Of one channel, in order of size; every distance from the median and every tie is among them."""
    greys = np.arange(256, dtype=np.uint8)
    low, middle, high = (axis.reshape(-1, 1) for axis in np.meshgrid(greys, greys, greys[::3], indexing="ij"))
    colours = np.stack([low, middle, high])[:, (low <= middle)[:, 0] & (middle <= high)[:, 0]]
    np.testing.assert_array_equal(fuse(list(colours), how), fused_with_numpy(colours, how))


@given(DRAWINGS, st.permutations(range(3)))
@example(np.array([[[[140, 200, 200]]], [[[200] * 3]], [[[200] * 3]]], np.uint8), [1, 2, 0])  # a tie
def test_fusing_is_independent_of_the_order_and_keeps_equal_values(drawings: RGB, order: list[int]) -> None:
    for how in ("mean", "median", "weighted"):
        fused = fuse(list(drawings), how)
        np.testing.assert_array_equal(fused, fuse([drawings[i] for i in order], how))
        np.testing.assert_array_equal(fuse([drawings[0]] * 3, how), drawings[0])
        assert (fused >= drawings.min(axis=0)).all()
        assert (fused <= drawings.max(axis=0)).all()


@given(DRAWINGS)
def test_the_fusions_are_what_they_are_called(drawings: RGB) -> None:
    np.testing.assert_array_equal(fuse(list(drawings), "median"), np.sort(drawings, axis=0)[1])
    assert np.abs(fuse(list(drawings), "mean") - drawings.mean(axis=0)).max() <= 0.5 + 1e-4


def test_arrays_that_torch_cannot_share_are_fused_too() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3)).astype(np.uint8)
    expected = fuse(list(colours), "median")
    colours.setflags(write=False)
    np.testing.assert_array_equal(fuse(list(colours), "median"), expected)
    np.testing.assert_array_equal(fuse([each[::-1] for each in colours], "median"), expected[::-1])


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(InputError, match="fuse 'most': unknown; give mean, median or weighted"):
        fuse([np.zeros((1, 3), np.uint8)] * 3, "most")


class _Sizes(TorchDispatchMode):
    """Records the number of values of each new floating-point tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.is_floating_point():
            self.most = max(self.most, result.numel())
        return result


@HOW
def test_copies_in_float32_are_small_and_nothing_waits(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fusion, "_CPU_VALUES", 2 * 9 * 7 * 3)
    colours = [torch.full((20, 9, 7, 3), grey, dtype=torch.uint8) for grey in (3, 4, 9)]
    with _Sizes() as sizes:
        fuse_tensors(colours, how)
    assert sizes.most == (0 if how == "median" else 2 * 9 * 7 * 3)
    counted = count_operators(lambda: fuse_tensors(colours, how))
    assert counted.total > 10
    assert counted.synchronisations == 0


@pytest.mark.gpu
@HOW
@pytest.mark.parametrize("number", [2, 3])
def test_a_gpu_gives_the_same_bytes(how: str, number: int) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (number, 6, 300, 311, 3)).astype(np.uint8)
    colours[1] = np.clip(colours[0] + np.random.default_rng(1).integers(-3, 4, colours[0].shape), 0, 255)
    on_gpu = [torch.from_numpy(each).cuda() for each in colours]
    on_gpu[1] = on_gpu[1].movedim(2, 0).contiguous().movedim(0, 2)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        fused = fuse_tensors(on_gpu, how)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    np.testing.assert_array_equal(fused.cpu().numpy(), fused_with_numpy(colours, how))
