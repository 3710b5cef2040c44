"""A classifier: an RBM with the label as one of its visible units."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
from torch import Tensor

from gibbsite.checks import check_counts, check_strength, check_unmasked
from gibbsite.errors import ArgumentError, DataError
from gibbsite.estimators.fitted import FLOATS
from gibbsite.estimators.labels import HeldOutLabels, posterior
from gibbsite.estimators.settings import AUTO, Settings, check_given, is_auto
from gibbsite.estimators.tables import Units, as_rows, extremes
from gibbsite.gradients import PCD, Centered, Discriminative, Gradient, Hybrid
from gibbsite.layers import Bernoulli, Categorical, Gaussian, Layer, Mixed
from gibbsite.model import RBM
from gibbsite.rows import Rows
from gibbsite.training import (
    L2,
    Averaged,
    History,
    Traits,
    fit,
    recipe_for,
    scaling,
    to_data_units,
)
from gibbsite.training.history import Record
from gibbsite.training.initialize import WEIGHT_SCALE, row_weights, start
from gibbsite.training.named import check_choice, make_device, make_optimizer, make_schedule
from gibbsite.training.restarts import with_restarts
from gibbsite.training.units import mute_units_warning

MODES = ("hybrid", "discriminative", "generative")
VISIBLE = (AUTO, "bernoulli", "gaussian")

SETTINGS = {
    "n_components": "hidden",
    "n_iter": "epochs",
    **{name: name for name in ("batch_size", "learning_rate", "momentum", "l2", "chains")},
}
"""Hyperparameters that may be "auto", and their names in a recipe."""

UPDATES, FEWEST_EPOCHS, MOST_EPOCHS = 6_000, 30, 300
"""Length of training, at most: so many updates, but not fewer or more epochs than these."""

MOMENTUM, DECAY, CHAINS = 0.9, 0.1, 100
"""Momentum, weight decay times the number of rows, and chains, where training predicts labels."""

LARGEST_SCALE = 0.1
"""Standard deviation of starting weights, at most."""

AVERAGED = 1.0
"""Horizon of the average of the parameters, in epochs."""

FEWEST_HELD_OUT = 20
"""Rows below which nothing is held out."""


@dataclass(eq=False, repr=False, kw_only=True)
class RBMClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    r"""RBM over features x and a label y, as a scikit-learn classifier.

    $$p(x,y,h) = e^{-E(x,y,h)}/Z,\qquad p(y\mid x) = \frac{e^{-F(x,y)}}{\sum_{y'} e^{-F(x,y')}}$$

    The label is a categorical visible unit beside the features. Its probabilities are exact, in
    closed form, and need no chains. Training maximises, by the mean over rows,

    - "discriminative": $\log p(y\mid x)$, whose gradient is exact (`Discriminative`);
    - "hybrid": $\log p(y\mid x) + \alpha\log p(x,y)$ (`Hybrid`), the second term by persistent
      chains: it regularises the first, and leaves a model that can be sampled;
    - "generative": $\log p(x,y)$, by chains alone.

    A part of the rows is held out, and training ends when their mean $\log p(y\mid x)$ has not
    risen for `patience` epochs; the model of the best epoch is kept.

    Args:
        n_components: number of hidden units.
        mode: "hybrid", "discriminative" or "generative".
        alpha: weight of the generative part of "hybrid".
        visible: "bernoulli", values from 0 to 1, or to the greatest value if that is more, as grey
            levels, which count as they are; "gaussian", standardised columns; "auto": the first if
            all values are between 0 and 1, else the second.
        learning_rate, batch_size, momentum: of the updates.
        n_iter: passes over the rows, at most.
        l2: strength of the penalty l2/2 |W|^2, in nats.
        chains: persistent chains of the generative part.
        validation_fraction: share of the rows that is held out; 0 for none, and for `n_iter` passes
            in full, along a rate that falls to 0. Fewer than 20 rows are not held out either.
        patience: epochs without a better score of the held-out rows after which training ends.
        verbose: whether to print a line an epoch.
        random_state: int, RandomState or None (numpy's global one); where all seeds come from.
        device: "cpu", "cuda", or "auto": CUDA where there is one.

    What is "auto" is chosen from the data: hidden units, batch, rate and chains by
    `gibbsite.training.recipe_for`, the others to suit the mode.

    Attributes:
        classes_: the labels, sorted.
        rbm_: the model, an `RBM` in units of the data whose last visible unit is the label:
            `gb.condition`, `gb.sample`, `gb.save` and all else work on it.
        history_: record of training, with "validation_log_probability", in nats, and
            "validation_accuracy" where rows are held out.
        n_iter_: passes over the rows that were made. best_iter_: that of the model kept.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.

    Source: Larochelle, Bengio (2008), Classification using discriminative restricted Boltzmann
    machines.

    >>> import numpy as np, gibbsite as gb
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> model = gb.RBMClassifier(random_state=0).fit(X, load_iris().target_names[y])
    >>> model.predict(X[:2]).tolist(), model.predict_proba(X).shape
    (['setosa', 'setosa'], (150, 3))
    """

    n_components: int | str = field(default=AUTO, kw_only=False)
    mode: str = "hybrid"
    alpha: float = 0.01
    visible: str = AUTO
    learning_rate: float | str = AUTO
    batch_size: int | str = AUTO
    n_iter: int | str = AUTO
    momentum: float | str = AUTO
    l2: float | str = AUTO
    chains: int | str = AUTO
    validation_fraction: float = 0.1
    patience: int = 20
    verbose: int = 0
    random_state: int | np.random.RandomState | None = None
    device: str = "cpu"

    # use of the model

    def predict_log_proba(self, X: Any) -> NDArray[np.float64]:
        """log p(y | x) of each class for each row, in nats, (n_samples, classes); exact.

        Values beyond the range trained on are let pass: the formula holds for all real ones.
        """
        X = self._validated(X)
        device = make_device(self.device)
        return posterior(self.rbm_, as_rows(X, self._units), device)

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """p(y | x) of each class for each row, (n_samples, classes); exact."""
        probabilities: NDArray[np.float64] = np.exp(self.predict_log_proba(X))
        return probabilities

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Score by which rows are classified: log p(y | x), (n_samples, classes).

        Of two classes the log-odds of the second, log p(y_2 | x) - log p(y_1 | x), (n_samples,).
        """
        scores = self.predict_log_proba(X)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable label of each row, (n_samples,), of the type of `classes_`."""
        best = self.predict_log_proba(X).argmax(1)
        labels: NDArray[Any] = self.classes_[best]
        return labels

    # training

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train a new model on rows X and their labels y, forgetting any earlier one.

        Args:
            X: (n_samples, n_features), an array or data frame. It is trained on in float32.
            y: (n_samples,), labels of any type, of two classes at least.
            sample_weight: (n_samples,), finite and not negative; the weighted mean is maximised.

        Raises:
            DataError: values that the visible units cannot take, or one class alone. A ValueError.
            ArgumentError: a hyperparameter that cannot be used. A ValueError.
            DivergenceError: training became non-finite. An ArithmeticError.
        """
        self._check_arguments()
        X, codes = self._validated_pair(X, y)
        weights = None
        if sample_weight is not None:
            weights = row_weights(sample_weight, len(X), torch.zeros(()))
        layer, self._units = self._layer(X)
        states = np.c_[as_rows(X, self._units).dense().numpy(), codes].astype(np.float32)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        generator = torch.Generator().manual_seed(seed)
        table = Table(Rows(states, drawn=False), weights)
        train, held_out = table.split(self._held_out(table), generator)
        visible = Mixed(layer, Categorical(1, len(self.classes_)))
        settings = self._settings(visible, train.rows)
        rbm = RBM(visible, Bernoulli(settings["n_components"]))
        _initialize(rbm, train, generator)
        self._advance(rbm.to(make_device(self.device)), train, held_out, settings, seed)
        return self

    def _advance(
        self, rbm: RBM, train: Table, held_out: Table | None, settings: Settings, seed: int
    ) -> None:
        """Train the model, at a quarter of a rate of the recipe where that diverges; keep it."""

        def attempt(rate: float) -> None:
            own = {**settings, "learning_rate": rate}
            self._trained(copy.deepcopy(rbm), train, held_out, own, seed)

        rate = settings["learning_rate"]
        return with_restarts(attempt, rate) if is_auto(self.learning_rate) else attempt(rate)

    def _trained(
        self, rbm: RBM, train: Table, held_out: Table | None, settings: Settings, seed: int
    ) -> None:
        """Train the model and take the fitted attributes from it."""
        mute_units_warning(rbm)  # standardised where they are measured
        batch_size, epochs = settings["batch_size"], settings["n_iter"]
        average = Averaged(rbm, horizon=max(1.0, AVERAGED * len(train.rows) / batch_size))
        watch = None
        if held_out is not None:
            states = rbm.visible.coerce(held_out.rows.dense().to(rbm.weight))
            watch = HeldOutLabels(lambda: average.model, states, held_out.weights, self.patience)
        callbacks = [average, watch, _print_epoch if self.verbose else None]
        rate, momentum = settings["learning_rate"], settings["momentum"]
        optimizer = make_optimizer("sgd", rbm.parameters(), rate, momentum)
        schedule = "linear" if watch is None else "constant"
        self.history_: History = fit(
            rbm,
            train.rows,
            weights=train.weights,
            gradient=self._gradient(settings),
            optimizer=optimizer,
            scheduler=make_schedule(schedule, optimizer, epochs),
            epochs=epochs,
            batch_size=batch_size,
            penalties=[L2(settings["l2"])] if settings["l2"] else [],
            callbacks=[callback for callback in callbacks if callback is not None],
            generator=torch.Generator(rbm.weight.device).manual_seed(seed),
        )
        self.history_.state = None  # chains
        best = None if watch is None else watch.best
        self.n_iter_ = len(self.history_)
        self.best_iter_ = self.n_iter_ if watch is None else watch.best_epoch
        self.rbm_: RBM = self._in_units((average.model if best is None else best).to("cpu"))
        if self.history_.interrupted:
            raise KeyboardInterrupt  # `gibbsite.fit` kept the model; the caller must stop

    def _gradient(self, settings: Settings) -> Gradient:
        makers: dict[str, Callable[[], Gradient]] = {
            "discriminative": Discriminative,
            "generative": lambda: PCD(settings["chains"]),
            "hybrid": lambda: Hybrid(PCD(settings["chains"]), weight=self.alpha),
        }
        return Centered(makers[self.mode]())

    def _settings(self, visible: Layer, rows: Rows) -> Settings:
        """Hyperparameters with nothing left to choose."""
        given = {name: getattr(self, name) for name in SETTINGS}
        given = {name: value for name, value in given.items() if not is_auto(value)}
        known = {SETTINGS[name]: value for name, value in given.items()}
        recipe = recipe_for(Traits.of(visible, rows), {"sampler": "gibbs", **known})
        chosen = {name: getattr(recipe, SETTINGS[name]) for name in SETTINGS}
        length = round(UPDATES * recipe.batch_size / len(rows))
        chosen["n_iter"] = min(max(length, FEWEST_EPOCHS), MOST_EPOCHS)
        if self.mode != "generative":
            chosen |= {"momentum": MOMENTUM, "l2": DECAY / len(rows), "chains": CHAINS}
        return chosen | given

    # checks and units

    def _check_arguments(self) -> None:
        check_choice("mode", self.mode, *MODES)
        check_choice("visible", self.visible, *VISIBLE)
        given = {name: getattr(self, name) for name in SETTINGS}
        check_given({**given, "gradient": "pcd"})
        counts: dict[str, Any] = {"patience": self.patience, "n_iter": self.n_iter}
        check_counts(**{name: count for name, count in counts.items() if not is_auto(count)})
        check_strength(alpha=self.alpha, validation_fraction=self.validation_fraction)
        if self.validation_fraction >= 1:
            raise ArgumentError(
                f"validation_fraction={self.validation_fraction!r}: expected a share below 1 of "
                "the rows, such as 0.1, or 0 to hold none out"
            )
        make_device(self.device)

    def _validated_pair(self, X: Any, y: Any) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """X as an array of floats, and the codes of the labels; sets `classes_`."""
        check_unmasked(X)
        X, y = validate_data(self, X, y, dtype=FLOATS)
        check_classification_targets(y)
        y = column_or_1d(y, warn=True)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(
                f"y holds one class alone, {self.classes_[0]!r}: a classifier needs two at least"
            )
        return X, codes

    def _validated(self, X: Any) -> NDArray[Any]:
        check_is_fitted(self)
        check_unmasked(X)
        valid: NDArray[Any] = validate_data(self, X, dtype=FLOATS, reset=False)
        return valid

    def _layer(self, X: NDArray[Any]) -> tuple[Layer, Units]:
        """The layer of the features, and the units to train it in."""
        n, (least, most) = X.shape[1], extremes(X)
        if self.visible == "bernoulli" or (is_auto(self.visible) and least >= 0 and most <= 1):
            if least < 0:
                raise DataError(
                    f"Negative values in data: {least:g} with visible='bernoulli', which takes "
                    "values from 0 up; rescale them, or use visible='gaussian'"
                )
            return Bernoulli(n), Units(0.0, max(1.0, most))
        shift, scale, _ = scaling(as_rows(X, Units()))
        return Gaussian(n), Units(shift.numpy(), scale.numpy())

    def _in_units(self, rbm: RBM) -> RBM:
        """The model in units of the data, if they are measured; `_units` are those of X in it."""
        if not rbm.visible.has_units:
            return rbm
        classes = torch.zeros(len(self.classes_), dtype=torch.float64)
        shift, scale = (torch.as_tensor(part, dtype=torch.float64) for part in self._units[:2])
        self._units = Units()
        return to_data_units(rbm, torch.cat([shift, classes]), torch.cat([scale, classes + 1]))

    def _held_out(self, table: Table) -> int:
        """Number of rows to hold out."""
        n = int(self.validation_fraction * len(table.rows))
        return n if n >= FEWEST_HELD_OUT else 0

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "rbm_")  # a fit that failed has set attributes of the columns


class Table(NamedTuple):
    """Rows of features and the code of the label, and their weights if there are any."""

    rows: Rows
    weights: Tensor | None

    def take(self, index: Tensor) -> Table:
        return Table(self.rows.take(index), None if self.weights is None else self.weights[index])

    def split(self, n: int, generator: torch.Generator) -> tuple[Table, Table | None]:
        """The table without n rows drawn at random, and those rows; None for no rows of weight."""
        order = torch.randperm(len(self.rows), generator=generator)
        held_out, train = self.take(order[:n].sort()[0]) if n else None, order[n:].sort()[0]
        weightless = self.weights is not None and not (
            bool(self.weights[order[:n]].any()) and bool(self.weights[train].any())
        )
        if held_out is None or weightless:
            return self, None
        return self.take(train), held_out


@torch.no_grad()
def _initialize(rbm: RBM, table: Table, generator: torch.Generator) -> None:
    """Biases from the rows, and weights of a scale that depends on the size of the model."""
    start(rbm, table.rows, table.weights, generator)
    wanted = min(LARGEST_SCALE, math.sqrt(2 / sum(rbm.weight.shape)))
    rbm.weight.mul_(wanted / WEIGHT_SCALE)


def _print_epoch(rbm: RBM, record: Record) -> None:
    figures = {
        "log p(y|x)": record.get("validation_log_probability"),
        "accuracy": record.get("validation_accuracy"),
    }
    held_out = "".join(f", {name} = {x:.4f}" for name, x in figures.items() if x is not None)
    print(f"[RBMClassifier] Iteration {record['epoch']:.0f}{held_out}, "
          f"time = {record['seconds']:.2f}s")  # fmt: skip
