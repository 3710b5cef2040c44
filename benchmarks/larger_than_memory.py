"""One epoch over a 20 GB file of bytes in the memory of a minibatch.

Run: python benchmarks/larger_than_memory.py [--gigabytes 20] [--folder FOLDER]

The file is sparse: a header, then as many zeros as it promises, of which the disk holds none; the
system makes its pages as they are read, as it would fetch them. Memory is told in two ways: the
most that was resident, which counts the file's pages that the system keeps while nobody else
needs them, and the most that was anonymous, which is what the process itself asked for.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from common import train

import gibbsite as gb

COLUMNS = 784
HIDDEN = 16
BATCH = 4096
SAMPLED_EVERY = 0.05


class Memory(threading.Thread):
    """The largest of this process's anonymous and file-backed memory, sampled, in bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = {"RssAnon": 0, "RssFile": 0}
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(SAMPLED_EVERY):
            for line in Path("/proc/self/status").read_text().splitlines():
                name, _, value = line.partition(":")
                if name in self.most:
                    self.most[name] = max(self.most[name], 1024 * int(value.split()[0]))

    def __str__(self) -> str:
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        anonymous, mapped = self.most["RssAnon"], self.most["RssFile"]
        return (
            f"anonymous {anonymous / 2**20:,.0f} MiB at most, pages of files "
            f"{mapped / 2**20:,.0f} MiB at most, ru_maxrss {peak / 2**20:,.0f} MiB"
        )


def make(path: Path, gigabytes: float) -> None:
    rows = int(gigabytes * 1e9) // COLUMNS
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (rows, COLUMNS)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + rows * COLUMNS)


def measure(path: Path) -> None:
    memory = Memory()
    memory.start()
    print(f"{path.stat().st_size / 1e9:.2f} GB; before: {memory}", flush=True)

    started = time.perf_counter()
    data = gb.datasets.load(path)
    print(f"load {time.perf_counter() - started:.1f} s: {data.description}; {memory}", flush=True)

    started = time.perf_counter()
    rbm = gb.RBM(gb.Bernoulli(COLUMNS), gb.Bernoulli(HIDDEN))
    train(rbm, data.rows, gb.Centered(gb.PCD()), (0.05, 0.5), 1, BATCH, 0)
    seconds = time.perf_counter() - started
    memory.done.set()
    memory.join()
    print(f"one epoch, its checks included, {seconds:.1f} s; {memory}", flush=True)
    rate = len(data.rows) / seconds
    print(f"{HIDDEN} hidden units, batches of {BATCH}: {rate:,.0f} rows a second")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=20.0)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        make(Path(folder) / "zeros.npy", options.gigabytes)
        measure(Path(folder) / "zeros.npy")
