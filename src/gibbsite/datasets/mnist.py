"""MNIST: found locally or downloaded, and always verified."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import urllib.error
import urllib.request
import warnings
import zlib
from pathlib import Path

from gibbsite.datasets.base import Dataset
from gibbsite.datasets.files import to_rows
from gibbsite.datasets.idx import parse_idx
from gibbsite.errors import DataError, OutputError
from gibbsite.io import write_atomically

# sha256 of the decompressed bytes
CHECKSUMS = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
}
LARGEST_BYTES = 16 + 60_000 * 28 * 28
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
TIMEOUT_SECONDS = 30


def mnist() -> Dataset:
    """MNIST: 60,000 + 10,000 handwritten digits of 28x28 grey levels, divided by 255.

    Bernoulli units take the grey levels as probabilities (dynamic stochastic binarisation in
    `fit`). The files are looked for in ``$GIBBSITE_DATA`` and its folder ``mnist``, then in the
    cache; else downloaded there from public mirrors, with a warning if the cache is not writable.
    """
    train, test = (to_rows(parse_idx(_bytes(name), name), name)[0] for name in CHECKSUMS)
    return Dataset(
        name="mnist",
        rows=train,
        test=test[:],
        visible="bernoulli",
        image_shape=(28, 28),
        description="MNIST grey levels / 255 (LeCun, Cortes, Burges)",
    )


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/gibbsite``, by default ``~/.cache/gibbsite``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gibbsite"


def _bytes(name: str) -> bytes:
    """The verified, decompressed content of one file."""
    data = os.environ.get("GIBBSITE_DATA")
    folders = [Path(data), Path(data) / "mnist"] if data else []
    for folder in [*folders, cache_folder()]:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return _verified(name, path.read_bytes(), str(path))
    return _download(name)


def _verified(name: str, content: bytes, source: str) -> bytes:
    try:
        raw = _unpacked(content) if source.endswith(".gz") else content
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{source} is not a whole gzip file ({error}); delete it") from error
    checksum = hashlib.sha256(raw).hexdigest()
    if checksum != CHECKSUMS[name]:
        raise DataError(
            f"{source} is not MNIST's {name}: sha256 {checksum[:12]}..., expected "
            f"{CHECKSUMS[name][:12]}...; delete it and try again"
        )
    return raw


def _unpacked(content: bytes) -> bytes:
    """Content of a gzip file, to just beyond the size of the larger of the two files."""
    with gzip.open(io.BytesIO(content)) as file:
        return file.read(LARGEST_BYTES + 1)


def _download(name: str) -> bytes:
    failures = []
    for mirror in MIRRORS:
        url = f"{mirror}{name}.gz"
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
                content = response.read(LARGEST_BYTES)
            raw = _verified(name, content, url)
        except (OSError, DataError) as error:
            failures.append(f"{url}: {error}")
            continue
        _write_cache(cache_folder(), f"{name}.gz", content)
        return raw
    raise DataError(
        f"MNIST is not on this machine and could not be downloaded ({'; '.join(failures)}). "
        f"Put {', '.join(f'{file}.gz' for file in CHECKSUMS)} into {cache_folder()}, or set "
        "GIBBSITE_DATA to the folder that holds them"
    )


def _write_cache(folder: Path, name: str, content: bytes) -> None:
    """Write a file to the cache; warn if that fails, as its content can still be used."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / name, lambda path: path.write_bytes(content))
    except OSError as error:  # `OutputError` is one
        reason = str(error) if isinstance(error, OutputError) else f"{folder}: {error.strerror}"
        warnings.warn(
            f"{name} is downloaded and used, but not kept ({reason}); set XDG_CACHE_HOME to a "
            "folder that can be written to, or it is downloaded each time",
            stacklevel=2,
        )
