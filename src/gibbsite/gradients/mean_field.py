"""Hinton's deterministic approximation: means passed back and forth instead of samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gibbsite.checks import check_counts
from gibbsite.gradients.base import Batch, Info, Stateless
from gibbsite.model import RBM


@dataclass(frozen=True)
class MeanField(Stateless):
    r"""Contrastive divergence with every sample replaced by its mean; biased, without noise.

    From $\hat v = v$: `steps` times $\hat h = E[h\mid\hat v]$, $\hat v = E[v\mid\hat h]$; then the
    negative phase is taken under independent units with means $\hat v$ and $E[h\mid\hat v]$.
    Source: pencil-and-paper (31)-(37) in the corrected form: with the sigmoid and bias that (33)
    and (36) lack, and the reconstruction in (37) where the text has the data.

    >>> import gibbsite as gb
    >>> gb.MeanField(steps=2)
    MeanField(steps=2)
    """

    steps: int = 1

    def __post_init__(self) -> None:
        check_counts(steps=self.steps)

    @torch.no_grad()
    def step(
        self, rbm: RBM, batch: Batch, state: None, generator: torch.Generator | None = None
    ) -> tuple[dict[str, Tensor], None, Info]:
        visible, means = rbm.visible.moments_at(batch.v), []
        for _ in range(self.steps):
            means.append(rbm.hidden_mean(visible.mean))
            visible = rbm.visible.moments(rbm.visible_inputs(means[-1]))
        hidden = rbm.hidden.moments(rbm.hidden_inputs(visible.mean))
        shares = batch.shares
        data, model = rbm.data_phase(batch.v, shares), rbm.phase(visible, hidden, shares)
        gradient = {name: data[name] - model[name] for name in data}
        return gradient, None, batch.means(means[0])
