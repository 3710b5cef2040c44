"""Checkpoints: a run that was stopped ends as if it had not been; a damaged file is never used."""

import errno
import logging
import os
import shutil
from typing import NamedTuple

import forgeries
import pytest
import torch
from torch.optim import SGD, Adam, AdamW, lr_scheduler

import gibbsite as gb
from gibbsite.training import checkpoint
from gibbsite.training import run as run_module

DATA = (torch.rand(50, 6, generator=torch.Generator().manual_seed(5)) < 0.4).float()
EPOCHS = 5

GRADIENTS = {
    "pcd": lambda: gb.PCD(chains=7),
    "fpcd": lambda: gb.FPCD(chains=7),
    "noise cd": lambda: gb.NoiseCD(chains=7),
    "cd": lambda: gb.CD(steps=2),
    "mean field": lambda: gb.MeanField(),
    "centered pcd": lambda: gb.Centered(gb.PCD(chains=7, steps=2)),
    "centered exact": lambda: gb.Centered(gb.ExactGradient()),
}


def step_lr(optimizer):
    return lr_scheduler.StepLR(optimizer, 2, 0.5)


def decay(optimizer):
    return lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch))


def warm_up(optimizer):
    parts = [lr_scheduler.LinearLR(optimizer, 0.1, total_iters=2), step_lr(optimizer)]
    return lr_scheduler.SequentialLR(optimizer, parts, [2])


OPTIMIZERS = {
    "sgd": lambda p: SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda p: Adam(p, lr=0.01, amsgrad=True),
    "adamw": lambda p: AdamW(p, lr=0.01),
}
SCHEDULES = {
    "none": lambda _: None,
    "lambda": decay,
    "step": step_lr,
    "cosine": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS),
    "milestones": lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [1, 3]),
    "sequence": warm_up,
}


class Stop(Exception):
    """What a callback raises in the middle of a run."""


class Interrupting:
    """A gradient estimator that is stopped at one update."""

    def __init__(self, gradient, update, error):
        self.gradient, self.update, self.error = gradient, update, error

    def init(self, rbm, generator=None):
        return self.gradient.init(rbm, generator)

    def step(self, rbm, batch, state, generator=None):
        self.update -= 1
        if self.update == 0:
            raise self.error
        return self.gradient.step(rbm, batch, state, generator)


def train(
    keep=None,
    *,
    data=DATA,
    epochs=EPOCHS,
    gradient=GRADIENTS["centered pcd"],
    optimizer=OPTIMIZERS["adam"],
    schedule=step_lr,
    visible=gb.Bernoulli,
    hidden=3,
    double=False,
    stop=None,
    generator="own",
    callbacks=(),
):
    """One run from the start, in objects of its own, as a process of its own would make them."""
    rbm = gb.RBM(visible(data.shape[1]), gb.Bernoulli(hidden))
    rbm = rbm.double() if double else rbm
    chosen = optimizer(rbm.parameters())
    estimator = gradient() if stop is None else Interrupting(gradient(), *stop)
    history = gb.fit(
        rbm,
        data,
        gradient=estimator,
        optimizer=chosen,
        scheduler=schedule(chosen),
        epochs=epochs,
        batch_size=16,  # 50 rows: the last batch has 2
        generator=torch.Generator().manual_seed(1) if generator == "own" else None,
        callbacks=callbacks,
        checkpoints=keep,
    )
    return rbm, history


def assert_same(ours, theirs):
    (rbm, history), (other, expected) = ours, theirs
    for (name, value), wanted in zip(rbm.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(value, wanted), name
    figures = [
        [{k: x for k, x in record.items() if k != "seconds"} for record in run.records]
        for run in (history, expected)
    ]
    assert figures[0] == figures[1]
    seconds = history.column("seconds")
    assert seconds == sorted(seconds)


@pytest.mark.parametrize("gradient", GRADIENTS.values(), ids=GRADIENTS)
@pytest.mark.parametrize("done", [1, 3, 5])
def test_a_run_taken_up_ends_as_if_never_stopped(tmp_path, gradient, done):
    keep = gb.Checkpoints(tmp_path / "kept")
    train(keep, gradient=gradient, epochs=done)
    assert_same(train(keep, gradient=gradient), train(gradient=gradient))


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_optimizer_and_schedule_go_on(tmp_path, optimizer, schedule):
    options = {"optimizer": optimizer, "schedule": schedule}
    train(gb.Checkpoints(tmp_path), epochs=3, **options)
    assert_same(train(gb.Checkpoints(tmp_path), **options), train(**options))


@pytest.mark.parametrize(
    "options",
    [
        {"visible": gb.Gaussian},
        {"visible": lambda n: gb.Gaussian(n, learn_sigma=True)},
        {"double": True},
        {"data": gb.Rows((DATA * 255).byte().numpy(), scale=1 / 255)},
        {"data": DATA * 0.5},  # probabilities, drawn anew at each visit
    ],
    ids=["gaussian", "learned sigma", "float64", "rows", "probabilities"],
)
def test_every_kind_of_model_and_data_goes_on(tmp_path, options):
    train(gb.Checkpoints(tmp_path), epochs=2, **options)
    assert_same(train(gb.Checkpoints(tmp_path), **options), train(**options))


def test_the_global_generator_is_put_back_too(tmp_path):
    torch.manual_seed(3)
    whole = train(generator="global")
    torch.manual_seed(3)
    train(gb.Checkpoints(tmp_path), epochs=2, generator="global")
    torch.manual_seed(99)
    assert_same(train(gb.Checkpoints(tmp_path), generator="global"), whole)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("gradient", GRADIENTS.values(), ids=GRADIENTS)
@pytest.mark.parametrize("own", [True, False])
def test_a_run_on_a_cuda_device_goes_on(tmp_path, gradient, own):
    def train_there(keep, epochs):
        torch.manual_seed(3)
        torch.cuda.manual_seed(3)
        rbm = gb.RBM(gb.Bernoulli(6), gb.Bernoulli(3)).to("cuda")
        g = torch.Generator("cuda").manual_seed(1) if own else None
        optimizer = Adam(rbm.parameters(), lr=0.01)
        options = {"gradient": gradient(), "optimizer": optimizer, "batch_size": 16}
        history = gb.fit(rbm, DATA, epochs=epochs, generator=g, checkpoints=keep, **options)
        return rbm, history

    keep = gb.Checkpoints(tmp_path)
    train_there(keep, 2)
    assert_same(train_there(keep, EPOCHS), train_there(None, EPOCHS))


@pytest.mark.parametrize("update", [1, 2, 5, 8, 11, 20])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), Stop(), MemoryError()], ids=repr)
def test_a_run_stopped_within_an_epoch_goes_on_from_its_start(tmp_path, update, error):
    keep = gb.Checkpoints(tmp_path / "kept")
    if isinstance(error, KeyboardInterrupt):
        _, history = train(keep, stop=(update, error))
        assert history.interrupted
        assert len(history) == (update - 1) // 4
    else:
        with pytest.raises(type(error)):
            train(keep, stop=(update, error))
    again = train(keep)
    assert not again[1].interrupted
    assert_same(again, train())


def test_a_run_stopped_many_times_ends_the_same(tmp_path):
    keep = gb.Checkpoints(tmp_path)
    for update in (3, 6, 1, 7, 5):
        train(keep, stop=(update, KeyboardInterrupt()))
    assert_same(train(keep), train())


@pytest.mark.parametrize("every", [1, 2, 3, 10])
def test_checkpoints_come_every_so_often_and_at_the_end(tmp_path, every):
    written = []

    class Noting(gb.Checkpoints):
        def write(self, epoch, state):
            written.append(epoch)
            super().write(epoch, state)

    keep = Noting(tmp_path, every)
    train(keep)
    assert written == sorted({*range(every, EPOCHS + 1, every), EPOCHS})
    assert [p.name for p in keep.files()] == [
        f"checkpoint-{epoch:06}.safetensors" for epoch in sorted(written, reverse=True)[:2]
    ]
    assert set(tmp_path.iterdir()) == set(keep.files())


def test_the_newest_is_told_by_its_number(tmp_path):
    keep = gb.Checkpoints(tmp_path)
    for epoch in (999_998, 999_999, 1_000_000, 1_000_001):
        keep.write(epoch, {"epoch": epoch})
    assert keep.read() == {"epoch": 1_000_001}
    assert len(keep.files()) == 2
    (tmp_path / "checkpoint-copy.safetensors").write_bytes(b"not ours")
    assert keep.read() == {"epoch": 1_000_001}


def test_what_a_killed_run_left_half_written_is_ignored_and_removed(tmp_path):
    keep = gb.Checkpoints(tmp_path)
    train(keep, epochs=2)
    (tmp_path / ".checkpoint-000003.safetensors.x1y2").write_bytes(b"half")
    assert_same(train(keep), train())
    assert set(tmp_path.iterdir()) == set(keep.files())


# damage

DAMAGES = {
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda _: b"",
    "one bit": lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
    "foreign": lambda _: b"not a checkpoint",
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    train(gb.Checkpoints(folder), epochs=4)
    return folder


@pytest.fixture
def copy(kept, tmp_path):
    return gb.Checkpoints(shutil.copytree(kept, tmp_path / "copy"))


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_the_one_before_serves_if_the_newest_is_damaged(copy, caplog, damage):
    newest, before = copy.files()
    newest.write_bytes(damage(newest.read_bytes()))
    with caplog.at_level(logging.WARNING, "gibbsite"):
        again = train(copy)
    assert_same(again, train())
    (message,) = (record.getMessage() for record in caplog.records)
    assert f"{newest} is damaged or no checkpoint (" in message
    assert message.endswith(f"going on from {before.name}")


def test_nothing_is_logged_of_a_whole_one(copy, caplog):
    train(copy)
    assert caplog.records == []


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_it_says_so_if_all_are_damaged(copy, damage):
    for path in copy.files():
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(gb.ModelFileError, match=r"000004.*damaged.*000003.*start again") as error:
        train(copy)
    assert all(path.name in str(error.value) for path in copy.files())


def test_every_bit_of_the_tensors_counts(copy):
    """The checksum covers what safetensors does not look at."""
    newest, before = copy.files()
    before.unlink()
    whole = newest.read_bytes()
    for place in range(1, 200, 7):
        newest.write_bytes(
            whole[:-place] + bytes([whole[-place] ^ 4]) + whole[len(whole) - place + 1 :]
        )
        with pytest.raises(gb.ModelFileError, match="checksum"):
            copy.read()
    newest.write_bytes(whole)
    assert copy.read() is not None


def test_another_version_is_refused(copy, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", 99)
    with pytest.raises(gb.ModelFileError, match="format version 1"):
        train(copy)


# another run

OTHERS = {
    "hidden units": ({"hidden": 4}, "model: "),
    "visible units": ({"data": DATA[:, :5]}, "data: .50, 6. there, .50, 5. here"),
    "rows": ({"data": DATA[:40]}, "data: .50, 6. there, .40, 6. here"),
    "kind of unit": ({"visible": lambda n: gb.Gaussian(n, learn_sigma=True)}, "model: "),
    "dtype": ({"double": True}, "float32.* there, .*float64.* here"),
    "chains": (
        {"gradient": lambda: gb.Centered(gb.PCD(chains=8))},
        r"\(7, 6\).* there, .*\(8, 6\)",
    ),
    "estimator": (
        {"gradient": lambda: gb.PCD(chains=7)},
        "its gradient estimator carries other things",
    ),
    "no chains": ({"gradient": lambda: gb.Centered(gb.CD())}, "carries more"),
    "optimizer": ({"optimizer": OPTIMIZERS["sgd"]}, "optimizer: Adam there, SGD here"),
    "schedule": ({"schedule": decay}, "scheduler: StepLR there, LambdaLR here"),
    "no schedule": ({"schedule": lambda _: None}, "scheduler: StepLR there, NoneType here"),
}


@pytest.mark.parametrize(("options", "message"), OTHERS.values(), ids=OTHERS)
def test_the_checkpoint_of_another_run_is_refused(copy, options, message):
    before = {path: path.read_bytes() for path in copy.files()}
    with pytest.raises(gb.ModelFileError, match=f"of another run.*{message}"):
        train(copy, **options)
    assert {path: path.read_bytes() for path in copy.files()} == before


# forged: whole and signed, and wrong


@pytest.mark.parametrize(("optimizer", "name"), forgeries.CASES)
def test_a_forged_checkpoint_is_refused(optimizer, name):
    assert forgeries.attempt(optimizer, name) == "ModelFileError"


@pytest.mark.parametrize("optimizer", forgeries.OPTIMIZERS)
def test_the_checkpoint_that_is_forged_there_is_taken(tmp_path, optimizer):
    """So that it is the forgery that is refused."""
    gb.Checkpoints(tmp_path).write(forgeries.EPOCHS, forgeries.original(optimizer))
    again = forgeries.train(tmp_path, optimizer, 4)
    whole = forgeries.train(tmp_path / "whole", optimizer, 4)
    assert torch.equal(again.weight, whole.weight)


def test_a_forged_history_is_refused_where_no_run_is_there_yet():
    with pytest.raises(gb.ModelFileError, match="history is none"):
        run_module.history_of({"history": [["a"]]})


def test_a_sigma_that_overflows_is_refused(tmp_path):
    options = {"visible": lambda n: gb.Gaussian(n, learn_sigma=True)}
    train(gb.Checkpoints(tmp_path), epochs=2, **options)
    keep = gb.Checkpoints(tmp_path)
    state = keep.read()
    state["parameters"]["visible.log_sigma"].fill_(100.0)  # finite, but not its exponential
    keep.write(2, state)
    with pytest.raises(gb.ModelFileError, match=r"visible\.sigma holds inf"):
        train(keep, **options)


def test_a_checkpoint_that_may_not_be_read_says_so(copy, monkeypatch):
    def refuse(_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(gb.DataError, match=r"checkpoint-000004\.safetensors: Permission denied"):
        train(copy)


class Tally(NamedTuple):
    """The state of an estimator that somebody else wrote."""

    chains: torch.Tensor
    counts: dict
    seen: list
    pair: tuple
    best: torch.Tensor | None = None

    def check(self, rbm):
        if self.counts["updates"] < 0:
            raise gb.DataError("fewer than no updates")


class Tallying:
    """An estimator whose state grows, with a tensor where there was none."""

    def init(self, rbm, generator=None):
        return Tally(torch.zeros(2, 3), {"updates": 0}, [], (0.5, torch.zeros(2)))

    def step(self, rbm, batch, state, generator=None):
        n = len(batch.v)
        counts = {"updates": state.counts["updates"] + 1, "rows": torch.tensor(n)}
        gradient, _, info = gb.ExactGradient().step(rbm, batch, None)
        moved = Tally(state.chains + 1, counts, [*state.seen, n], state.pair, torch.ones(7))
        return gradient, moved, info


def test_a_users_estimator_goes_on(tmp_path):
    keep = gb.Checkpoints(tmp_path)
    train(keep, epochs=2, gradient=Tallying)
    assert_same(train(keep, gradient=Tallying), train(gradient=Tallying))
    carried = keep.read()["gradient"]
    assert carried[1]["updates"] == 20
    assert len(carried[2]) == 20


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("gradient.0", torch.zeros(2, 2)),
        ("gradient.0", torch.full((2, 3), torch.nan)),
        ("gradient.1", []),
        ("gradient.1.updates", -1),
        ("gradient.2", {}),
        ("gradient.3", [0.5]),
        ("gradient.3.0", "x"),
        ("gradient.4", [1]),
    ],
)
def test_a_users_estimator_is_guarded_by_what_it_starts_with(tmp_path, place, value):
    keep = gb.Checkpoints(tmp_path)
    train(keep, epochs=2, gradient=Tallying)
    keep.write(2, forgeries.changed(keep.read(), place, lambda _: value))
    with pytest.raises(gb.ModelFileError, match="of another run"):
        train(keep, gradient=Tallying)


# where it is written


def test_a_full_disk_leaves_the_checkpoints_there_were(tmp_path, monkeypatch):
    keep = gb.Checkpoints(tmp_path)
    train(keep, epochs=2)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(gb.OutputError, match=r"No space left.*with space left"):
            train(keep)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert_same(train(keep), train())


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(gb.OutputError, match="cannot make"):
        train(gb.Checkpoints(tmp_path / "file" / "kept"))


def test_an_old_one_that_cannot_be_removed_is_told(copy, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("pathlib.Path.unlink", refuse)
    with pytest.raises(gb.OutputError, match=r"cannot remove .*Read-only"):
        train(copy)


def test_what_no_checkpoint_can_hold_is_refused(tmp_path):
    with pytest.raises(gb.ArgumentError, match="cannot hold complex"):
        gb.Checkpoints(tmp_path).write(1, {"x": 1j})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("every", [0, -1, 1.5, True, None])
def test_every_is_a_count(tmp_path, every):
    with pytest.raises(gb.ArgumentError, match="every="):
        gb.Checkpoints(tmp_path, every)


# callbacks that carry a state


class Counting:
    """Tells how often it was called, by what it carries from epoch to epoch."""

    def __init__(self):
        self.total = torch.zeros(2)

    def __call__(self, rbm, record):
        self.total += record["epoch"]
        return {"total": self.total.sum().item()}

    def state_dict(self):
        return {"total": self.total}

    def load_state_dict(self, state):
        self.total.copy_(state["total"])


def observed(keep=None, epochs=EPOCHS):
    """`train` with callbacks that have a state, one kind of them twice, and one that has none."""
    grey = 0.2 + 0.6 * DATA
    tracker = gb.TrajectoryAIS(grey, 20, 10, torch.Generator().manual_seed(7), every=2)
    callbacks = [Counting(), tracker, gb.Monitor(DATA), Counting()]
    return train(keep, epochs=epochs, callbacks=callbacks)


@pytest.mark.parametrize("done", [1, 2, 3, 5])
def test_the_history_goes_on_as_if_never_stopped(tmp_path, done):
    keep = gb.Checkpoints(tmp_path)
    observed(keep, epochs=done)
    assert_same(observed(keep), observed())


def test_a_callback_that_the_checkpoint_does_not_know_starts_afresh(tmp_path):
    keep = gb.Checkpoints(tmp_path)
    train(keep, epochs=2)
    _, history = observed(keep, epochs=3)
    assert history.records[-1]["total"] == 6  # twice the number of one epoch


def test_a_checkpoint_from_before_callbacks_had_a_state_is_read(tmp_path, monkeypatch):
    carried = run_module.Run.carried
    keep = gb.Checkpoints(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(
            run_module.Run,
            "carried",
            lambda run: {k: x for k, x in carried(run).items() if k != "callbacks"},
        )
        observed(keep, epochs=2)
    ours, _ = observed(keep)
    expected, _ = observed()
    assert torch.equal(ours.weight, expected.weight)


HOSTILE = {
    "no list": 3,
    "no pairs": [1, 2],
    "no state": [["TrajectoryAIS", None]],
    "other names": [["TrajectoryAIS", {"a": torch.zeros(2)}]],
    "short": [["TrajectoryAIS", {"start": torch.zeros(3), "now": torch.zeros(3)}]],
    "numbers": [["TrajectoryAIS", {"start": 1, "now": "x"}]],
    "other shape": [["Counting", {"total": torch.zeros(10**6)}]],
    "nothing": [["Counting", {}]],
}


@pytest.mark.parametrize("forged", HOSTILE.values(), ids=HOSTILE)
def test_forged_states_of_callbacks_are_refused(tmp_path, monkeypatch, forged):
    carried = run_module.Run.carried
    keep = gb.Checkpoints(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(run_module.Run, "carried", lambda run: carried(run) | {"callbacks": forged})
        observed(keep, epochs=2)
    with pytest.raises(gb.ModelFileError, match="of another run"):
        observed(keep)
