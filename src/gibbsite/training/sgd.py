"""PyTorch's stochastic gradient descent, in one pass over each parameter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from gibbsite.ops import kernels_for


class SGD(torch.optim.SGD):
    r"""`torch.optim.SGD` with ``maximize=True``, in one pass of a kernel over each parameter.

    $$u \leftarrow \mu u + g,\qquad \theta \leftarrow \theta + \eta u$$

    The same results up to rounding, and the same state, so that schedules and checkpoints work.
    Parameter groups with options beyond lr and momentum are left to torch.

    Args:
        params: parameters or groups of them.
        lr: the learning rate $\eta$.
        momentum: $\mu$; 0 for none.

    >>> import torch, gibbsite as gb
    >>> from gibbsite.training import SGD
    >>> rbm = gb.RBM(gb.Bernoulli(9), gb.Bernoulli(4))
    >>> SGD(rbm.parameters(), lr=0.05, momentum=0.5).defaults["maximize"]
    True
    """

    def __init__(self, params: Iterable[Any], lr: float, momentum: float = 0.0) -> None:
        super().__init__(params, lr=lr, momentum=momentum, maximize=True)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Step along the gradients that the parameters hold."""
        if not all(map(_is_plain, self.param_groups)):
            super().step()
            return
        for group in self.param_groups:
            moving = [parameter for parameter in group["params"] if parameter.grad is not None]
            if moving:
                gradients = [parameter.grad for parameter in moving]
                rate, momentum = group["lr"], group["momentum"]
                velocities = [self._velocity(parameter) for parameter in moving if momentum]
                kernels_for(*moving).ascend_(moving, gradients, rate, velocities, momentum)

    def moves_just(self, parameters: Sequence[torch.Tensor]) -> bool:
        """True if it holds just these, in one group with a rate and momentum and nothing else."""
        held = [set(map(id, group["params"])) for group in self.param_groups]
        return held == [set(map(id, parameters))] and _is_plain(self.param_groups[0])

    def velocities(self, parameters: Iterable[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Velocity of each parameter; zeros if there is no momentum."""
        momentum = self.param_groups[0]["momentum"]
        make = self._velocity if momentum else torch.zeros_like
        return tuple(make(parameter).detach() for parameter in parameters)

    def _velocity(self, parameter: torch.Tensor) -> torch.Tensor:
        kept = self.state[parameter]
        if kept.get("momentum_buffer") is None:
            kept["momentum_buffer"] = torch.zeros_like(parameter)
        velocity: torch.Tensor = kept["momentum_buffer"]
        return velocity

    step.hooked = True  # type: ignore[attr-defined]  # torch's profiler hook costs a small model 5 %


def _is_plain(group: Mapping[str, Any]) -> bool:
    """True if the group ascends with momentum and nothing else."""
    others = group["weight_decay"], group["dampening"], group["nesterov"]
    return bool(group["maximize"]) and not any(others)
