"""Windows that are gathered from one table, against windows that are sliced from padded images."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.operators import count_operators
from tomostain.train.pixel_table import PixelTable

FILL = (-12345, 255, 0)
CPU = torch.device("cpu")


def images(slices, shapes=((9, 14), (5, 3), (20, 6))):
    draws = torch.Generator().manual_seed(slices)
    return [
        (
            torch.randint(-20000, 20000, (slices, *shape), generator=draws, dtype=torch.int16),
            torch.randint(0, 256, (3, *shape), generator=draws, dtype=torch.uint8),
            torch.randint(0, 2, (1, *shape), generator=draws, dtype=torch.uint8),
        )
        for shape in shapes
    ]


def sliced(image, corner, size, margin=60):
    """Pad every channel with its fill, and slice the window."""
    parts = []
    for part, fill in zip(image, FILL, strict=True):
        padded = np.pad(part.numpy(), ((0, 0), (margin, margin), (margin, margin)), constant_values=fill)
        row, column = corner[0] + margin, corner[1] + margin
        parts.append(padded[:, row : row + size, column : column + size].astype(np.float32))
    return np.concatenate(parts)


@settings(max_examples=40, deadline=None)
@given(
    slices=st.sampled_from([1, 3]),
    size=st.integers(1, 25),
    where=st.lists(st.tuples(st.integers(0, 2), st.integers(-30, 25), st.integers(-30, 25)), min_size=1, max_size=5),
)
def test_windows_are_those_of_padded_images(slices, size, where):
    source = images(slices)
    numbers, corners = [w[0] for w in where], np.array([w[1:] for w in where])
    windows = PixelTable(source, FILL, CPU).windows(numbers, corners, size)
    expected = [sliced(source[number], corner, size) for number, corner in zip(numbers, corners, strict=True)]
    np.testing.assert_array_equal(windows.numpy(), np.stack(expected))


def test_images_come_back_and_replaced_ones_are_used():
    source = images(3)
    table = PixelTable(source, FILL, CPU)
    assert table.nbytes == (2 * 3 + 4) * (9 * 14 + 5 * 3 + 20 * 6)
    before = table.image(1)
    new_histology, new_mask = 255 - source[1][1], 1 - source[1][2]
    table.replace(1, new_histology, new_mask)
    for number, (ct, histology, mask) in enumerate(source):
        expected = (ct, new_histology, new_mask) if number == 1 else (ct, histology, mask)
        for mine, right in zip(table.image(number), expected, strict=True):
            torch.testing.assert_close(mine, right, rtol=0, atol=0)
    for mine, right in zip(before, source[1], strict=True):  # copies, not views
        torch.testing.assert_close(mine, right, rtol=0, atol=0)


@pytest.mark.parametrize("batch", [1, 16])
def test_the_number_of_operators_does_not_grow_with_the_batch(batch):
    table = PixelTable(images(1), FILL, CPU)
    counted = count_operators(lambda: table.windows([0] * batch, np.zeros((batch, 2), np.int64), 8))
    assert counted.operators["aten.index_select.default"] == 1
    assert counted.synchronisations == 0
    assert counted.total <= 30
