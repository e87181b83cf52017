"""The ranks of a distributed training, within one process: shards, sums, errors and dropout."""

from contextlib import contextmanager

import pytest
import torch
from torch import nn

from tests.support.ranks import Ranks
from tests.support.training import toy_pair, toy_recipe
from tomostain.errors import InputError, PeerProcessError
from tomostain.train import loop, train_model
from tomostain.train.determinism import deterministic
from tomostain.train.distributed import DistributedContext

PAIRS = [toy_pair("a", 0), toy_pair("b", 1)]


@pytest.fixture
def ranks(monkeypatch):
    return Ranks(monkeypatch, 2)


def test_shards_are_parts_of_the_batch_and_gather_returns_it_on_each_rank(ranks):
    batch = torch.arange(12.0).reshape(4, 3)
    shards = ranks.run(lambda context: context.shard(batch))
    assert [shard[:, 0].tolist() for shard in shards] == [[0, 3], [6, 9]]
    for whole in ranks.run(lambda context: context.gather(context.shard(batch))):
        assert torch.equal(whole, batch)


def test_totals_and_means_are_over_all_ranks(ranks):
    value = torch.tensor([1.0, 2.0], requires_grad=True)
    for total in ranks.run(lambda context: context.total(value * (context.rank + 1))):
        assert total.tolist() == [3.0, 6.0]
        assert not total.requires_grad
    assert (
        ranks.run(lambda context: context.mean({"l1": 1.0 + context.rank, "total": 5.0}))
        == [{"l1": 1.5, "total": 5.0}] * 2
    )


def test_losses_of_several_steps_take_one_exchange(ranks, monkeypatch):
    all_reduce, exchanges = torch.distributed.all_reduce, []
    monkeypatch.setattr(
        torch.distributed, "all_reduce", lambda *values: exchanges.append(len(values[0])) or all_reduce(*values)
    )
    rows = [{"l1": 1.0, "total": 5.0}, {"l1": 2.0}]
    results = ranks.run(lambda context: context.means([{k: v + context.rank for k, v in row.items()} for row in rows]))
    assert results == [[{"l1": 1.5, "total": 5.5}, {"l1": 2.5}]] * 2
    assert exchanges == [3, 3]  # one on each rank
    assert ranks.run(lambda context: context.means([])) == [[], []]


@pytest.mark.parametrize(("device", "size", "steps"), [("cpu", 1, 1), ("cpu", 2, 1), ("cuda", 1, 1), ("cuda", 2, 10)])
def test_only_processes_with_gpus_take_steps_without_an_exchange(monkeypatch, device, size, steps):
    context = Ranks(monkeypatch, size).context(0)
    context.device = torch.device(device)
    assert context.exchange_every_steps == steps


@pytest.mark.parametrize(("requested", "stop"), [((), False), ((1,), True), ((0, 1), True)])
def test_the_time_is_that_of_rank_zero_and_one_request_stops_all(ranks, requested, stop):
    results = ranks.run(
        lambda context: context.sync_stop((10.0 + context.rank, 20.0 + context.rank), stop=context.rank in requested)
    )
    assert results == [((10.0, 20.0), stop)] * 2


@pytest.mark.parametrize(
    ("failing", "messages"),
    [
        ((), ["done", "done"]),
        ((1,), ["PeerProcessError: process 1 of this training failed", "ValueError: rank 1"]),
        ((0,), ["ValueError: rank 0", "PeerProcessError: process 0 of this training failed"]),
        ((0, 1), ["ValueError: rank 0", "PeerProcessError: process 0 of this training failed"]),
    ],
)
def test_a_failure_on_one_rank_is_an_error_on_all(ranks, failing, messages):
    def work(context):
        with context.raise_on_all_ranks():
            if context.rank in failing:
                raise ValueError(f"rank {context.rank}")
        return "done"

    results = ranks.run(work)
    shown = [each if isinstance(each, str) else f"{type(each).__name__}: {each}" for each in results]
    assert shown == messages


def test_dropout_of_the_shards_is_that_of_the_whole_batch(ranks):
    image = torch.rand(4, 3, 5, 5) + 0.5
    with deterministic(0):
        whole = nn.Sequential(nn.Identity(), nn.Sequential(nn.Dropout(0.5)))(image)
    assert 0 < int((whole == 0).sum()) < whole.numel()
    parts = []
    for rank in range(2):
        context = ranks.context(rank)
        network = context.share_dropout(nn.Sequential(nn.Identity(), nn.Sequential(nn.Dropout(0.5))))
        with deterministic(0):
            parts.append(network(context.shard(image)))
        assert torch.equal(network.eval()(image), image)
    assert torch.equal(torch.cat(parts), whole)


def test_dropout_of_a_single_process_stays_that_of_torch():
    network = DistributedContext("cpu").share_dropout(nn.Sequential(nn.Dropout(0.5)))
    assert type(network[0]) is nn.Dropout


@pytest.mark.parametrize(("size", "expected"), [(1, []), (2, ["first", "second"])])
def test_gradients_are_left_unsummed_for_the_given_networks(monkeypatch, size, expected):
    class Fabric:
        without = []  # noqa: RUF012

        @contextmanager
        def no_backward_sync(self, module):
            self.without.append(module)
            yield
            self.without.remove(module)

    fabric, context = Fabric(), Ranks(monkeypatch, size).context(0)
    with context.without_sync(fabric, ["first", "second"]):
        assert fabric.without == expected
    assert fabric.without == []


@pytest.mark.parametrize(
    ("batch", "parts", "message"),
    [
        (3, 1, "batch 3: .* and 2 do not divide it; .* `batch: 4`"),
        (6, 2, r"batch 6: .* and 2 of 2 parts each \(accumulate\) do not divide it; .* `batch: 8`"),
    ],
)
def test_a_batch_that_the_ranks_do_not_divide_is_refused_with_one_that_they_do(ranks, batch, parts, message):
    with pytest.raises(InputError, match=message):
        ranks.context(0).check_batch(batch, parts)


def test_the_precision_is_resolved_before_modules_are_set_up():
    with pytest.raises(ValueError, match=r"precision 'auto': resolve it first with `Recipe.for_device`"):
        DistributedContext("cpu").fabric("auto")


def test_older_names_of_methods_warn_and_others_are_attribute_errors():
    context = DistributedContext("cpu")
    with pytest.warns(DeprecationWarning, match="DistributedContext.leads is now is_rank_zero"):
        assert context.leads is True
    with pytest.raises(AttributeError, match="'DistributedContext' has no attribute 'leader'"):
        _ = context.leader


@pytest.fixture
def other_rank(monkeypatch):
    """Make this process one that has not rank zero, of a training whose other processes are not there."""

    class Other(DistributedContext):
        def __init__(self, device):
            super().__init__(device)
            self.rank = 1

    monkeypatch.setattr(loop, "DistributedContext", Other)


def test_only_rank_zero_writes_files_and_reports_progress(other_rank, tmp_path):
    reports = []
    train_model(PAIRS, tmp_path / "run", recipe=toy_recipe(), max_steps=4, progress=lambda *each: reports.append(each))
    assert reports == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failure", ["stop", "loss"])
def test_an_error_of_all_ranks_is_reported_by_rank_zero_alone(other_rank, tmp_path, failure):
    huge = {"learning_rate": 1e30} if failure == "loss" else {}
    with pytest.raises(PeerProcessError, match="not finite" if huge else "stopped at step 1 of 30; set `resume=True`"):
        train_model(
            PAIRS,
            tmp_path / "run",
            recipe=toy_recipe(terms={"l1": 1}, **huge),
            max_steps=30,
            should_stop=lambda: not huge,
        )
    assert list(tmp_path.iterdir()) == []


def test_several_processes_need_a_folder(monkeypatch):
    monkeypatch.setattr(loop, "DistributedContext", lambda device: Ranks(monkeypatch, 2).context(0))
    with pytest.raises(InputError, match="`run`: several processes that train one model need a folder; give `run`"):
        train_model(PAIRS, recipe=toy_recipe(), max_steps=1)
