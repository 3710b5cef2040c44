"""Arguments made usable or refused, and how much memory there is."""

import os

import numpy as np
import pytest
import torch

import gibbsite as gb
from gibbsite import checks
from gibbsite.checks import cgroup_memory, check_counts, check_file, check_memory
from gibbsite.errors import location
from gibbsite.likelihood.annealing import uniform_schedule

RBM = gb.RBM(gb.Bernoulli(6), gb.Bernoulli(3))
GIB = 2**30


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_limits_of_control_groups_of_version_2(tmp_path):
    (tmp_path / "own").write_text("0::/outer/inner\n")
    write(tmp_path / "outer", memory__max=f"{4 * GIB}\n", memory__current=f"{3 * GIB}\n")
    write(tmp_path / "outer", memory__stat=f"anon 5\ninactive_file {GIB}\n")
    write(tmp_path / "outer/inner", memory__max="max\n", memory__current="7\n")
    assert set(cgroup_memory(tmp_path, tmp_path / "own")) == {(4 * GIB, 2 * GIB)}


def test_limits_of_control_groups_of_version_1(tmp_path):
    (tmp_path / "own").write_text("3:cpu,cpuacct:/x\n2:memory:/x\n")
    limit = {"memory__limit_in_bytes": str(GIB), "memory__usage_in_bytes": str(GIB // 2)}
    write(tmp_path / "memory/x", **limit, memory__stat="total_inactive_file 0\n")
    write(tmp_path / "memory", memory__limit_in_bytes=str(2**62), memory__usage_in_bytes="9")
    assert set(cgroup_memory(tmp_path, tmp_path / "own")) == {(GIB, GIB // 2), (2**62, 9)}


def test_in_a_container_the_root_is_the_own_group(tmp_path):
    (tmp_path / "own").write_text("0::/system.slice/docker-abc.scope\n")
    write(tmp_path, memory__max=str(2 * GIB), memory__current="0")
    assert set(cgroup_memory(tmp_path, tmp_path / "own")) == {(2 * GIB, 0)}


@pytest.mark.parametrize("text", ["", "nonsense\n", "0::\n", "::::::\n", "0::/../../etc\n"])
def test_odd_lists_of_groups_are_no_limit(tmp_path, text):
    (tmp_path / "own").write_text(text)
    assert not set(cgroup_memory(tmp_path, tmp_path / "own"))
    assert not set(cgroup_memory(tmp_path, tmp_path / "none"))


@pytest.mark.parametrize(
    ("groups", "free", "refused"),
    [
        ([], 64 * GIB, None),
        ([(2 * GIB, 0)], 64 * GIB, r"0\.6 GiB, over a quarter of the 2\.0 GiB this process may"),
        ([(4 * GIB, 3 * GIB)], 64 * GIB, r"half of the 1\.0 GiB it has left"),
        ([], GIB, r"half of the 1\.0 GiB that are free"),
        ([], None, None),
    ],
)
def test_the_tightest_limit_counts(monkeypatch, groups, free, refused):
    monkeypatch.setattr(os, "sysconf", lambda _: 2**18)  # 64 GiB
    monkeypatch.setattr(checks, "cgroup_memory", lambda: groups)
    monkeypatch.setattr(checks, "_available_bytes", lambda: free)
    check_memory("a little", 1000)
    if refused is None:
        check_memory("much", 150, 2**20)
        return
    with pytest.raises(gb.TooLargeError, match=refused):
        check_memory("much", 150, 2**20)


HUGE = {
    "chains": lambda n: gb.fit(RBM, torch.eye(6), gradient=gb.PCD(chains=n), epochs=1),
    "temperatures": lambda n: gb.log_partition(RBM, "bridge", temperatures=n),
    "chains of a bridge": lambda n: gb.log_partition(RBM, "bridge", chains=n),
    "chains of reverse ais": lambda n: gb.log_partition(RBM, "reverse-ais", chains=n),
    "schedule": uniform_schedule,
    "samples": lambda n: gb.sample(RBM, n, steps=1),
    "exact samples": lambda n: gb.exact.sample(RBM, n),
    "chains of an estimator": lambda n: gb.BernoulliRBM(2, chains=n).fit(np.eye(6)),
    "chains of a monitor": lambda n: gb.TrajectoryAIS(torch.eye(6), chains=n)(RBM, {}),
}


@pytest.mark.parametrize("n", [2**40, 2**62, 2**63, 10**30])
@pytest.mark.parametrize("call", HUGE.values(), ids=HUGE)
def test_counts_beyond_the_memory_are_refused_by_type(call, n):
    with pytest.raises((gb.TooLargeError, gb.ArgumentError), match="use fewer"):
        call(n)


def test_a_batch_larger_than_the_data_is_all_of_them():
    for batch_size in (6, 2**40, 2**62):
        rbm, g = gb.RBM(gb.Bernoulli(6), gb.Bernoulli(3)), torch.Generator().manual_seed(0)
        gb.fit(rbm, torch.eye(6), epochs=2, batch_size=batch_size, generator=g)
        assert torch.isfinite(rbm.weight).all()
    with pytest.raises(gb.ArgumentError, match=r"batch_size: .* at most 2\^62"):
        gb.fit(RBM, torch.eye(6), batch_size=2**63)
    with pytest.raises(gb.ArgumentError, match="at most"):
        check_counts(n=2**62 + 1)


def test_only_files_that_end_are_files(tmp_path):
    (tmp_path / "file").touch()
    check_file(tmp_path / "file")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in ("fifo", "device", "."):
        with pytest.raises(gb.DataError, match="no regular file"):
            check_file(tmp_path / name)
    with pytest.raises(gb.DataError, match="No such file"):
        check_file(tmp_path / "none")


def test_places_are_counted_from_1():
    assert location(0, 0) == "row 1, column 1"
    assert location(None, 1, "age") == "column 2 (age)"


@pytest.mark.parametrize("call", ["fit", "partial_fit"])
@pytest.mark.parametrize("kind", [gb.BernoulliRBM, gb.GaussianRBM])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.ma.masked_array(np.eye(6), np.eye(6) > 0), "masked array"),
        (torch.eye(6).to_sparse(), "layout sparse_coo"),
        (torch.empty(6, 6, device="meta"), "device meta"),
    ],
)
def test_estimators_lose_no_mask(kind, call, data, message):
    with pytest.raises(gb.DataError, match=message):
        getattr(kind(2, n_iter=1), call)(data)


def test_values_whose_squares_overflow_are_named():
    with pytest.raises(gb.DataError, match=r"column 2 .* squares overflow"):
        gb.GaussianRBM(2).fit(np.array([[0.0, 1e200], [1.0, -1e200]]))
