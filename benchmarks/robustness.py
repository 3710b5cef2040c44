"""Survival: runs killed at random moments, and files damaged at random, thousands of them.

Run: python benchmarks/robustness.py kills [--kills 100]
     python benchmarks/robustness.py mutations [--mutations 10000]
     python benchmarks/robustness.py forgeries

`kills`: a training command gets SIGKILL at random moments of its life and is resumed, with resumes
under a full disk and in a read-only folder between, until it ends. After each kill every file with
a final name must be whole; at the end the model must have the bytes of a run never stopped.

`mutations`: damaged files of every kind that is read, in a worker process with limited memory and
time, so that a crash or a hang of a reader is counted and attributed rather than ending this.

`forgeries`: checkpoints that are whole and signed and hold what no run carries, each resumed in a
process of its own; what is accepted or crashes is told.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path.insert(0, str(TESTS))

SPARE_BYTES = 4 * 2**30
"""Address space the worker may use beyond what it has after its imports."""

SECONDS = 30
"""One file that takes longer hangs."""

START_SECONDS = 300
"""How long a worker may take to import everything and read every kind of file once."""

SLOW_SECONDS = 1.0
SEED = 0
EPOCHS = 40


def kills(n: int) -> None:
    from kills import campaign

    started = time.perf_counter()
    told = campaign(n, SEED, EPOCHS)
    for what, count in told.items():
        print(f"{count:5d}  {what}")
    print(f"{time.perf_counter() - started:.0f} s")


def forgeries() -> None:
    from forgeries import CASES, OPTIMIZERS, attempt, original

    for optimizer in OPTIMIZERS:
        original(optimizer)  # once, for all processes
    outcomes: Counter[str] = Counter()
    for case in CASES:
        child = os.fork()
        if child == 0:
            code = 2
            with suppress(Exception):
                code = int(attempt(*case) != "ModelFileError")
            os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        told = {0: "refused", 1: "ACCEPTED", 2: "TRACEBACK"}.get(code, f"CRASH {code}")
        outcomes[told] += 1
        if code:
            print(f"    {told}: {' '.join(case)}")
    print(f"{len(CASES)} forged checkpoints:", dict(outcomes))


# the worker: says which file it is about to read, then what came of it


def peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def work(first: int, last: int) -> None:
    import mutations

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    n = len(mutations.KINDS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = mutations.originals(folder)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + SPARE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        for case in range(first, last):
            kind = mutations.KINDS[case % n]
            tell(case=case, kind=kind.name)
            before, started = peak_bytes(), time.perf_counter()
            try:
                outcome = mutations.attempt(kind, whole[kind.name], case // n, folder)
            except Exception as error:
                outcome = f"BAD {type(error).__name__}: {error}"[:200]
            tell(
                outcome=outcome,
                seconds=time.perf_counter() - started,
                grown=peak_bytes() - before,
            )


def tell(**record: object) -> None:
    print(json.dumps(record), flush=True)


# the parent: starts workers until every case has been tried


def mutations(total: int) -> None:
    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    bad, slow, most_grown, started = [], [], (0, ""), time.perf_counter()
    case = 0
    while case < total:
        arguments = [sys.executable, __file__, "work", "--cases", str(case), str(total)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE) as worker:
            kind, why = "", ""
            for record in records(worker):
                if record is None:
                    why = "hang"
                    worker.kill()
                elif "case" in record:
                    case, kind = record["case"], record["kind"]
                else:
                    outcomes[kind][record["outcome"].split(":")[0]] += 1
                    if record["outcome"].startswith("BAD"):
                        bad.append((kind, case, record["outcome"]))
                    if record["seconds"] > SLOW_SECONDS:
                        slow.append((kind, case, round(record["seconds"], 1)))
                    most_grown = max(most_grown, (record["grown"], f"{kind}, case {case}"))
                    case += 1
        if case < total:
            code = worker.returncode
            why = why or (signal.Signals(-code).name if code < 0 else f"exit code {code}")
            outcomes[kind][why] += 1
            bad.append((kind, case, why))
            case += 1
    report(outcomes, total)
    print("neither read nor refused with a typed error:", len(bad))
    for kind, number, what in bad:
        print(f"    {kind}, case {number}: {what}")
    print(f"slower than {SLOW_SECONDS} s: {slow or 'none'}")
    print(f"most memory one file took: {most_grown[0] / 2**20:.0f} MiB ({most_grown[1]})")
    print(f"{time.perf_counter() - started:.0f} s")


def records(worker: subprocess.Popen[bytes]) -> Iterator[dict[str, Any] | None]:
    """Records of the worker, to its end; None, the last, if it hangs."""
    assert worker.stdout is not None
    pipe, told, patience = worker.stdout.fileno(), b"", START_SECONDS
    while select.select([pipe], [], [], patience)[0]:
        news, patience = os.read(pipe, 2**16), SECONDS
        if not news:
            return
        *lines, told = (told + news).split(b"\n")
        yield from map(json.loads, lines)
    yield None


def report(outcomes: dict[str, Counter[str]], total: int) -> None:
    columns = sorted({name for counts in outcomes.values() for name in counts})
    print(f"{total:,} damaged files, seeds 0-{(total - 1) // len(outcomes)} of each kind")
    print(f"{'':30s}" + "".join(f"{name:>16s}" for name in columns))
    for kind, counts in outcomes.items():
        print(f"{kind:30s}" + "".join(f"{counts[name]:16d}" for name in columns))


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["kills", "mutations", "forgeries", "work"])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--cases", type=int, nargs=2)
    options = parser.parse_args()
    if options.what == "kills":
        kills(options.kills)
    elif options.what == "mutations":
        mutations(options.mutations)
    elif options.what == "forgeries":
        forgeries()
    else:
        work(*options.cases)
