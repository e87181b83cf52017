"""Trainings that the package does not have, tried for the recipe: a late discriminator, and R1 + R2.

    python -m studies.recipe.ablation DATASETS OUT late-gan late-weak-gan r1r2

The names are those of `SCHEDULES`. Each changes the training of the recipe `gan-j02-knots`.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from tomostain.train.buffer import Exchange
from tomostain.train.device_step import DeviceStep, Losses
from tomostain.train.losses import discriminator
from tomostain.train.step import Step
from tomostain.train.step_losses import StepLosses
from tomostain.train.trainer import Trainer

BASE = "gan-j02-knots"
REGRESSION_STEPS = 1200
# γ / 2 is the factor of the squared norm of the gradient (Mescheder et al. 2018, doi:10.48550/arXiv.1801.04406).
GAMMA = 0.2


class LateGan(Trainer):
    """Regression alone for the first steps, then all terms; `weak` divides the weights of the discriminator's terms."""

    weak = 1.0

    def take_step(self) -> StepLosses:
        """Take a step with the terms of its time."""
        terms = self.recipe.terms
        if self.state.step == 0:
            self._terms = terms
            self.recipe = self.recipe.model_copy(update={"terms": {"l1": terms["l1"]}})
        elif self.state.step == REGRESSION_STEPS:
            late = {name: weight / (1.0 if name == "l1" else self.weak) for name, weight in self._terms.items()}
            self.recipe = self.recipe.model_copy(update={"terms": late})
        self.device_step.recipe = self.recipe
        return super().take_step()


class LateWeakGan(LateGan):
    """As `LateGan`, with a third of the weights."""

    weak = 3.0


def squared_gradient(judge: nn.Module, image: Tensor, condition: Sequence[Tensor]) -> Tensor:
    """Return the mean over a batch of the squared norm of the gradient of the sum of the scores by the image."""
    image = image.detach().requires_grad_()
    scores = judge(image, *condition)
    (gradient,) = torch.autograd.grad(scores.sum(), image, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean() / scores[0].numel()


class R1R2Step(DeviceStep):
    """A step with R1 on real and R2 on generated images."""

    def improve_discriminators(self, parts: Sequence[Step], exchanges: Mapping[str, Exchange]) -> Losses:
        """Train the discriminator with the penalty, without a buffer."""
        networks = self.state.networks
        judge = networks.d_y
        assert judge is not None

        def compute(number: int) -> dict[str, Tensor]:
            step = parts[number]
            condition = [step.x] if networks.conditional else []
            fake = step.fake_y.detach()
            loss = discriminator(judge(step.y, *condition), judge(fake, *condition))
            penalty = sum(squared_gradient(judge, image, condition) for image in (step.y, fake))
            return {"d_y": loss, "total": loss + GAMMA / 2 * penalty}

        values = self._descend("discriminators", compute)
        del values["total"]
        return values


class R1R2(Trainer):
    """R1 on real and R2 on generated images, in every step."""

    step_class = R1R2Step


SCHEDULES: dict[str, Callable[..., Trainer]] = {"late-gan": LateGan, "late-weak-gan": LateWeakGan, "r1r2": R1R2}
