"""Model files: what is saved comes back, and nothing else is taken for a model."""

import json
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle import random_rbm
from outcomes import outcome
from safetensors.torch import save_file

import gibbsite as gb

LAYERS = {
    "bernoulli": lambda: gb.Bernoulli(5),
    "gaussian, shared sigma": lambda: gb.Gaussian(5, sigma=0.3),
    "gaussian, sigma a unit": lambda: gb.Gaussian(5, sigma=[0.1, 0.2, 0.3, 0.4, 0.5]),
    "gaussian, learned sigma": lambda: gb.Gaussian(5, sigma=[0.3] * 5, learn_sigma=True),
    "gaussian, learned shared sigma": lambda: gb.Gaussian(5, sigma=0.3, learn_sigma=True),
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_saved_model_comes_back_bit_for_bit(tmp_path, make, dtype):
    rbm = random_rbm(make(), 3, seed=1).to(dtype)
    gb.save(rbm, tmp_path / "m.safetensors")
    loaded = gb.load(tmp_path / "m.safetensors")
    assert type(loaded.visible) is type(rbm.visible)
    assert loaded.visible.options() == rbm.visible.options()
    expected = rbm.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    for name, value in loaded.state_dict().items():
        assert value.dtype == dtype
        assert torch.equal(value, expected[name])


def test_the_same_model_makes_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        gb.save(random_rbm(gb.Gaussian(4), 3, seed=2), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_only_a_whole_file_is_ever_in_place(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    gb.save(random_rbm(gb.Bernoulli(4), 3, seed=1), path)
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", _disk_full)
    with pytest.raises(gb.OutputError, match="No space left"):
        gb.save(random_rbm(gb.Bernoulli(4), 3, seed=2), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def _disk_full(_):
    raise OSError(28, "No space left on device")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(gb.OutputError, match=r"no/m\.safetensors.*folder that exists"):
        gb.save(random_rbm(gb.Bernoulli(2), 2, seed=0), tmp_path / "no" / "m.safetensors")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(gb.DataError, match="no such model file"):
        gb.load(tmp_path / "none.safetensors")


def test_a_name_that_the_system_refuses_is_a_data_error():
    with pytest.raises(gb.DataError, match="File name too long"):
        gb.load("x" * 5000)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.bool])
def test_a_weight_of_another_type_is_refused(tmp_path, dtype):
    state = random_rbm(gb.Bernoulli(2), 2, seed=0).state_dict()
    layer = {"type": "bernoulli", "n": 2, "options": {}}
    header = {"version": 1, "visible": layer, "hidden": layer}
    tensors = state | {"weight": state["weight"].to(dtype)}
    save_file(tensors, tmp_path / "m", {"gibbsite": json.dumps(header)})
    with pytest.raises(gb.ModelFileError, match=f"its weight is of {dtype}"):
        gb.load(tmp_path / "m")


@pytest.mark.parametrize("header", ["5", "[]", "null", '"x"', "{", '{"version": 1}', "[" * 100_000])
def test_a_header_of_another_kind_is_refused(tmp_path, header):
    state = random_rbm(gb.Bernoulli(2), 2, seed=0).state_dict()
    save_file(state, tmp_path / "m", {"gibbsite": header})
    with pytest.raises(gb.ModelFileError):
        gb.load(tmp_path / "m")


def test_what_cannot_be_tidied_up_does_not_hide_the_error(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", _disk_full)
    monkeypatch.setattr("pathlib.Path.unlink", lambda *_, **__: _disk_full(0))
    with pytest.raises(gb.OutputError, match=r"cannot write .*No space left"):
        gb.save(random_rbm(gb.Bernoulli(2), 2, seed=0), tmp_path / "m")
    assert not (tmp_path / "m").exists()


@given(length=st.integers(0, 399))
def test_a_truncated_file_is_refused(tmp_path_factory, length):
    folder = tmp_path_factory.mktemp("truncated")
    gb.save(random_rbm(gb.Bernoulli(4), 3, seed=1), folder / "m")
    content = (folder / "m").read_bytes()
    (folder / "m").write_bytes(content[: min(length, len(content) - 1)])
    with pytest.raises(gb.ModelFileError, match="damaged or not a Gibbsite model"):
        gb.load(folder / "m")


@given(position=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_changed_byte_gives_a_model_or_a_gibbsite_error(tmp_path_factory, position, value):
    folder = tmp_path_factory.mktemp("changed")
    gb.save(random_rbm(gb.Gaussian(3, learn_sigma=True), 2, seed=1), folder / "m")
    content = bytearray((folder / "m").read_bytes())
    content[position % len(content)] = value
    (folder / "m").write_bytes(content)
    _, message = outcome(lambda: gb.load(folder / "m"))
    assert message is None or str(folder / "m") in message


@given(content=st.binary(max_size=200))
def test_foreign_bytes_are_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("foreign") / "m"
    path.write_bytes(content)
    with pytest.raises(gb.ModelFileError):
        gb.load(path)


def test_a_safetensors_file_of_another_package_is_refused(tmp_path):
    save_file({"weight": torch.zeros(2, 2)}, tmp_path / "m")
    with pytest.raises(gb.ModelFileError, match="not one that Gibbsite wrote"):
        gb.load(tmp_path / "m")


def _save_with_header(path, **changes):
    rbm = random_rbm(gb.Bernoulli(2), 2, seed=0)
    layer = {"type": "bernoulli", "n": 2, "options": {}}
    header = {"version": 1, "visible": layer, "hidden": layer} | changes
    save_file(rbm.state_dict(), path, {"gibbsite": json.dumps(header)})


def test_another_version_is_named(tmp_path):
    _save_with_header(tmp_path / "m", version=99)
    with pytest.raises(gb.ModelFileError, match=r"version 99.*reads version 1"):
        gb.load(tmp_path / "m")


@pytest.mark.parametrize(
    "layer",
    [
        {"type": "quantum", "n": 2, "options": {}},
        {"type": "bernoulli", "n": 3, "options": {}},
        {"type": "bernoulli", "n": 10**15, "options": {}},
        {"type": "bernoulli", "n": 2, "options": {"unknown": True}},
        {"type": "gaussian", "n": 2, "options": {}},
        {"n": 2},
        [],
        None,
    ],
)
def test_a_header_that_lies_is_refused(tmp_path, layer):
    _save_with_header(tmp_path / "m", visible=layer)
    with pytest.raises(gb.ModelFileError):
        gb.load(tmp_path / "m")


def test_the_unlied_header_of_that_test_loads(tmp_path):
    _save_with_header(tmp_path / "m")
    assert gb.load(tmp_path / "m").visible.n == 2


def test_a_folder_of_a_run_is_its_model(tmp_path):
    gb.save(random_rbm(gb.Bernoulli(4), 2, seed=0), tmp_path / "model.safetensors")
    assert gb.load(tmp_path).visible.n == 4


def test_a_link_is_followed_and_stays(tmp_path):
    for there in (True, False):
        target, link = tmp_path / f"{there}", tmp_path / f"link-{there}"
        if there:
            target.write_bytes(b"old")
        link.symlink_to(target)
        gb.save(random_rbm(gb.Bernoulli(2), 2, seed=0), link)
        assert link.is_symlink()
        assert gb.load(target).visible.n == 2


def test_what_is_no_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "round").symlink_to(tmp_path / "round")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "round", "folder"):
        with pytest.raises(gb.OutputError, match="it is there and no file"):
            gb.save(random_rbm(gb.Bernoulli(2), 2, seed=0), tmp_path / name)
    assert (tmp_path / "pipe").is_fifo()
    with pytest.raises(gb.DataError, match="no such model file"):
        gb.load(tmp_path / "pipe")  # and does not wait for a writer


def test_a_file_that_may_not_be_read_says_so(tmp_path, monkeypatch):
    gb.save(random_rbm(gb.Bernoulli(2), 2, seed=0), tmp_path / "m")

    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(gb.DataError, match="m: Permission denied"):
        gb.load(tmp_path / "m")


def _gaussian_file(path, **tensors):
    rbm = random_rbm(gb.Gaussian(2), 2, seed=0)
    layers = {"visible": {"type": "gaussian", "n": 2, "options": {"learn_sigma": False}}}
    layers["hidden"] = {"type": "bernoulli", "n": 2, "options": {}}
    state = rbm.float().state_dict() | tensors
    save_file(state, path, {"gibbsite": json.dumps({"version": 1, **layers})})


BAD_TENSORS = {
    "negative sigma": ({"visible.fixed_sigma": torch.tensor([-1.0])}, "sigma holds -1"),
    "sigma of 0": ({"visible.fixed_sigma": torch.tensor([0.0])}, "sigma holds 0"),
    "infinite sigma": ({"visible.fixed_sigma": torch.tensor([torch.inf])}, "sigma holds inf"),
    "integer bias": ({"hidden.bias": torch.zeros(2, dtype=torch.int64)}, "hidden.bias is of"),
    "boolean bias": ({"hidden.bias": torch.zeros(2, dtype=torch.bool)}, "hidden.bias is of"),
    "complex bias": ({"visible.bias": torch.zeros(2, dtype=torch.complex64)}, "visible.bias is"),
    "double bias": ({"visible.bias": torch.zeros(2).double()}, "visible.bias is of"),
    "NaN bias": ({"visible.bias": torch.full((2,), torch.nan)}, "visible.bias holds nan"),
    "infinite weight": ({"weight": torch.full((2, 2), torch.inf)}, "weight holds inf"),
}


@pytest.mark.parametrize(("tensors", "message"), BAD_TENSORS.values(), ids=BAD_TENSORS)
def test_numbers_that_no_model_has_are_refused(tmp_path, tensors, message):
    _gaussian_file(tmp_path / "m")
    assert gb.load(tmp_path / "m").visible.n == 2
    _gaussian_file(tmp_path / "m", **tensors)
    with pytest.raises(gb.ModelFileError, match=message):
        gb.load(tmp_path / "m")


def test_a_model_with_nan_is_neither_saved_nor_sampled(tmp_path):
    rbm = random_rbm(gb.Bernoulli(2), 2, seed=0)
    with torch.no_grad():
        rbm.weight[0, 0] = torch.nan
    uses = {
        "save": lambda: gb.save(rbm, tmp_path / "m"),
        "sample": lambda: gb.sample(rbm, 2, steps=1),
        "exact": lambda: gb.exact.sample(rbm, 2),
        "fit": lambda: gb.fit(rbm, torch.zeros(2, 2)),
    }
    for use in uses.values():
        with pytest.raises(gb.ArgumentError, match="the model's weight holds nan"):
            use()
    assert not (tmp_path / "m").exists()


def test_several_models_come_back_in_order(tmp_path):
    models = [gb.RBM(gb.Gaussian(3), gb.Bernoulli(2)) for _ in range(3)]
    for number, rbm in enumerate(models):
        torch.nn.init.constant_(rbm.weight, number / 10)
    gb.save_models(models, tmp_path / "models.safetensors")
    again = gb.load_models(tmp_path / "models.safetensors")
    assert [rbm.weight[0, 0].item() for rbm in again] == pytest.approx([0.0, 0.1, 0.2])


def test_models_that_differ_and_files_of_one_are_refused(tmp_path):
    path = tmp_path / "models.safetensors"
    with pytest.raises(gb.ArgumentError, match="different layers"):
        gb.save_models([gb.RBM(gb.Bernoulli(n), gb.Bernoulli(2)) for n in (3, 4)], path)
    with pytest.raises(gb.ArgumentError, match="no models"):
        gb.save_models([], path)
    gb.save(gb.RBM(gb.Bernoulli(3), gb.Bernoulli(2)), path)
    with pytest.raises(gb.ModelFileError):
        gb.load_models(path)
