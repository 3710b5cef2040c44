"""Stochastic gradient ascent with momentum, in one pass over each parameter."""

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
            parameters = [x for x in group["params"] if x.grad is not None]
            if parameters:
                gradients, momentum = [x.grad for x in parameters], group["momentum"]
                velocities = [self._velocity(x) for x in parameters if momentum]
                kernels = kernels_for(*parameters)
                kernels.ascend_(parameters, gradients, group["lr"], velocities, momentum)

    def moves_just(self, parameters: Sequence[torch.Tensor]) -> bool:
        """True for just these parameters, in one group with no options but lr and momentum."""
        groups = [set(map(id, group["params"])) for group in self.param_groups]
        return groups == [set(map(id, parameters))] and _is_plain(self.param_groups[0])

    def velocities(self, parameters: Iterable[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Velocity of each parameter; zeros if there is no momentum."""
        momentum = self.param_groups[0]["momentum"]
        make = self._velocity if momentum else torch.zeros_like
        return tuple(make(parameter).detach() for parameter in parameters)

    def _velocity(self, parameter: torch.Tensor) -> torch.Tensor:
        state = self.state[parameter]
        if state.get("momentum_buffer") is None:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        velocity: torch.Tensor = state["momentum_buffer"]
        return velocity

    step.hooked = True  # type: ignore[attr-defined]  # torch's profiler hook costs a small model 5 %


def _is_plain(group: Mapping[str, Any]) -> bool:
    """True if a group of parameters ascends, with no options but lr and momentum."""
    options = group["weight_decay"], group["dampening"], group["nesterov"]
    return bool(group["maximize"]) and not any(options)
