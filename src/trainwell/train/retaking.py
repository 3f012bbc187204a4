"""The step of an optimizer that looks at curvature: it asks for the loss of the same batch at several weights.

Its card declares `needs_closure`, and it is called as `step(closure)`, with closure() -> (loss, scores). The loss is
what every other optimizer is given the gradient of: the batch's weighted mean, with all penalties. Each time the random
draws are the same. Running statistics of batch norms move once a step, at the new weights, and forget by samples, not
by steps: such steps are few and long, and an average over the weights of the last ten would fit none of them.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trainwell.core.batch import Batch
from trainwell.core.recipe import Recipe, decided
from trainwell.core.shelves import optimizers
from trainwell.core.state import State
from trainwell.errors import MemoryExhausted, NonFinite, OptionInvalid
from trainwell.optimizers.groups import BATCH_NORMS
from trainwell.optimizers.second_order import put_random_state, random_state
from trainwell.train.build import Job, check_outputs

USUAL_BATCH = 64  # samples, for which the usual momentum of batch norms is meant


def take_step(optimizer: torch.optim.Optimizer, state: State, closure: Callable[[], Any] | None = None) -> bool:
    """Let an optimizer take its step; where it refuses a gradient that is not finite, say so in the losses.

    The guard, which watches the losses, then goes back and finds out why. Returns whether the step was taken.
    """
    try:
        optimizer.step(closure)
    except NonFinite:
        state.losses = [torch.full_like(losses, torch.nan) for losses in state.losses]
        return False
    return True


def needs_closure(recipe: Recipe) -> bool:
    """Whether the optimizer of a recipe asks for the loss itself."""
    return bool(optimizers[decided(recipe.optimizer).name].traits.get("needs_closure"))


def refuse_what_acts_on_gradients(recipe: Recipe) -> None:
    """Refuse settings that such an optimizer would pass by.

    Raises:
        OptionInvalid: names the setting and the cure.
    """
    name = decided(recipe.optimizer).name
    why = f"{name} takes its step from a model of the loss on the whole batch"
    if recipe.machine.precision == "bfloat16":
        raise OptionInvalid(f"machine.precision=bfloat16 would round that model away: {why}; set float32")
    if recipe.batch.accumulate > 1:
        raise OptionInvalid(
            f"batch.accumulate must be 1, got {recipe.batch.accumulate}: {why}, in one piece; choose a smaller batch"
        )
    if recipe.regularization.clip_norm is not None:
        raise OptionInvalid(
            f"regularization.clip_norm must be none, got {recipe.regularization.clip_norm:g}: {why}, and its length is"
            " set by its damping; leave clipping out"
        )


class Retakes:
    """Asks a job's network again within a step.

    Raises:
        OptionInvalid: a hook changes gradients, which this optimizer does not read.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self._closure: Callable[[], Any] | None = None
        self._counted: list[tuple[Tensor, Tensor]] = []
        self._draws = random_state(job.device)
        for hook in job.hooks:
            if hasattr(hook, "after_backward"):
                raise OptionInvalid(
                    f"hooks: {type(hook).__name__} acts on gradients, and {decided(job.recipe.optimizer).name} takes"
                    " its own: leave the hook out, or choose an optimizer of first order"
                )

    @classmethod
    def of(cls, job: Job) -> "Retakes | None":
        """Return them where the job's optimizer asks for them."""
        return cls(job) if needs_closure(job.recipe) else None

    def begin(
        self, state: State, share_of: Callable[[Batch, Batch], Tensor], pieces: int = 1, *, with_gradients: bool = False
    ) -> None:
        """Make the forward pass of a step, whose losses and scores then stand in `state`.

        Args:
            share_of: (piece, batch) -> what each loss of a piece weighs in the mean over the batch, (n,).
            pieces: of a batch that did not fit into memory; only 1 is possible.
            with_gradients: whether `.grad` shall be filled, for those who look.

        Raises:
            MemoryExhausted: the batch does not fit in one piece.
        """
        job, batch = self.job, state.batch
        assert batch is not None
        if pieces > 1:
            raise MemoryExhausted(
                f"step {state.step}: the batch of {len(batch)} samples does not fit into the memory of {job.device},"
                f" and {decided(job.recipe.optimizer).name} takes it in one piece: set a smaller batch.size"
            )
        self._draws, share = random_state(job.device), share_of(batch, batch)
        self._counted = [(buffer, buffer.detach().clone()) for buffer in job.model.buffers()]
        job.penalties.begin()
        loss, losses, scores = self._forward(state, share)
        state.losses, state.logits = [losses.detach()], [scores.detach()]
        if with_gradients:
            loss.backward(retain_graph=True)
        first = [(loss, scores)]
        del loss, losses, scores

        def closure() -> tuple[Tensor, Tensor]:
            if first:
                return first.pop()
            put_random_state(self._draws, job.device)
            with job.penalties.unrecorded():
                loss, _, scores = self._forward(state, share)
            return loss, scores

        self._closure = closure

    def step(self, state: State) -> None:
        """Let the optimizer take its step, and the network see the batch once."""
        if take_step(self.job.optimizer, state, self._closure):
            self._count(state)
        self._closure = None  # and with it the graph

    @torch.no_grad()
    def _count(self, state: State) -> None:
        """Let the network see the batch once, as far as its buffers know."""
        job, batch = self.job, state.batch
        if not self._counted or batch is None:
            return
        for buffer, before in self._counted:
            buffer.copy_(before)
        put_random_state(self._draws, job.device)
        norms = [module for module in job.model.modules() if isinstance(module, BATCH_NORMS)]
        momenta = [(norm, norm.momentum) for norm in norms if norm.momentum is not None]
        try:
            for norm, momentum in momenta:
                norm.momentum = min(1.0, momentum * len(batch) / USUAL_BATCH)
            job.model(batch.inputs)
        finally:
            for norm, momentum in momenta:
                norm.momentum = momentum

    def _forward(self, state: State, share: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        job, batch = self.job, state.batch
        assert batch is not None
        logits = job.model(batch.inputs)
        if state.step == 0:
            check_outputs(logits, batch, len(job.classes), job.task)
        scores = logits.float()
        losses = job.criterion(scores, batch.targets)
        penalized = job.penalties.on_scores(losses, scores, share) if job.penalties else losses
        return (penalized * share).sum() + job.penalties.of_weights(), losses, scores
