"""The training step of generators and discriminators, validation and sample images."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tomostain.dataset.dataset import Dataset
from tomostain.deprecation import renamed_method
from tomostain.errors import InputError
from tomostain.networks.noise_input import add_noise
from tomostain.paths import StrPath
from tomostain.train.checkpoint import save_best
from tomostain.train.determinism import RandomState
from tomostain.train.device_step import DeviceStep, StepInputs
from tomostain.train.distributed import EXCHANGE_EVERY_STEPS, DistributedContext
from tomostain.train.initialise import build_state
from tomostain.train.logbook import sample_picture, write_sample
from tomostain.train.losses import l1, masked_psnr
from tomostain.train.memory_options import uncompiled
from tomostain.train.pair_registration import PairRegistration
from tomostain.train.recipe import Recipe
from tomostain.train.sampling import PatchSampler
from tomostain.train.skipped_steps import SkippedSteps
from tomostain.train.step_graph import StepGraph
from tomostain.train.step_losses import StepLosses, read_together
from tomostain.train.whole_images import stain_whole
from tomostain.train.windows import Batch

logger = logging.getLogger(__name__)

VALIDATION = {"validation_l1": l1, "validation_psnr": masked_psnr}
VALIDATION_BATCHES = 4
READ_EVERY_STEPS = EXCHANGE_EVERY_STEPS


class Trainer:
    """The training of a recipe on a dataset: networks, optimisers, random draws.

    Torch's global random state and the cuDNN switches of the process are unchanged after each method.

    Parameters
    ----------
    recipe : Recipe
    data : Dataset
    fold : int or None
        The fold that validates; None: all pairs but the test set train.
    seed : int
    device : str or DistributedContext
        The device, or the processes that train together if they are already connected.

    Attributes
    ----------
    context : DistributedContext
    state : State
        Everything that changes during the training.
    device_step : DeviceStep
        The part of a step that runs on the device.
    steps_per_epoch : int
    columns : list of str
        The possible columns of the metrics, without step, epoch and seconds.
    skipped_steps : SkippedSteps
        The steps since the beginning or continuation that were left out.
    fine_tuning : bool
        Whether the learning rate follows the recipe's `fine_tune`: the weights began as those of another model.
    """

    fine_tuning = False
    step_class: ClassVar[type[DeviceStep]] = DeviceStep
    """What takes the part of a step that runs on the device; subclasses may replace it."""

    def __init__(
        self, recipe: Recipe, data: Dataset, fold: int | None, seed: int, device: str | DistributedContext
    ) -> None:
        self.context = device if isinstance(device, DistributedContext) else DistributedContext(device)
        self.recipe = recipe = recipe.for_device(self.context.device, self.context.size)
        self.context.check_batch(recipe.batch, recipe.accumulate)
        self.fabric = self.context.fabric(recipe.precision)
        split = data.split(fold)
        self.sampler = self._sampler(data, split.train, background=recipe.supervise_background)
        self.validation = self._sampler(data, split.validation, background=False) if split.validation else None
        self.registration = PairRegistration(recipe, self.sampler, self.context, self.draw_images)
        random = RandomState(seed, self.fabric.device, ordered=recipe.deterministic)
        with random.activate():
            self.state = build_state(recipe, seed, random, self.fabric, self.context)
        self.steps_per_epoch = recipe.steps_per_epoch(len(split.train))
        self.columns = [*recipe.active, "total", *self.state.networks.discriminators()]
        if self.validation is not None:
            self.columns += VALIDATION
        self._unread: list[StepLosses] = []
        self.skipped_steps = SkippedSteps()
        self.device_step = self.step_class(recipe, self.state, self.fabric, self.context)
        self._run_step = StepGraph(self.device_step) if recipe.step_graph else self.device_step
        cuda = self.fabric.device.type == "cuda"
        self._cutting = torch.cuda.Stream(self.fabric.device) if cuda else None
        self._show_pairs_to_sampler()

    def _sampler(self, data: Dataset, ids: Sequence[str], *, background: bool) -> PatchSampler:
        recipe = self.recipe
        return PatchSampler(
            [data.load(pair_id, recipe.ct_slices) for pair_id in ids],
            patch_px=recipe.patch_px,
            batch=recipe.batch,
            augment=recipe.augment,
            device=self.fabric.device,
            in_channels=recipe.in_channels,
            inverted_ct=recipe.inverted_ct,
            ct_window=recipe.ct_window,
            ct_slices=recipe.ct_slices,
            supervise_background=background,
            noise=recipe.noise,
        )

    def take_step(self) -> StepLosses:
        """Take one step of generators and discriminators; return the losses.

        They stay on the device until they are read. Every `READ_EVERY_STEPS` steps all are read and checked. Several
        processes on CPUs read and exchange them in every step; those with GPUs exchange them when they are checked,
        and until then the losses are those of this process.

        Raises
        ------
        InputError
            If a loss since the last check is not finite, or the gradients of many steps are not.
        """
        with self.state.random.activate():
            return self._take_step()

    def _take_step(self) -> StepLosses:
        state, recipe = self.state, self.recipe
        if recipe.residual_registration and state.step and state.step % recipe.residual_registration == 0:
            self.register_pairs()
        if self.fine_tuning:
            self._set_learning_rate(recipe.fine_tune.rate(recipe.learning_rate, state.step))
        values = self._run_step(self.draw_inputs())
        state.step += 1
        losses = StepLosses(state.step, values)
        self._unread.append(losses)
        every = READ_EVERY_STEPS if self.context.size == 1 else self.context.exchange_every_steps
        if state.step % every == 0:
            self.read_losses()
        return losses

    def draw_inputs(self) -> StepInputs:
        """Draw the batch, and what the buffers exchange; the running average has a lower decay in the first steps."""
        state, recipe = self.state, self.recipe
        batch = self._draw_batch()
        exchanges = {
            name: buffer.plan(recipe.batch, state.draws).to(self.fabric.device)
            for name, buffer in state.buffers.items()
            if buffer.size
        }
        decay = min(recipe.average, (1 + state.step) / (10 + state.step))
        return StepInputs(batch.x, batch.y, batch.mask, batch.noise, exchanges, 1 - decay)

    def _draw_batch(self) -> Batch:
        """Cut a batch, on a GPU while it still computes the previous step."""
        if self._cutting is None:
            return self.sampler.draw(self.state.draws)
        with torch.cuda.stream(self._cutting):
            batch = self.sampler.draw(self.state.draws)
        used = torch.cuda.current_stream(self.fabric.device)
        used.wait_stream(self._cutting)
        for image in (batch.x, batch.y, batch.mask, batch.noise):
            if image is not None:
                image.record_stream(used)
        return batch

    def read_losses(self) -> None:
        """Read the losses of the steps since the last call, check them and add them to the sums of the epoch.

        Several processes exchange them: all must call this at the same step.

        Raises
        ------
        InputError
            If a loss is not finite, or no step is taken any more because the gradients are not finite.
        """
        unread, self._unread = self._unread, []
        read_together(unread)
        for losses, means in zip(unread, self.context.means(unread), strict=True):
            losses.replace(means)
            bad = [name for name, value in losses.items() if not abs(value) < float("inf")]
            if bad:
                raise InputError(
                    f"step {losses.step}: the loss '{bad[0]}' is not finite; lower the recipe's learning_rate"
                )
            self.skipped_steps.add(losses.step, losses.skipped)
            for name in (*self.recipe.active, "total"):
                self.state.sums[name] = self.state.sums.get(name, 0.0) + losses[name]
        self.skipped_steps.report(self.state.step)

    def _set_learning_rate(self, rate: float) -> None:
        for optimiser in self.state.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = rate

    def register_pairs(self) -> None:
        """Register the histology of pairs to the output of G_xy."""
        self.registration.register(self.state)
        self._show_pairs_to_sampler()

    def apply_affines(self) -> None:
        """Resample the histology of each pair by the affines of `state`, and leave out the rejected pairs."""
        self.registration.apply(self.state)
        self._show_pairs_to_sampler()

    def _show_pairs_to_sampler(self) -> None:
        """Let the stream that cuts batches wait for changes of the pairs."""
        if self._cutting is not None:
            self._cutting.wait_stream(torch.cuda.current_stream(self.fabric.device))

    realign, lay_pairs = renamed_method("register_pairs"), renamed_method("apply_affines")

    def draw(self, ct: NDArray[np.float32]) -> NDArray[np.float32]:
        """Stain a whole µCT image with the current networks.

        Parameters
        ----------
        ct : ndarray of float32, shape (Y, X) or (ct_slices, Y, X)
            Normalised grey values.

        Returns
        -------
        ndarray of float32, shape (Y, X, 3)
            In [-1, 1].
        """
        images = torch.from_numpy(np.ascontiguousarray(ct, np.float32))[None].to(self.fabric.device)
        return self.draw_images(images)[0].permute(1, 2, 0).cpu().numpy()

    @torch.no_grad()
    @uncompiled()
    def draw_images(self, images: Tensor) -> Tensor:
        """Stain whole µCT images of one size with the current networks; they stay on their device.

        Parameters
        ----------
        images : Tensor of float32, shape (N, Y, X) or (N, ct_slices, Y, X)
            Normalised grey values, on the device of the networks.

        Returns
        -------
        Tensor of float32, shape (N, 3, Y, X)
            In [-1, 1].
        """
        network = self.state.networks.staining
        with self._evaluating([network]):
            return stain_whole(network, self.recipe, images)

    @contextmanager
    def _evaluating(self, networks: Iterable[nn.Module]) -> Iterator[None]:
        """Put networks into evaluation mode, with the random state of this training; then back into training mode."""
        networks = list(networks)
        with self.state.random.activate():
            for network in networks:
                network.eval()
            try:
                yield
            finally:
                for network in networks:
                    network.train()

    def end_epoch(self, run: StrPath) -> dict[str, float]:
        """Save the weights of every term with a new minimum of its mean, write a sample image, and validate.

        Only rank zero writes and validates.

        Returns
        -------
        dict of str to float
            The values of `validate`, if there are validation pairs.
        """
        self.read_losses()
        for name, total in self.state.sums.items():
            mean = total / self.steps_per_epoch
            if mean < self.state.best.get(name, float("inf")):
                self.state.best[name] = mean
                if self.context.is_rank_zero:
                    save_best(Path(run), name, self.state)
        self.state.sums = {}
        if not self.context.is_rank_zero:
            return {}
        self.write_sample(run)
        return {} if self.validation is None else self.validate()

    def validate_last(self) -> dict[str, float]:
        """Return the values of `validate` if a training ends within an epoch; else `end_epoch` has recorded them."""
        ends_within_epoch = bool(self.state.step % self.steps_per_epoch)
        return self.validate() if ends_within_epoch and self.validation is not None else {}

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
        sums = dict.fromkeys(VALIDATION, 0.0)
        with self._evaluating([network]):
            for _ in range(VALIDATION_BATCHES):
                batch = self.validation.draw(draws)
                fake_y = network(add_noise(batch.x, batch.noise))
                for name, measure in VALIDATION.items():
                    sums[name] += float(measure(fake_y, batch.y, batch.mask))
        return {name: value / VALIDATION_BATCHES for name, value in sums.items()}

    @torch.no_grad()
    @uncompiled()
    def write_sample(self, run: StrPath) -> None:
        """Write an image of two training patches and, if a fold validates, of two validation patches."""
        networks, draws = self.state.networks, torch.Generator().manual_seed(1)
        rows = []
        with self._evaluating([*networks.generators().values(), networks.staining]):
            for sampler in filter(None, (self.sampler, self.validation)):
                batch = sampler.draw(draws)
                fake_y = networks.staining(add_noise(batch.x, batch.noise))
                fake_x = [] if networks.g_yx is None else [networks.g_yx(batch.y)]
                # Of several slices the middle one, which is stained.
                x = batch.x[:, self.recipe.ct_slices // 2, None] if self.recipe.ct_slices > 1 else batch.x
                images = [x, fake_y, batch.mask * 2 - 1, batch.y, *fake_x]
                rows += [[image[number] for image in images] for number in range(min(2, len(batch.x)))]
        write_sample(Path(run), self.state.step, sample_picture(rows))
