"""Data in units of measurement: told where training would suffer, and brought to standard units."""

import copy
import logging

import numpy as np
import pytest
import torch
from oracle import agree, random_rbm
from typer.testing import CliRunner

import gibbsite as gb
from gibbsite.cli import app
from gibbsite.training import column_scales, to_data_units, to_standard_units
from gibbsite.training.units import FEWEST_ROWS


def correlated(rows: int = 400, seed: int = 0) -> torch.Tensor:
    """Standardised columns in two clusters."""
    generator = torch.Generator().manual_seed(seed)
    side = torch.randint(2, (rows, 1), generator=generator) * 2.0 - 1
    x = side * torch.tensor([1.0, -1, 1, 1]) + 0.5 * torch.randn(rows, 4, generator=generator)
    return (x - x.mean(0)) / x.std(0, correction=0)


def model(sigma: float = 1.0, learn_sigma: bool = True) -> gb.RBM:
    return gb.RBM(gb.Gaussian(4, torch.full((4,), sigma), learn_sigma), gb.Bernoulli(3))


def told(rbm: gb.RBM, data, caplog, **options) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING, "gibbsite"):
        gb.fit(rbm, data, generator=torch.Generator().manual_seed(0), **{"epochs": 1, **options})
    return [message for message in caplog.messages if "standard units" in message]


@pytest.mark.parametrize(
    ("shift", "scale", "words"),
    [
        (0.0, 0.1, "deviations from 0.1 to 0.1, and means"),
        (0.0, 20.0, "from 20 to 20"),
        (290.0, 1.0, "means up to 290 of those from 0"),
        (-290.0, 1.0, "means up to 290 of those from 0"),
    ],
)
@pytest.mark.parametrize("kind", [lambda x: x, gb.Rows], ids=["tensor", "rows"])
def test_columns_far_from_standard_are_told_once_a_model(kind, shift, scale, words, caplog):
    data = kind(correlated() * scale + shift)
    fitted = to_data_units(model(), torch.full((4,), shift), torch.full((4,), scale))
    optimizer = torch.optim.SGD(fitted.parameters(), lr=1e-6)
    (message,) = told(fitted, data, caplog, optimizer=optimizer)
    assert words in message
    assert "to_standard_units" in message
    assert told(fitted, data, caplog, optimizer=optimizer) == []


def test_nothing_is_said_of_standard_or_unitless_data_constants_and_few_rows(caplog):
    assert told(model(), correlated(), caplog) == []
    assert told(model(), correlated() * 2 + 1, caplog) == []
    held = correlated()
    held[:, 0] = 0.0
    assert told(model(learn_sigma=False), held, caplog) == []
    assert told(model(), correlated()[: FEWEST_ROWS - 1] * 9, caplog, epochs=1) == []
    binary = (correlated() > 2).float()
    assert told(gb.RBM(gb.Bernoulli(4), gb.Bernoulli(3)), binary, caplog) == []


@pytest.mark.parametrize("standardize", [True, False])
def test_the_estimator_has_chosen_its_units(standardize, caplog):
    X = correlated(100).numpy() * 0.1 + 3
    with caplog.at_level(logging.WARNING, "gibbsite"):
        estimator = gb.GaussianRBM(3, standardize=standardize, learning_rate=1e-4, random_state=0)
        estimator.fit(X).partial_fit(X)
    assert not [message for message in caplog.messages if "standard" in message]


def test_divergence_on_raw_units_names_the_remedy():
    data = correlated() * 300 + 1000
    optimizer = torch.optim.SGD((rbm := model()).parameters(), lr=0.05, momentum=0.5)
    with pytest.raises(gb.DivergenceError, match=r"Standardise the data .*300,.* or lower"):
        gb.fit(rbm, data, optimizer=optimizer, epochs=5, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD((rbm := model()).parameters(), lr=1e30)
    with pytest.raises(gb.DivergenceError, match=r"epochs\. Lower the learning rate"):
        gb.fit(rbm, correlated(), optimizer=optimizer)


@pytest.mark.parametrize("learn_sigma", [True, False])
def test_standard_units_undo_data_units(learn_sigma):
    rbm = random_rbm(gb.Gaussian(4, [0.5, 1.0, 2.0, 3.0], learn_sigma), 3, seed=0)
    rbm = rbm.requires_grad_(False)
    shift, scale = torch.tensor([0.0, 1e3, -5, 2]).double(), torch.tensor([1, 0.1, 20, 3]).double()
    back = to_standard_units(to_data_units(rbm, shift, scale), shift, scale)
    for ours, theirs in zip(back.state_dict().values(), rbm.state_dict().values(), strict=True):
        agree(ours, theirs, 1e-10)
    v = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    raw = shift + scale * v
    standard = to_standard_units(rbm, shift, scale).requires_grad_(False)
    logs = gb.exact.log_likelihood(standard, (raw - shift) / scale)
    agree(logs - scale.log().sum(), gb.exact.log_likelihood(rbm, raw), 1e-10)


def test_going_on_with_the_model_of_a_command_in_python(tmp_path, caplog):
    """On raw rows it diverges; on rows in standard units it does not."""
    raw = correlated() * torch.tensor([1.0, 1, 30, 0.1]) + torch.tensor([0.0, 10, -300, 4])
    np.save(tmp_path / "raw.npy", raw.numpy())
    arguments = ["fit", tmp_path / "raw.npy", "--epochs", 60, "--hidden", 3, "-o", tmp_path / "run"]
    arguments += ["--test-fraction", 0, "--visible", "gaussian"]
    assert CliRunner().invoke(app, list(map(str, arguments))).exit_code == 0
    written = gb.load(tmp_path / "run" / "model.safetensors")
    before = gb.exact.log_likelihood(written, raw).mean().item()
    assert not caplog.messages

    shift, scale = column_scales(raw)
    standard = to_standard_units(written, shift, scale)
    assert told(standard, (raw - shift) / scale, caplog, epochs=5) == []
    after = gb.exact.log_likelihood(to_data_units(standard, shift, scale), raw).mean().item()
    assert after > before - 0.05

    harmed = copy.deepcopy(written)
    optimizer = torch.optim.SGD(harmed.parameters(), lr=0.05, momentum=0.5)
    with pytest.raises(gb.DivergenceError, match="Standardise the data"):
        gb.fit(
            harmed,
            raw,
            optimizer=optimizer,
            epochs=5,
            batch_size=100,
            generator=torch.Generator().manual_seed(0),
        )
