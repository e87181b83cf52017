"""The memory options of a step: batch in parts, recomputed activations, compiled networks. Results do not change."""

import copy
import os
import shutil

import pytest
import torch
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.utils import counters
from torch.multiprocessing.reductions import StorageWeakRef

from tests.support.distributed_worker import double
from tests.support.training import DROPOUT, REGISTERED, RESIDUAL, bits, same, stop_at, toy_pair, toy_recipe
from tomostain.dataset.dataset import load_dataset
from tomostain.dataset.writer import save_dataset
from tomostain.errors import InputError, InterruptedRunError
from tomostain.networks.build import build_network
from tomostain.train import Trainer, train
from tomostain.train import losses as paper
from tomostain.train import memory_options as switches
from tomostain.train.memory_options import check_compiler, compiled, recomputing

STEPS = 5
ADVERSARIAL = {
    "cycles": {},
    "judge of histology": RESIDUAL | {"in_channels": 1},
    "conditional": DROPOUT | {"generator": {"name": "unet", "width": 1, "downs": 2, "dropout": 0.0}, "patch_px": 16},
}

# torch 2.6 does not have the option.
_OPTION = "fail_on_recompile_limit_hit"
FAIL_AT_LIMIT = {_OPTION: True} if hasattr(torch._dynamo.config, _OPTION) else {"suppress_errors": False}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    pairs = [toy_pair(f"p{seed}", seed) for seed in range(3)]
    for number, pair in enumerate(pairs):
        pair.mask[: 3 + 4 * number, 5:20] = False  # parts of a batch have unequal shares of the mask
    return save_dataset(tmp_path_factory.mktemp("switches") / "dataset", pairs, test=[], folds=[["p2"]]).path


def steps(dataset, recipe, count=STEPS):
    """Return each step's losses, in double precision."""
    with double() as losses:
        trainer = Trainer(recipe, load_dataset(dataset), 0, 0, "cpu")
        for _ in range(count):
            trainer.take_step()
    return losses, trainer


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_a_batch_in_parts_takes_the_step_of_the_whole(dataset, name):
    values = ADVERSARIAL[name] | {"batch": 4, "clip_norm": 5}
    whole, of_whole = steps(dataset, toy_recipe(**values))
    for parts in (2, 4):
        actual, of_parts = steps(dataset, toy_recipe(**values, accumulate=parts))
        assert [dict(row) for row in actual] == [pytest.approx(row, rel=1e-9, abs=1e-12) for row in whole]
        networks = (trainer.state.networks.g_xy for trainer in (of_parts, of_whole))
        for one, other in zip(*(network.parameters() for network in networks), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-7)


def test_gradients_of_parts_are_those_of_the_whole(dataset):
    # Adam hides a factor in the gradient; without Adam's step, the factor is visible.
    gradients = []
    for parts in (1, 4):
        _, trainer = steps(dataset, toy_recipe(batch=4, accumulate=parts, buffer=0), 1)
        networks = trainer.state.networks
        gradients.append([p.grad for net in (networks.g_xy, networks.d_x) for p in net.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 4, "accumulate": 3}, "accumulate 3 does not divide batch 4"),
        ({"accumulate": 2, "terms": {"registered_pixelwise": 1}}, "leave accumulate at 1"),
    ],
)
def test_impossible_divisions_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        toy_recipe(**changes)


def test_a_share_that_cannot_be_divided_is_an_error():
    from tomostain.train.distributed import DistributedContext

    context = DistributedContext("cpu")
    context.size = 2
    with pytest.raises(InputError, match=r"2 of 2 parts each \(accumulate\) do not divide it.*`batch: 8`"):
        context.check_batch(6, 2)


@pytest.mark.parametrize("changes", [{}, DROPOUT], ids=["resnet", "unet with dropout"])
def test_recomputed_activations_change_no_bit(dataset, tmp_path, changes):
    runs = []
    for switch in (False, True):
        recipe = toy_recipe(**changes, checkpoint_activations=switch)
        runs.append(train(dataset, tmp_path / f"{switch}", recipe=recipe, max_steps=STEPS))
    assert same(*(bits(run) for run in runs))


def test_a_run_with_memory_options_resumes_to_the_same_bits(dataset, tmp_path):
    recipe = toy_recipe(accumulate=2, checkpoint_activations=True)
    whole = train(dataset, tmp_path / "whole", recipe=recipe, max_steps=STEPS)
    with pytest.raises(InterruptedRunError):
        train(dataset, tmp_path / "broken", recipe=recipe, max_steps=STEPS, **stop_at(2))
    train(dataset, tmp_path / "broken", recipe=recipe, max_steps=STEPS, resume=True)
    assert same(bits(tmp_path / "broken"), bits(whole))


def test_recomputing_keeps_less():
    # Counts the values that autograd stores for the backward pass.
    stored = []
    for prepare in (copy.copy, recomputing):
        network, sizes = prepare(build_network({"name": "resnet", "width": 8, "blocks": 3})), []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, sizes=sizes: sizes.append(tensor.numel()), copy.copy
        ):
            network(torch.randn(1, 3, 32, 32))
        stored.append(sum(sizes))
    assert stored[1] < 0.4 * stored[0]


needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++"))), reason="torch.compile needs a C++ compiler"
)


@needs_compiler
def test_compiled_networks_learn_the_same(dataset):
    losses = []
    for switch in (False, True):
        # The generator alone: every network takes the compiler half a minute.
        recipe = toy_recipe(terms={"l1": 1}, in_channels=1, compile=switch, kernels="plain")
        trainer = Trainer(recipe, load_dataset(dataset), 0, 0, "cpu")
        losses.append([trainer.take_step() for _ in range(3)])
        names = list(trainer.state.networks.g_xy.state_dict())
    assert losses[1] == [pytest.approx(row, rel=2e-3) for row in losses[0]]
    assert not any("_orig_mod" in name for name in names)


@needs_compiler
def test_a_compiled_discriminator_takes_the_plain_ones_step():
    plain = build_network({"name": "patch", "width": 2, "layers": 1}, torch.Generator().manual_seed(0))
    # Both pictures need a gradient, so that the compiler handles one case only.
    images = torch.randn(2, 2, 3, 16, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()
    actual = []
    for judge in (compiled(copy.deepcopy(plain)), plain):
        loss = paper.discriminator(*(judge(image) for image in images))
        gradients = torch.autograd.grad(loss, [images, *judge.parameters()])
        actual.append([loss, *judge.features(images[0]), *gradients])
        assert list(judge.state_dict()) == list(plain.state_dict())
        optimiser = torch.optim.SGD(judge.parameters(), lr=0.1)
        for value, gradient in zip(judge.parameters(), gradients[1:], strict=True):
            value.grad = gradient
        optimiser.step()
        actual[-1].append(judge(images[0]))  # with the new weights
    for one, other in zip(*actual, strict=True):
        # A bias before a normalisation has no gradient but rounding.
        size = other.norm()
        assert (one - other).norm() <= (1e-5 * size if size > 1e-6 else 1e-6)


@needs_compiler
def test_a_compiled_discriminator_still_returns_its_features(dataset):
    trainer = Trainer(toy_recipe(compile=True), load_dataset(dataset), 0, 0, "cpu")
    assert trainer.state.networks.d_y.features.__name__ == "features"


@pytest.fixture
def user(monkeypatch, tmp_path):
    """A user with an own cache folder who has set no folder for compiled networks; return the cache folder."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "restored after the test")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("tomostain.train.initialise.check_compiler", lambda *_: None)
    return tmp_path / "cache"


@pytest.mark.parametrize("value", [True, "cuda-graphs"])
def test_compiled_networks_are_stored_in_the_cache_folder_of_the_user(dataset, user, value):
    from torch._inductor.codecache import cache_dir

    Trainer(toy_recipe(terms={"l1": 1}, in_channels=1, compile=value), load_dataset(dataset), 0, 0, "cpu")
    assert cache_dir() == str(user / "tomostain" / "torchinductor")
    assert (user / "tomostain" / "torchinductor").is_dir()


def test_a_folder_for_compiled_networks_that_the_user_has_set_stays(dataset, user, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "own"))
    Trainer(toy_recipe(terms={"l1": 1}, in_channels=1, compile=True), load_dataset(dataset), 0, 0, "cpu")
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "own")
    assert not user.exists()


def test_nothing_is_stored_without_compiling_or_in_a_folder_that_cannot_be_written(dataset, user, monkeypatch):
    Trainer(toy_recipe(terms={"l1": 1}, in_channels=1, compile=False), load_dataset(dataset), 0, 0, "cpu")
    assert not user.exists()
    user.write_text("a file where the folder should be")
    switches.keep_compiled_networks()
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ


@pytest.mark.parametrize(("graphs", "value"), [(False, "true"), (True, "cuda-graphs")])
def test_missing_requirements_of_compiling_are_named(monkeypatch, graphs, value):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(switches, "find_spec", lambda name: None)
    if not graphs:
        with pytest.raises(InputError, match=r"compile: true: torch.compile needs a C\+\+ compiler.* compile: false"):
            check_compiler(graphs, torch.device("cpu"))
    with pytest.raises(InputError, match=f"compile: {value}: torch.compile needs Triton.*or set compile: false"):
        check_compiler(graphs, torch.device("cuda"))


def test_graphs_need_a_gpu_and_one_process(dataset):
    recipe = toy_recipe(compile="cuda-graphs")
    with pytest.raises(InputError, match="compile: cuda-graphs: needs a GPU, and the device is cpu; set `device=cuda`"):
        Trainer(recipe, load_dataset(dataset), 0, 0, "cpu")
    with pytest.raises(
        InputError, match="cuda-graphs: needs a single process, and there are 2; start one, or set compile"
    ):
        check_compiler(True, torch.device("cuda"), 2)


@pytest.mark.parametrize(("value", "graphs"), [(False, False), (True, False), ("cuda-graphs", True)])
def test_the_key_has_three_values_and_is_recorded(value, graphs):
    recipe = toy_recipe(compile=value)
    assert recipe.cuda_graphs is graphs
    assert type(recipe).from_dict(recipe.model_dump(mode="json")) == recipe
    with pytest.raises(InputError, match="compile = 'graphs': input should be 'auto', 'step-graph', False, True or"):
        toy_recipe(compile="graphs")


class Graphs:
    """What CUDA graphs ask of a step, watched on a CPU: a compiler that makes none, but remembers what passes return.

    Attributes
    ----------
    modes : set of str or None
        What networks were compiled with.
    passes, steps : int
        Forward and backward passes that went through compiled networks; steps that were started.
    alive : list of int
        How much of what those had returned was still there at the beginning of each step, where graphs write over it.
    """

    def __init__(self, monkeypatch):
        self.modes, self.passes, self.steps, self.alive, self.returned = set(), 0, 0, [], []
        torch._dynamo.reset()  # earlier compiled networks would be used without the watch
        compile_, backend = torch.compile, aot_autograd(fw_compiler=self.watched, bw_compiler=self.watched)

        def watched_compile(function, mode=None):
            self.modes.add(mode)
            return compile_(function, backend=backend)

        monkeypatch.setattr(torch, "compile", watched_compile)
        monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", self.begin)
        monkeypatch.setattr("tomostain.train.initialise.check_compiler", lambda *_: None)

    def watched(self, graph, _):
        def run(*values):
            inputs = {value.untyped_storage().data_ptr() for value in values if isinstance(value, torch.Tensor)}
            results = graph(*values)
            made = [value.untyped_storage() for value in results if isinstance(value, torch.Tensor)]
            self.returned += [StorageWeakRef(storage) for storage in made if storage.data_ptr() not in inputs]
            self.passes += 1
            return results

        return make_boxed_func(run)

    def begin(self):
        self.alive.append(sum(not storage.expired() for storage in self.returned))
        self.returned = []
        self.steps += 1


GRAPHED = {
    "cycles": {"average": 0.9},
    "parts": {"batch": 4, "accumulate": 2, "patches_per_pair": 6},
    "residual": RESIDUAL | {"in_channels": 1, "residual_registration": 2, "checkpoint_activations": True},
    "deformation": REGISTERED | {"average": 0},
}


@torch._dynamo.config.patch(FAIL_AT_LIMIT)  # later networks are not compiled
@pytest.mark.parametrize("name", GRAPHED)
def test_outputs_of_graphs_are_released_before_the_next_step(dataset, tmp_path, monkeypatch, name):
    values = GRAPHED[name] | {"kernels": "plain"}
    whole, _ = steps(dataset, toy_recipe(**values))
    graphs = Graphs(monkeypatch)
    actual, trainer = steps(dataset, toy_recipe(**values, compile="cuda-graphs"))
    assert actual == [pytest.approx(row, rel=1e-9, abs=1e-12) for row in whole]
    assert graphs.modes == {"reduce-overhead"}
    assert graphs.steps == STEPS
    assert graphs.passes >= 4 * STEPS
    assert graphs.alive == [0] * STEPS
    # Pictures are drawn without graphs: they have other sizes and stay in memory.
    before = graphs.passes
    trainer.end_epoch(tmp_path)
    assert graphs.passes == before


def test_without_graphs_no_step_is_marked(dataset, monkeypatch):
    graphs = Graphs(monkeypatch)
    steps(dataset, toy_recipe(terms={"l1": 1}, in_channels=1, compile=True), 2)
    assert (graphs.modes, graphs.steps) == ({None}, 0)
    assert graphs.passes > 0


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["cycles", "residual"])  # to compile takes most of the time
def test_steps_of_cuda_graphs_have_the_plain_losses(dataset, monkeypatch, name):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    torch._dynamo.reset()
    counters.clear()
    actual = []
    for switch in (False, "cuda-graphs"):
        # A low rate: a high one enlarges differences of rounding from step to step.
        recipe = toy_recipe(**GRAPHED[name] | {"learning_rate": 1e-4}, compile=switch, precision="32-true")
        trainer = Trainer(recipe, load_dataset(dataset), 0, 0, "cuda")
        # The first step warms up, the second records, the others replay.
        actual.append([trainer.take_step() for _ in range(STEPS)])
    assert not counters["inductor"]["cudagraph_skips"]
    for losses in actual[1:]:
        assert losses == [pytest.approx(row, rel=2e-3, abs=1e-6) for row in actual[0]]
