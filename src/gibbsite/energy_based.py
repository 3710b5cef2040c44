"""The general energy-based model over finite v and h, of which the RBM is one instance."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from gibbsite.checks import as_tensor
from gibbsite.errors import ArgumentError, DataError

Energy = Callable[[Tensor, Tensor, Mapping[str, Tensor]], Tensor]


class EnergyBasedModel:
    r"""p(v, h) = exp(-E(v, h; theta)) / Z for any differentiable E over finitely many v and h.

    Everything is a sum over all pairs (v, h), so it is exact and serves as a reference.

    Args:
        energy: E(v, h, parameters); v is (a, 1, n_v), h is (1, b, n_h), the result (a, b).
        parameters: theta, tensors by name.
        visible_states: every v that exists, (n_visible_states, n_v), one row each.
        hidden_states: every h that exists, (n_hidden_states, n_h).

    Source: energy-based-models section 1; log-likelihood-gradient-notes.

    >>> import torch, gibbsite as gb
    >>> bits = torch.tensor([[0.0], [1.0]])
    >>> model = gb.EnergyBasedModel(lambda v, h, t: -t["w"] * (v * h).sum(-1),
    ...                             {"w": torch.tensor(0.0)}, bits, bits)
    >>> round(model.log_partition().item(), 4)  # four states: log 4
    1.3863
    """

    def __init__(
        self,
        energy: Energy,
        parameters: Mapping[str, Tensor],
        visible_states: Tensor,
        hidden_states: Tensor,
    ) -> None:
        self.energy = energy
        self.parameters = parameters
        self.visible_states = visible_states
        self.hidden_states = hidden_states

    def energy_table(self, v: Tensor | None = None) -> Tensor:
        """E of every given v (default: all) with every h, (rows, n_hidden_states)."""
        v = self.visible_states if v is None else v
        energies = self.energy(v[:, None], self.hidden_states[None], self.parameters)
        expected = (len(v), len(self.hidden_states))
        if energies.shape != expected:
            raise ArgumentError(
                f"energy returned shape {tuple(energies.shape)}, expected {expected}: "
                "sum over the last axis of v (a, 1, n_v) and h (1, b, n_h)"
            )
        if not bool(torch.isfinite(energies).all()):
            raise ArgumentError("energy returned NaN or infinity; it must be finite at every state")
        return energies

    def log_partition(self) -> Tensor:
        r"""$\log Z = \log\sum_{v,h} e^{-E(v,h)}$, a 0-d tensor, in nats."""
        return torch.logsumexp(-self.energy_table().flatten(), 0)

    def log_joint(self) -> Tensor:
        """log p(v, h), (n_visible_states, n_hidden_states)."""
        return -self.energy_table() - self.log_partition()

    def log_visible(self) -> Tensor:
        """log p(v) of every visible state."""
        return torch.logsumexp(self.log_joint(), 1)

    def log_hidden(self) -> Tensor:
        """log p(h) of every hidden state."""
        return torch.logsumexp(self.log_joint(), 0)

    def log_hidden_given(self, v: Tensor) -> Tensor:
        """log p(h | v), (rows of v, n_hidden_states): Z cancels."""
        return torch.log_softmax(-self.energy_table(self._check(v)), 1)

    def log_likelihood(self, data: Tensor) -> Tensor:
        r"""$l(D) = \frac1N\sum_{v\in D}\log p(v)$, the mean, a 0-d tensor, in nats."""
        unnormalised = torch.logsumexp(-self.energy_table(self._check(data)), 1)
        return unnormalised.mean() - self.log_partition()

    def gradient(self, data: Tensor) -> dict[str, Tensor]:
        r"""Gradient of l(D): positive minus negative phase, by parameter name.

        $$\partial_\theta l = -\langle\partial_\theta E\rangle_{v\in D,\,h\sim p(h|v)}
          + \langle\partial_\theta E\rangle_{p(v,h)}$$
        """
        data = self._check(data)
        with torch.no_grad():
            positive = self.log_hidden_given(data).exp() / len(data)
            negative = self.log_joint().exp()
        data_phase = self._mean_energy_derivative(data, positive)
        model_phase = self._mean_energy_derivative(self.visible_states, negative)
        return {name: model_phase[name] - data_phase[name] for name in self.parameters}

    def _mean_energy_derivative(self, v: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """<dE/dtheta> under fixed weights (rows of v, n_hidden_states)."""
        leaves = {name: value.detach().requires_grad_() for name, value in self.parameters.items()}
        with torch.enable_grad():
            mean = (weights * self.energy(v[:, None], self.hidden_states[None], leaves)).sum()
            derivatives = torch.autograd.grad(
                mean, list(leaves.values()), allow_unused=True, materialize_grads=True
            )
        return dict(zip(leaves, derivatives, strict=True))

    def _check(self, v: Tensor) -> Tensor:
        v, width = as_tensor(v, self.visible_states), self.visible_states.shape[1]
        if v.ndim != 2 or v.shape[1] != width or len(v) == 0:
            raise DataError(
                f"data of shape {tuple(v.shape)}: expected (rows, {width}), at least one row"
            )
        known = (v[:, None] == self.visible_states[None]).all(-1).any(1)
        if not bool(known.all()):
            row = int((~known).nonzero()[0, 0])
            raise DataError(
                f"row {row + 1} (counted from 1) is none of the {len(self.visible_states)} visible "
                "states"
            )
        return v
