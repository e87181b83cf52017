"""A recipe at work on a dataset: the step of generators and discriminators, and what an epoch leaves behind."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tomostain.dataset.dataset import Dataset
from tomostain.errors import InputError
from tomostain.imaging.network_range import ct_to_network
from tomostain.networks import Discriminator, build_network
from tomostain.networks.kernels import accelerate, arrange
from tomostain.tiling.blend import blend_tiles
from tomostain.train.buffer import ImageBuffer
from tomostain.train.checkpoint import State, save_best
from tomostain.train.distributed import Team
from tomostain.train.logbook import sample_picture, write_sample
from tomostain.train.losses import discriminator, l1, psnr
from tomostain.train.memory_options import begin_step, check_compiler, compiled, keep_gradients, recomputing, uncompiled
from tomostain.train.objective import Networks, Step, compute_terms, weighted_sum
from tomostain.train.recipes import Recipe
from tomostain.train.residual_registration import align
from tomostain.train.sampling import Batch, PatchSampler

VALIDATION = {"validation_l1": l1, "validation_psnr": psnr}
VALIDATION_BATCHES = 4


class Trainer:
    """A recipe at work on a dataset: its networks, optimisers and draws.

    Parameters
    ----------
    recipe : Recipe
    data : Dataset
    fold : int or None
    seed : int
    device : str or Team
        Where; or the processes that train together, if they have met before.

    Attributes
    ----------
    team : Team
    state : State
        All that moves.
    steps_per_epoch : int
    columns : list of str
        What a row of the metrics can hold beside step, epoch and seconds.
    """

    def __init__(self, recipe: Recipe, data: Dataset, fold: int | None, seed: int, device: str | Team) -> None:
        self.recipe = recipe
        self.team = device if isinstance(device, Team) else Team(device)
        self.team.check_batch(recipe.batch, recipe.accumulate)
        self.fabric = self.team.fabric(recipe.precision)
        torch.backends.cudnn.deterministic = True
        torch.manual_seed(seed)  # dropout draws from torch's own generators
        split = data.split(fold)
        self.sampler = self._sampler(data, split.train)
        self.validation = self._sampler(data, split.validation) if split.validation else None
        self.state = _build_state(recipe, seed, self.fabric, self.team)
        self.steps_per_epoch = -(-recipe.patches_per_pair * len(split.train) // recipe.batch)
        self.columns = [*recipe.active, "total", *self.state.networks.discriminators()]
        if self.validation is not None:
            self.columns += VALIDATION

    def _sampler(self, data: Dataset, ids: Sequence[str]) -> PatchSampler:
        recipe = self.recipe
        return PatchSampler(
            [data.load(pair_id, recipe.ct_slices) for pair_id in ids],
            patch_px=recipe.patch_px,
            batch=recipe.batch,
            augment=recipe.augment,
            device=self.fabric.device,
            in_channels=recipe.in_channels,
            inverted_ct=recipe.inverted_ct,
            ct_slices=recipe.ct_slices,
        )

    def take_step(self) -> dict[str, float]:
        """Take one step of generators and discriminators; return the losses."""
        state, recipe, team = self.state, self.recipe, self.team
        if recipe.cuda_graphs:
            begin_step()
        if recipe.realign and state.step and state.step % recipe.realign == 0:
            self.realign()
        parts = self._parts(self.sampler.draw(state.draws))
        values = self._improve_generators(parts)
        if recipe.adversarial:
            values |= self._improve_discriminators(parts)
        values = team.mean(values)
        state.step += 1
        bad = [name for name, value in values.items() if not abs(value) < float("inf")]
        if bad:
            raise InputError(f"step {state.step}: the loss '{bad[0]}' is not finite; lower the recipe's learning_rate")
        for name in (*recipe.active, "total"):
            state.sums[name] = state.sums.get(name, 0.0) + values[name]
        return values

    def _parts(self, batch: Batch) -> list[Step]:
        """Divide this process's part of a batch in what goes through the networks at once."""
        x, y, mask = (self.team.part(whole).chunk(self.recipe.accumulate) for whole in (batch.x, batch.y, batch.mask))
        return [Step(self.state.networks, *part, total=self.team.total) for part in zip(x, y, mask, strict=True)]

    def realign(self) -> None:
        """Lay each pair's histology anew on what G_xy makes of its µCT; each process sees to some of them."""
        sampler, team, device = self.sampler, self.team, self.fabric.device
        before = self.state.places or [torch.zeros(2, 3, device=device)] * len(sampler)
        places = [torch.zeros(2, 3, device=device) for _ in before]
        for number in range(team.rank, len(sampler), team.size):
            ct, real, mask = sampler.given(number)
            drawn = torch.from_numpy(np.moveaxis(self.draw(ct), -1, 0).copy()).to(device)
            places[number] = align(drawn, real, mask, before[number])
        self.state.places = [team.total(place) for place in places]
        self.lay_pairs()

    def lay_pairs(self) -> None:
        """Put the histology where `state` says."""
        for number, place in enumerate(self.state.places):
            self.sampler.lay(number, place)

    @torch.no_grad()
    @uncompiled()
    def draw(self, ct: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what would be stained of a whole µCT image as it stands: (Y, X, 3) in [-1, 1].

        Of (Y, X), or (ct_slices, Y, X) for recipes that see several slices.
        """
        network, recipe = self.state.networks.staining, self.recipe

        def translate(patches: Tensor) -> Tensor:
            x = ct_to_network(patches.to(self.fabric.device))
            x = x if recipe.ct_slices > 1 else x[:, None].repeat(1, recipe.in_channels, 1, 1)
            return network(-x if recipe.inverted_ct else x).float()

        network.eval()
        drawn = blend_tiles(translate, ct, patch_px=recipe.patch_px, stride_px=recipe.patch_px // 2)
        network.train()
        return drawn

    def _improve_generators(self, parts: Sequence[Step]) -> dict[str, float]:
        """Descend eq. (4), (7) or (10)."""
        judges = self.state.networks.discriminators().values()
        for judge in judges:
            judge.requires_grad_(False)  # their gradients would be thrown away

        def compute(number: int) -> dict[str, Tensor]:
            terms = compute_terms(parts[number], self.recipe.active)
            return terms | {"total": weighted_sum(terms, self.recipe.active)}

        values = self._descend("generators", compute, [step.let_go for step in parts], judges)
        self._follow()
        for judge in judges:
            judge.requires_grad_(True)
        return values

    @torch.no_grad()
    def _follow(self) -> None:
        """Let the average follow G_xy: quickly at first, when all is still noise."""
        average, step = self.state.networks.average, self.state.step
        if average is None:
            return
        decay = min(self.recipe.average, (1 + step) / (10 + step))
        for kept, now in zip(average.parameters(), self.state.networks.g_xy.parameters(), strict=True):
            kept.lerp_(now, 1 - decay)

    def _improve_discriminators(self, parts: Sequence[Step]) -> dict[str, float]:
        """Tell real from generated, the generated ones partly from the buffers."""
        networks = self.state.networks
        fakes = {"d_y": [step.fake_y for step in parts]}
        if networks.d_x is not None:
            fakes["d_x"] = [step.fake_x for step in parts]
        old = {name: self._exchange(name, torch.cat(made).detach()).chunk(len(parts)) for name, made in fakes.items()}

        def compute(number: int) -> dict[str, Tensor]:
            step, losses = parts[number], {}
            condition = [step.x] if networks.conditional else []
            for name, judge in networks.discriminators().items():
                real = step.y if name == "d_y" else step.x
                losses[name] = discriminator(judge(real, *condition), judge(old[name][number], *condition))
            return losses | {"total": torch.stack(list(losses.values())).sum()}

        values = self._descend("discriminators", compute)
        del values["total"]
        return values

    def _exchange(self, name: str, fake: Tensor) -> Tensor:
        """Return fakes, partly of earlier steps: every process keeps the whole batch's, so that all draw alike."""
        buffer = self.state.buffers[name]
        if not buffer.size:
            return fake
        return self.team.part(buffer.exchange(self.team.whole(fake), self.state.draws))

    def _descend(
        self,
        which: str,
        compute: Callable[[int], dict[str, Tensor]],
        after: Sequence[Callable[[], None]] = (),
        frozen: Iterable[nn.Module] = (),
    ) -> dict[str, float]:
        """Take the mean gradient of "total" over the parts of a batch, and a step; return the means of all losses."""
        optimiser, parts = self.state.optimisers[which], self.recipe.accumulate
        learning = getattr(self.state.networks, which)().values()
        optimiser.zero_grad(set_to_none=not self.recipe.cuda_graphs)
        means: dict[str, float] = {}
        for number in range(parts):
            # Processes put their gradients together once, after the last part.
            waiting = learning if number < parts - 1 else ()
            with self.team.frozen(self.fabric, [*frozen, *waiting]):
                losses = compute(number)
                self.fabric.backward(losses["total"] / parts)
            for name, loss in losses.items():
                means[name] = means.get(name, 0.0) + float(loss.detach()) / parts
            for act in after[number : number + 1]:
                act()
        values = [value for group in optimiser.param_groups for value in group["params"]]
        # Instance normalisation of a perfectly flat patch multiplies gradients by 1/√ε in every layer, up to infinity.
        size = nn.utils.clip_grad_norm_(values, self.recipe.clip_norm or float("inf"))
        if size.isfinite():
            optimiser.step()
        return means

    def end_epoch(self, run: Path) -> dict[str, float]:
        """Keep the weights of every term that was never lower on average, draw a sample; return the validation.

        Only the first process writes and validates.
        """
        for name, total in self.state.sums.items():
            mean = total / self.steps_per_epoch
            if mean < self.state.best.get(name, float("inf")):
                self.state.best[name] = mean
                if self.team.leads:
                    save_best(run, name, self.state)
        self.state.sums = {}
        if not self.team.leads:
            return {}
        self.write_sample(run)
        return {} if self.validation is None else self.validate()

    @torch.no_grad()
    @uncompiled()
    def validate(self) -> dict[str, float]:
        """Compare generated and real histology inside the mask, on the same validation patches each time.

        Returns
        -------
        dict of str to float
            ``validation_l1`` (eq. 9) and ``validation_psnr``, dB.
        """
        assert self.validation is not None
        network, draws = self.state.networks.staining, torch.Generator().manual_seed(0)
        network.eval()
        sums = dict.fromkeys(VALIDATION, 0.0)
        for _ in range(VALIDATION_BATCHES):
            batch = self.validation.draw(draws)
            fake_y = network(batch.x)
            for name, measure in VALIDATION.items():
                sums[name] += float(measure(fake_y, batch.y, batch.mask))
        network.train()
        return {name: value / VALIDATION_BATCHES for name, value in sums.items()}

    @torch.no_grad()
    @uncompiled()
    def write_sample(self, run: Path) -> None:
        """Write a picture of two training patches and, where there is a fold, two of validation."""
        networks, draws = self.state.networks, torch.Generator().manual_seed(1)
        drawing = [*networks.generators().values(), networks.staining]
        for network in drawing:
            network.eval()
        rows = []
        for sampler in filter(None, (self.sampler, self.validation)):
            batch = sampler.draw(draws)
            fake_y = networks.staining(batch.x)
            fake_x = [] if networks.g_yx is None else [networks.g_yx(batch.y)]
            # Of several slices the one that is drawn.
            x = batch.x[:, self.recipe.ct_slices // 2, None] if self.recipe.ct_slices > 1 else batch.x
            images = [x, fake_y, batch.mask * 2 - 1, batch.y, *fake_x]
            rows += [[image[number] for image in images] for number in range(min(2, len(batch.x)))]
        for network in drawing:
            network.train()
        write_sample(run, self.state.step, sample_picture(rows))


def _prepared(network: nn.Module, recipe: Recipe, device: torch.device) -> Any:
    """Put into a network, in place, what makes it quicker on a CPU."""
    if device.type != "cpu" or recipe.compile or recipe.kernels == "plain":
        return network
    return accelerate(network) if recipe.precision == "32-true" else arrange(network)


def _build_state(recipe: Recipe, seed: int, fabric: Any, team: Team) -> State:
    """Build and initialise networks, optimisers and buffers."""
    draws = torch.Generator().manual_seed(seed)

    if recipe.compile:
        check_compiler(recipe.cuda_graphs, fabric.device, team.size)

    def build(spec: dict[str, Any]) -> Any:
        network = _prepared(team.share_dropout(build_network(spec, draws)), recipe, fabric.device)
        if recipe.checkpoint_activations and not isinstance(network, Discriminator):
            network = recomputing(network)
        return fabric.setup_module(compiled(network, recipe.cuda_graphs) if recipe.compile else network)

    def adam(modules: dict[str, nn.Module]) -> torch.optim.Optimizer:
        values = [value for module in modules.values() for value in module.parameters()]
        if recipe.cuda_graphs:
            keep_gradients(values)
        return fabric.setup_optimizers(torch.optim.Adam(values, lr=recipe.learning_rate, betas=recipe.betas))

    networks = Networks(build(recipe.generator_spec()), conditional=recipe.conditional)
    if recipe.needs_reverse:
        networks.g_yx = build(recipe.generator_spec(reverse=True))
    if recipe.adversarial:
        networks.d_y = build(recipe.discriminator_spec())
        networks.d_x = build(recipe.discriminator_spec(reverse=True)) if recipe.needs_reverse else None
        judges: list[Any] = list(networks.discriminators().values())
        for judge in judges:
            judge.mark_forward_method("features")
    trained = networks.generators()
    if recipe.needs_field:
        networks.field = trained["field"] = build(recipe.field)
    if recipe.average:
        average = _prepared(build_network(recipe.generator_spec()), recipe, fabric.device)
        networks.average = fabric.setup_module(average).requires_grad_(False)
        networks.average.load_state_dict(networks.g_xy.state_dict())
    optimisers = {"generators": adam(trained)}
    if recipe.adversarial:
        optimisers["discriminators"] = adam(networks.discriminators())
    buffers = {name: ImageBuffer(recipe.buffer) for name in networks.discriminators()}
    return State(networks, optimisers, buffers, draws)
