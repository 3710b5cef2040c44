"""Hostile files are refused by a typed error, at once and in little memory."""

import json
import re
import subprocess
import sys

import pytest
from hostile import HOSTILE

BYTES, SECONDS = 200 * 2**20, 5

READ = """
import json, resource, sys, time
from pathlib import Path
import h5py, numpy, pyarrow.parquet, torch, PIL.PngImagePlugin, PIL.TiffImagePlugin
import gibbsite as gb
def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    before, started = peak(), time.process_time()  # of the processor, which others may share
    try:
        gb.datasets.load(path).rows[:1]
        told = "read"
    except gb.GibbsiteError as error:
        told = f"{type(error).__name__}: {error}"
    except Exception as error:
        told = f"untyped {type(error).__name__}: {error}"
    print(json.dumps([told, peak() - before, time.process_time() - started]), flush=True)
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Of each file: what was said, bytes that the peak grew by, seconds of the processor."""
    folder = tmp_path_factory.mktemp("hostile")
    for name, make in HOSTILE.items():
        make(folder / name)
        files = [path for path in (folder / name, *(folder / name).glob("*")) if path.is_file()]
        assert sum(path.stat().st_size for path in files) < 10 * 2**20, name
    result = subprocess.run(
        [sys.executable, "-c", READ, *(folder / name for name in HOSTILE)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    lines = result.stdout.splitlines()
    assert len(lines) == len(HOSTILE), (list(HOSTILE)[len(lines)], result.stderr[-500:])
    assert not (folder / "program" / "ran").exists()
    return folder, dict(zip(HOSTILE, map(json.loads, lines), strict=True))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_at_once(outcomes, name):
    folder, found = outcomes
    told, size, seconds = found[name]
    assert told.startswith(("DataError: ", "EntryError: ", "TooLargeError: ")), told
    assert str(folder / name) in told
    assert len(told) < 500
    assert size < BYTES, told
    assert seconds < SECONDS, told


WORDS = {
    "twice.npz": "two arrays called train",
    "flat.gz": r"shape \(1073741824,\)",
    "bomb.csv.gz": "100 times its size",
    "end.csv": r"line 2000001, column 2: 'x'",
    "list.parquet": r"column 1 \(x\) holds list<",
    "page.parquet": "pages that are too large",
    "hole.parquet": r"row 40000001, column 1 \(x\): a missing value",
    "external.h5": "in other files",
    "virtual.h5": "in other files",
    "link.h5": "a link to another place",
    "soft.h5": "a link to another place",
    "chunk.h5": "a chunk that may unpack to over",
    "huge.h5": "chunks of 2,147,483,648 bytes",
    "program": "no image that can be read",
    "queue": r"b\.png is no regular file",
    "zero.csv": "no regular file",
}


@pytest.mark.parametrize("name", WORDS)
def test_the_reason_is_told(outcomes, name):
    assert re.search(WORDS[name], outcomes[1][name][0])
