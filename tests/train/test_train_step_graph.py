"""A whole step as one CUDA graph: its inputs, the learning rates, and the choice of the recipe."""

from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.support.training import toy_recipe
from tomostain.dataset.pair import Pair
from tomostain.errors import InputError
from tomostain.train import LoadedDataset, Trainer, load_recipe, objective, register_term
from tomostain.train.buffer import ImageBuffer
from tomostain.train.device_step import StepInputs
from tomostain.train.memory_options import check_step_graph
from tomostain.train.step_graph import PLAIN_STEPS, StepGraph
from tomostain.train.terms import TERMS


def inputs(value, plan=None, weight=0.5):
    image = torch.full((2, 1, 4, 4), float(value))
    return StepInputs(image, image + 1, image + 2, None, {} if plan is None else {"d_y": plan}, weight)


class Recorded:
    """A step that returns its inputs and the learning rate as losses; `rates` are those at the time of each call."""

    def __init__(self):
        self.optimiser = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.25)
        self.state = SimpleNamespace(optimisers={"generators": self.optimiser})
        self.groups = []

    def __call__(self, inputs):
        group = self.optimiser.param_groups[0]
        self.groups.append(dict(group))
        rows = [each.store_row.sum() for each in inputs.exchanges.values()]
        values = [inputs.x.mean(), inputs.mask.mean(), *rows, torch.as_tensor(inputs.average_weight)]
        return {"values": values, "rate": [torch.as_tensor(group["lr"]).clone()]}


@pytest.fixture
def graphs(monkeypatch):
    """Replace CUDA graphs: a launch runs the captured step again, at the fixed addresses."""
    made = []

    class Graph:
        def __init__(self):
            self.launches = 0
            made.append(self)

        def replay(self):
            self.launches += 1
            step, groups = self.graph.step, self.graph.step.optimiser.param_groups
            before = groups[0]["lr"]
            groups[0]["lr"] = self.graph._rates["generators"]
            results = step(self.graph._inputs.inputs)
            groups[0]["lr"] = before
            self.graph._losses.copy_(torch.stack([loss.float() for parts in results.values() for loss in parts]))

    @contextmanager
    def capture(graph, device):
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr("tomostain.train.step_graph.capturing", capture)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    return made


def test_the_first_steps_are_plain_and_then_one_graph_is_launched(graphs):
    step = Recorded()
    graph = StepGraph(step)
    for number in range(PLAIN_STEPS):
        graph(inputs(number))
    assert not graphs
    monkey = graph._capture

    def capture(values):
        monkey(values)
        graph._graph.graph = graph

    graph._capture = capture
    for number in (7, 8):
        losses = graph(inputs(number, weight=number / 10))
        assert [value.item() for value in losses["values"]] == pytest.approx([number, number + 2, number / 10])
    assert [each.launches for each in graphs] == [2]


def test_a_changed_learning_rate_and_exchange_reach_the_graph(graphs):
    step, buffer, draws = Recorded(), ImageBuffer(1), torch.Generator().manual_seed(0)
    graph = StepGraph(step)
    graph._plain_steps = PLAIN_STEPS
    original = graph._capture

    def capture(values):
        original(values)
        graph._graph.graph = graph

    graph._capture = capture
    for rate in (0.5, 0.125):
        step.optimiser.param_groups[0]["lr"] = rate
        plan = buffer.plan(2, draws)
        losses = graph(inputs(1, plan))
        assert losses["rate"][0].item() == rate
        assert losses["values"][2].item() == plan.store_row.sum().item()


def test_the_optimisers_are_capturable_during_the_capture_only(graphs):
    step = Recorded()
    graph = StepGraph(step)
    graph._capture(inputs(1))
    (during,) = step.groups
    assert during["capturable"]
    assert isinstance(during["lr"], torch.Tensor)
    after = step.optimiser.param_groups[0]
    assert (after["capturable"], after["lr"]) == (False, 0.25)


def test_a_step_that_cannot_be_captured_is_an_error_with_a_remedy(graphs, monkeypatch):
    step = Recorded()
    graph = StepGraph(step)
    graph._plain_steps = PLAIN_STEPS

    def fail(values):
        raise RuntimeError("operation not permitted when stream is capturing\nmore lines")

    monkeypatch.setattr(graph, "step", fail)
    fail.state = SimpleNamespace(optimisers=step.state.optimisers, step=3)
    with pytest.raises(InputError, match=r"^step 4: cannot be one CUDA graph \(operation not permitted.*false in"):
        graph(inputs(4))
    assert not step.optimiser.param_groups[0]["capturable"]


def test_too_little_memory_for_a_graph_is_a_separate_error(graphs, monkeypatch):
    step = Recorded()
    graph = StepGraph(step)
    graph._plain_steps = PLAIN_STEPS

    def fail(values):
        raise torch.cuda.OutOfMemoryError("out of memory")

    fail.state = step.state
    monkeypatch.setattr(graph, "step", fail)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        graph(inputs(1))


def test_a_graph_excludes_a_cpu_several_processes_and_recomputed_activations():
    with pytest.raises(InputError, match="step-graph: needs a GPU, and the device is cpu; set `device=cuda`, or set"):
        check_step_graph(torch.device("cpu"))
    with pytest.raises(InputError, match="step-graph: needs a single process, and there are 2; set compile: auto"):
        check_step_graph(torch.device("cuda"), 2)
    with pytest.raises(InputError, match="step-graph: excludes checkpoint_activations; set one of them to false"):
        check_step_graph(torch.device("cuda"), recomputes=True)


def test_a_recipe_leaves_precision_and_launching_to_the_device(monkeypatch):
    recipe = load_recipe("paired-cyclegan")
    assert (recipe.precision, recipe.compile) == ("auto", "auto")
    on_cpu = recipe.for_device(torch.device("cpu"))
    assert (on_cpu.precision, on_cpu.compile) == ("32-true", False)
    for capability, precision in (((8, 0), "bf16-mixed"), ((7, 5), "32-true")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, value=capability: value)
        on_card = recipe.for_device(torch.device("cuda"))
        assert (on_card.precision, on_card.compile) == (precision, "step-graph")
    assert recipe.for_device(torch.device("cuda"), 2).compile is False
    recomputing = recipe.model_copy(update={"checkpoint_activations": True})
    assert recomputing.for_device(torch.device("cuda")).compile is False
    monkeypatch.setitem(TERMS, "cycle", replace(TERMS["cycle"], capturable=False))
    assert recipe.for_device(torch.device("cuda")).compile is False
    chosen = recipe.model_copy(update={"precision": "32-true", "compile": False})
    assert chosen.for_device(torch.device("cuda")) == chosen


def random_pair(seed):
    rng = np.random.default_rng(seed)
    ct = rng.integers(5000, 35000, (150, 150)).astype(np.uint16)
    colours = rng.integers(0, 256, (150, 150, 3), dtype=np.uint8)
    return Pair(f"p{seed}", ct, colours, np.ones((150, 150), bool), 20.0)


def test_terms_of_this_package_can_be_captured_and_others_may_say_so():
    assert all(term.capturable for name, term in TERMS.items() if term.compute.__module__.startswith("tomostain."))
    for stated, expected in (({}, False), ({"capturable": True}, True)):
        register_term("counted", **stated)(lambda step: step.fake_y.mean())
        assert TERMS.pop("counted").capturable is expected


@pytest.mark.gpu
def test_a_loss_term_that_waits_for_the_device_is_named_as_the_reason(monkeypatch):
    plain = objective.weighted_sum

    def waiting(*arguments):
        total = plain(*arguments)
        total.item()
        return total

    monkeypatch.setattr("tomostain.train.device_step.weighted_sum", waiting)
    data = LoadedDataset.from_pairs([random_pair(seed) for seed in range(3)])
    trainer = Trainer(toy_recipe(compile="step-graph"), data, None, 0, "cuda")
    for _ in range(PLAIN_STEPS):
        trainer.take_step()
    with pytest.raises(InputError, match="set compile: false in the recipe"):
        trainer.take_step()


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["cycles", "ours"])
def test_steps_of_a_graph_have_the_plain_losses(name):
    changes = {"cycles": {"buffer": 4}, "ours": {"terms": {"l1": 20, "adversarial_y": 1}, "average": 0.9}}[name]
    losses = {}
    for launching in (False, "step-graph"):
        data = LoadedDataset.from_pairs([random_pair(seed) for seed in range(3)])
        # A low rate: a high one enlarges differences of rounding from step to step.
        options = {"compile": launching, "precision": "32-true", "learning_rate": 1e-4, "deterministic": True}
        trainer = Trainer(toy_recipe(**changes, **options), data, None, 0, "cuda")
        losses[launching] = [dict(trainer.take_step()) for _ in range(12)]
        assert isinstance(trainer.state.optimisers["generators"].param_groups[0]["lr"], float)
    for plain, graphed in zip(losses[False], losses["step-graph"], strict=True):
        assert graphed == pytest.approx(plain, rel=2e-3)
