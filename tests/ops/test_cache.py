"""Compiled kernels on disk: where they may lie, and what is done when they cannot."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from gibbsite.ops import cache, compiling, dispatch

SOURCE = Path(cache.__file__).parents[2]
needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or not shutil.which("setpriv"),
    reason="only root can become someone else",
)

SUM = """
import logging, torch
from gibbsite import ops
from gibbsite.ops import dispatch
assert ops.Numba().square_sum([torch.ones(3)]) == 3
assert ops.Numba().square_sum([torch.ones(3).double()]) == 3
for kernel in dispatch.KERNELS.values():
    print(sum(kernel.stats.cache_misses.values()), sum(kernel.stats.cache_hits.values()))
"""


def run(code: str, folder: Path | None = None, cwd: Path | None = None, **environment: str):
    """What a process of its own prints and says."""
    variables = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1", **environment}
    if folder is not None:
        variables["NUMBA_CACHE_DIR"] = str(folder)
    command = [sys.executable, "-c", code]
    result = subprocess.run(
        command, check=False, capture_output=True, text=True, env=variables, cwd=cwd
    )
    assert result.returncode == 0, result.stderr
    return result


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """A folder with the kernels of `SUM`."""
    folder = tmp_path_factory.mktemp("kept")
    assert run(SUM, folder).stdout.split() == ["1", "0"] * 2
    return folder


def test_a_second_process_compiles_nothing(kept):
    assert run(SUM, kept).stdout.split() == ["0", "1"] * 2


@pytest.mark.parametrize("ending", [".nbi", ".nbc"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: b"\0" * len(content),
        lambda content: bytes([*content[:300], content[300] ^ 1, *content[301:]]),
    ],
    ids=["emptied", "halved", "cut short", "zeros", "a bit turned"],
)
def test_a_damaged_file_is_never_loaded(kept, tmp_path, ending, damage):
    """In this process, which would compile anew."""
    from numba import float32, types

    (folder,) = (path for path in kept.iterdir() if path.is_dir())
    for path in folder.iterdir():
        content = path.read_bytes()
        (tmp_path / path.name).write_bytes(damage(content) if path.suffix == ending else content)
    kernel = compiling.kernel("square_sum", False)
    signature = (types.UniTuple(types.Array(float32, 1, "C"), 1),)
    good, damaged = (cache.KernelCache(kernel.py_func, path) for path in (folder, tmp_path))
    assert good.load_overload(signature, kernel.targetctx) is not None
    assert damaged.load_overload(signature, kernel.targetctx) is None
    assert damaged.load_overload((float32,), kernel.targetctx) is None


def test_a_damaged_entry_is_compiled_anew_and_then_kept(kept, tmp_path):
    """Of three files one is the index; who loads the new ones is told of no damage."""
    shutil.copytree(kept, tmp_path / "copy")
    files = list(tmp_path.rglob("*.nb?"))
    for path in files:
        path.write_bytes(path.read_bytes()[:100])
    assert run(SUM, tmp_path / "copy").stdout.split() == ["1", "0"] * 2
    assert len(files) == 3
    assert {path.name for path in files} == {path.name for path in tmp_path.rglob("*.nb?")}
    for path in files:
        cache._check(path)


def test_code_for_other_types_is_not_used(kept, tmp_path):
    """As when two processes gave their files the same number."""
    from numba import float32, float64, types

    (folder,) = (path for path in kept.iterdir() if path.is_dir())
    first, second = sorted(folder.glob("*.nbc"))
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / first.name).write_bytes(second.read_bytes())
    (tmp_path / second.name).write_bytes(first.read_bytes())
    kernel = compiling.kernel("square_sum", False)
    for dtype in (float32, float64):
        swapped = cache.KernelCache(kernel.py_func, tmp_path)
        signature = (types.UniTuple(types.Array(dtype, 1, "C"), 1),)
        assert swapped.load_overload(signature, kernel.targetctx) is None


def test_a_full_disk_costs_no_more_than_a_compilation(tmp_path):
    """No file may grow, as when there is no room; it is said once for all kernels."""
    full = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
"""
    result = run(full + SUM.replace("print", "assert (1, 0) == "), tmp_path)
    assert result.stderr.count("are not kept") == 1
    assert not list(tmp_path.rglob("*.nbc"))


def module_of(path: Path, text: str):
    """A module of that text."""
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_code_on_disk_is_told_apart_by_the_text_of_its_module(tmp_path):
    """And by that of the modules it may call, but kernels of `ops` by that of `ops` alone."""
    texts = "def twice(x):\n    return 2 * x\n", "def twice(x):\n    return x + x\n"
    modules = [module_of(tmp_path / f"m{k}.py", text) for k, text in enumerate(texts)]
    kernels = [compiling.kernel("twice", False, module) for module in (*modules, modules[0])]
    first, second, again = (kernel.py_func.__qualname__ for kernel in kernels)
    assert first == again != second
    assert [kernel(21) for kernel in kernels] == [42] * 3
    assert compiling._version(None) not in map(compiling._version, modules)


@needs_root
def test_a_stranger_without_a_home_can_work():
    """An arbitrary user in a container: nothing can be written, and there is no HOME."""
    stranger = ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups"]
    environment = {key: x for key, x in os.environ.items() if "CACHE" not in key and key != "HOME"}
    environment |= {"PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1"}
    home = tempfile.mkdtemp()  # pytest's own folders are closed to strangers
    Path(home).chmod(0o777)
    command = [*stranger, sys.executable, "-c", SUM]
    result = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True)
    left = list(Path(home).iterdir())
    shutil.rmtree(home)
    if "Permission denied" in result.stderr or "No module named" in result.stderr:
        pytest.skip(f"the stranger cannot read Python or the source: {result.stderr}")
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("are not kept") == 1
    assert left == []


@pytest.fixture
def anew(monkeypatch):
    """Without what was found out before, and without other places."""
    monkeypatch.setattr(cache, "folder", cache.folder.__wrapped__)
    monkeypatch.setattr(cache, "_warn", cache._warn.__wrapped__)
    monkeypatch.setattr(cache.numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(cache, "__file__", "/proc/1/cache.py")


def test_without_a_home_no_folder_is_made(anew, monkeypatch, tmp_path, caplog):
    """Nor is one named ~ taken, which others may have put there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert cache.folder() is None
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "~/.cache/gibbsite/kernels").mkdir(parents=True)
    assert cache.folder() is None
    assert "NUMBA_CACHE_DIR" in caplog.text


@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "HOME"])
def test_the_user_has_a_folder_of_her_own(anew, monkeypatch, tmp_path, variable):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    found = cache.folder()
    assert found == tmp_path / {"HOME": ".cache"}.get(variable, "") / "gibbsite/kernels"
    assert found.stat().st_mode & 0o777 == 0o700


def test_the_folder_named_by_the_user_goes_first(anew, monkeypatch, tmp_path):
    monkeypatch.setattr(cache.numba.config, "CACHE_DIR", str(tmp_path))
    assert cache.folder() == tmp_path / "gibbsite"


def test_the_source_has_its_kernels_beside_it(anew, monkeypatch, tmp_path):
    """Unless nobody may write there."""
    monkeypatch.setattr(cache, "__file__", str(tmp_path / "cache.py"))
    assert cache.folder() == tmp_path / "__pycache__"


@pytest.mark.parametrize(
    ("mode", "parent", "private"),
    [
        (0o700, 0o700, True),
        (0o755, 0o755, True),
        (0o757, 0o755, False),
        (0o1777, 0o755, False),
        (0o700, 0o777, False),
        (0o700, 0o1777, True),
    ],
)
def test_a_folder_that_others_can_write_is_refused(tmp_path, mode, parent, private):
    folder = tmp_path / "parent/folder"
    folder.mkdir(parents=True)
    folder.chmod(mode)
    folder.parent.chmod(parent)
    assert cache.is_private(folder) == private
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert cache.is_private(link) == private


@needs_root
def test_a_folder_of_another_user_or_group_is_refused(tmp_path):
    for name, owner, group, mode, private in (
        ("user", 54321, 0, 0o755, False),
        ("group", 0, 54321, 0o755, True),
        ("writing group", 0, 54321, 0o775, False),
        ("own group", 0, os.getegid(), 0o775, True),
    ):
        (tmp_path / name / "inside").mkdir(parents=True)
        os.chown(tmp_path / name, owner, group)
        (tmp_path / name).chmod(mode)
        assert cache.is_private(tmp_path / name) == private
        assert cache.is_private(tmp_path / name / "inside") == private


THREADS = """
import threading, torch
torch.set_num_threads(2)
from gibbsite import ops
x, w = torch.ones(400, 400), torch.ones(400)
def work():
    torch.set_num_threads(2)
    for _ in range(50):
        total = torch.zeros(400, dtype=torch.float64)
        ops.Numba().add_row_dot_(total, x, w, 1.0)
        assert (total == 400).all()
threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]; [thread.join() for thread in threads]
from gibbsite.ops import dispatch
print(*(kind[1] for kind in dispatch.KERNELS))
"""


@pytest.mark.parametrize("layer", ["workqueue", "forksafe", "tbb", "omp", "default"])
def test_every_threading_layer_bears_several_threads(kept, layer):
    """What bears no calls from several threads, or is not there, is not asked to share out work."""
    found = run(THREADS, kept, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS="2")
    if layer == "workqueue":
        assert found.stdout.split() == ["False"]


def test_without_a_compiler_plain_torch_does_the_work():
    code = """
import numpy as np, torch, gibbsite as gb
from gibbsite import ops
x = torch.full((300, 200), 50.0)
with torch.no_grad():
    assert type(ops.kernels_for(x)) is ops.Kernels
assert ops.kernels_for().gather(np.ones((3, 2), np.uint8), np.arange(3), 2.0, 1.0).sum() == 18
rows = gb.Rows(np.random.default_rng(0).integers(0, 256, (64, 200), np.uint8), scale=1 / 255)
for data in (rows, rows.dense().round()):
    rbm = gb.RBM(gb.Bernoulli(200), gb.Bernoulli(100))
    gb.fit(rbm, data, epochs=2, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(gb.sample(rbm, 100, steps=3)).all()
"""
    assert run(code, NUMBA_DISABLE_JIT="1").stderr.count("NUMBA_DISABLE_JIT") == 1


def test_settings_that_numba_refuses_are_told_in_a_sentence():
    code = """
import gibbsite as gb
try:
    gb.fit(gb.RBM(gb.Bernoulli(9), gb.Bernoulli(2)), gb.datasets.load("bars-and-stripes").train)
except gb.ArgumentError as error:
    print(error)
"""
    told = run(code, NUMBA_NUM_THREADS="0").stdout
    assert told.startswith("Numba does not start: Number of threads specified must be > 0.")
    assert "NUMBA_NUM_THREADS" in told


@pytest.mark.parametrize(
    ("place", "words"), [(Path("/x"), "kept for your later starts"), (None, "at each")]
)
def test_a_long_compilation_says_so_once(monkeypatch, caplog, place, words):
    """And truly: whether the next start will have to compile too."""
    monkeypatch.setattr(dispatch, "_LOGGED", dispatch.threading.Lock())
    monkeypatch.setattr(cache, "folder", lambda: place)
    monkeypatch.setattr(dispatch, "SLOW", 0.01)
    for _ in range(3):
        with dispatch.notice_if_slow():
            dispatch.threading.Event().wait(0.1)
    (record,) = caplog.records
    assert record.name == "gibbsite"
    assert words in record.message


def test_a_short_compilation_says_nothing(caplog):
    with dispatch.notice_if_slow():
        pass
    assert not caplog.records
