"""The image buffer: pool, probabilities and memory."""

import torch

from tomostain.train.buffer import Exchange, ImageBuffer


def numbered(first, count):
    """Return images that each hold their own number."""
    return torch.arange(first, first + count, dtype=torch.float32)[:, None, None, None].expand(-1, 1, 2, 2).clone()


def exchange(buffer, batch, draws):
    return buffer.exchange(batch, buffer.plan(len(batch), draws))


def numbers(batch):
    return [int(image[0, 0, 0]) for image in batch]


def test_the_first_images_come_back_as_they_are():
    buffer, draws = ImageBuffer(50), torch.Generator().manual_seed(0)
    returned = [number for first in range(0, 50, 5) for number in numbers(exchange(buffer, numbered(first, 5), draws))]
    assert returned == list(range(50))
    assert len(buffer.images) == 50


def test_a_full_pool_exchanges_half_of_them_and_loses_none():
    buffer, draws = ImageBuffer(50), torch.Generator().manual_seed(0)
    exchange(buffer, numbered(0, 50), draws)
    returned = numbers(exchange(buffer, numbered(50, 2000), draws))
    exchanged = sum(number != 50 + place for place, number in enumerate(returned))
    # 2000 draws at one half: four standard deviations are 4 · √500 = 89.
    assert abs(exchanged - 1000) < 90
    assert sorted(returned + numbers(buffer.images)) == list(range(2050))


def test_the_same_seed_exchanges_the_same():
    def run(seed):
        buffer, draws = ImageBuffer(4), torch.Generator().manual_seed(seed)
        return numbers(exchange(buffer, numbered(0, 60), draws))

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_a_restored_buffer_continues_as_if_nothing_had_happened():
    buffer, draws = ImageBuffer(4), torch.Generator().manual_seed(0)
    exchange(buffer, numbered(0, 11), draws)
    state, position = buffer.state_dict(), draws.get_state()
    expected = numbers(exchange(buffer, numbered(11, 40), draws))
    restored, draws = ImageBuffer(4), torch.Generator()
    restored.load_state_dict(state)
    draws.set_state(position)
    assert numbers(exchange(restored, numbered(11, 40), draws)) == expected


def test_an_empty_buffer_is_restored_empty():
    buffer = ImageBuffer(4)
    buffer.load_state_dict(ImageBuffer(4).state_dict())
    assert buffer.images == []


def test_no_pool_returns_everything_and_keeps_nothing():
    buffer = ImageBuffer(0)
    assert numbers(exchange(buffer, numbered(0, 9), torch.Generator())) == list(range(9))
    assert buffer.images == []


def test_gradients_stop_here_and_the_pool_is_a_copy():
    buffer, draws = ImageBuffer(2), torch.Generator().manual_seed(0)
    batch = numbered(0, 2).requires_grad_()
    assert not exchange(buffer, batch, draws).requires_grad
    with torch.no_grad():
        batch.fill_(9)
    assert numbers(buffer.images) == [0, 1]


def test_an_exchange_on_another_device_has_the_same_shapes_and_types():
    # "meta" stands for a GPU: tensors there have no values.
    plan = Exchange(torch.tensor([True, False]), *(torch.tensor([first, 5]) for first in (0, 1, 2)))
    assert plan.to(torch.device("cpu")) is plan
    moved = plan.to(torch.device("meta"))
    for rows in (moved.from_pool, moved.pool_row, moved.batch_row, moved.store_row):
        assert (rows.device.type, tuple(rows.shape)) == ("meta", (2,))
    assert moved.from_pool.dtype == torch.bool
    assert moved.store_row.dtype == torch.int64


def test_a_larger_batch_keeps_the_pool():
    buffer, draws = ImageBuffer(3), torch.Generator().manual_seed(0)
    exchange(buffer, numbered(0, 2), draws)
    assert numbers(exchange(buffer, numbered(2, 1), draws)) == [2]
    exchange(buffer, numbered(10, 6), draws)
    assert len(buffer.images) == 3
    assert set(numbers(torch.stack(buffer.images))) <= {0, 1, 2, *range(10, 16)}
