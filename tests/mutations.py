"""Small files of every kind that Gibbsite reads, ways to damage them, and how each is read.

Shared by the tests and by `benchmarks/robustness.py`. A case is a kind and a seed: the same two
make the same damaged file.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow
import torch
from PIL import Image
from pyarrow import parquet

import gibbsite as gb
from gibbsite.cli.job import Job
from gibbsite.cli.settings import Settings
from gibbsite.training import History

Mutate = Callable[[bytes, random.Random], bytes]

INTERESTING = [
    *(0, 1, 2, 7, 8, 16, 100, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31),
    *(2**32 - 1, 2**32, 10**9, 10**12, 10**15, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1),
]
WORDS = ["null", "NaN", "-1", "1e400", "-0.5", '""', "[]", "{}", "true", '"x"', str(10**400)]


# ways to damage bytes


def _flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set_byte(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])


def _truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _insert(data: bytearray, rng: random.Random) -> None:
    place = rng.randrange(len(data) + 1)
    data[place:place] = rng.randbytes(rng.choice([1, 2, 4, 8, 100]))


def _delete(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    del data[start : start + rng.choice([1, 2, 4, 8, 100])]


def _write_integer(data: bytearray, rng: random.Random) -> None:
    size = rng.choice([1, 2, 4, 8])
    value = rng.choice(INTERESTING) % 256**size
    start = rng.randrange(len(data))
    data[start : start + size] = value.to_bytes(size, rng.choice(["little", "big"]))


def _swap(data: bytearray, rng: random.Random) -> None:
    size = rng.choice([1, 4, 16, 64])
    a, b = (rng.randrange(len(data)) for _ in range(2))
    data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]


def _repeat(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    piece = data[start : start + rng.choice([1, 8, 64])]
    data[start:start] = piece * rng.choice([1, 2, 50])


def _fill(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    piece = data[start : start + rng.choice([2, 8, 64])]
    data[start : start + len(piece)] = bytes([rng.choice([0, 255])]) * len(piece)


def _write_number(data: bytearray, rng: random.Random) -> None:
    """Another value in the place of a number written in digits."""
    numbers = [match.span() for match in re.finditer(rb"-?\d[\d.e-]*", data)]
    if numbers:
        start, end = rng.choice(numbers)
        value = rng.choice([str(rng.choice(INTERESTING)), rng.choice(WORDS)])
        data[start:end] = value.encode()


DAMAGES = [
    *(_flip, _set_byte, _truncate, _insert, _delete, _write_integer, _write_integer, _swap),
    *(_repeat, _fill, _write_number),
]


def damage(content: bytes, rng: random.Random) -> bytes:
    """The content with one to three faults."""
    data = bytearray(content)
    if rng.random() < 0.3:
        _write_number(data, rng)
        return bytes(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if data:
            rng.choice(DAMAGES)(data, rng)
    return bytes(data)


# damage below a checksum, which is then made to fit again


def inside_gzip(content: bytes, rng: random.Random) -> bytes:
    return gzip.compress(damage(gzip.decompress(content), rng), 1)


def inside_zip(content: bytes, rng: random.Random) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, damage(old.read(name), rng), zipfile.ZIP_DEFLATED)
    return out.getvalue()


def inside_png(content: bytes, rng: random.Random) -> bytes:
    """One chunk damaged; its length and checksum fit."""
    chunks, place = [], 8
    while place < len(content):
        (length,) = struct.unpack_from(">I", content, place)
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    victim = rng.randrange(len(chunks))
    kind, data = chunks[victim]
    chunks[victim] = kind, damage(data, rng)
    return content[:8] + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def inside_safetensors(content: bytes, rng: random.Random) -> bytes:
    """The header damaged; its length fits."""
    (length,) = struct.unpack_from("<Q", content)
    header = damage(content[8 : 8 + length], rng)
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def inside_checkpoint(content: bytes, rng: random.Random) -> bytes:
    """The state damaged as text, then signed anew."""
    from safetensors.torch import load, save

    (length,) = struct.unpack_from("<Q", content)
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    tensors = load(content)
    for name in sorted(tensors):
        if rng.random() < 0.05:
            del tensors[name]
        elif rng.random() < 0.05:
            tensors[name] = tensors[name].reshape(-1)[:1].clone()
    header = json.loads(metadata["gibbsite-checkpoint"])
    text = damage(header["state"].encode(), rng).decode(errors="replace")
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    header |= {"state": text, "sha256": digest.hexdigest()}
    return save(tensors, {"gibbsite-checkpoint": json.dumps(header)})


# kinds of file


@dataclass(frozen=True)
class Kind:
    """How a file of one kind is made, damaged and read."""

    name: str
    make: Callable[[Path], None]
    read: Callable[[Path], Any]
    mutate: Mutate = damage


def table() -> np.ndarray:
    return np.random.default_rng(0).random((6, 4))


def grey() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 4, 5)).astype(np.uint8)


def idx_bytes() -> bytes:
    images = grey()
    return bytes([0, 0, 8, 3]) + struct.pack(">3I", *images.shape) + images.tobytes()


def _small_model() -> gb.RBM:
    rbm = gb.RBM(gb.Gaussian(4, learn_sigma=True), gb.Bernoulli(2))
    with torch.no_grad():
        rbm.weight.normal_(generator=torch.Generator().manual_seed(0))
    return rbm


def _train(path: Path, epochs: int) -> gb.RBM:
    rbm, g = gb.RBM(gb.Bernoulli(4), gb.Bernoulli(2)), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(rbm.parameters(), lr=0.01)
    gb.fit(
        rbm,
        torch.from_numpy(table()),
        gradient=gb.Centered(gb.PCD(chains=3)),
        optimizer=optimizer,
        scheduler=torch.optim.lr_scheduler.StepLR(optimizer, 1),
        epochs=epochs,
        batch_size=4,
        generator=g,
        checkpoints=gb.Checkpoints(path.parent),
    )
    return rbm


def _make_checkpoint(path: Path) -> None:
    _train(path, 1)
    (path.parent / "checkpoint-000001.safetensors").rename(path)


def _make_npz(path: Path) -> None:
    np.savez_compressed(path, train=table(), test=table()[:2])


def _make_h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["train"] = table()
        file.create_dataset("test", data=table(), chunks=(2, 4), compression="gzip", shuffle=True)


def _make_parquet(path: Path, **options: Any) -> None:
    columns = {f"column {i}": values for i, values in enumerate(table().T)}
    parquet.write_table(pyarrow.table(columns | {"integer": [1, 1, 1, 1, 2, 3]}), path, **options)


def _make_csv(path: Path, delimiter: str) -> None:
    np.savetxt(path, table(), "%.4g", delimiter, header=delimiter.join("abcd"), comments="")


def _make_csv_gz(path: Path) -> None:
    text = "\n".join(",".join(f"{x:.4g}" for x in row) for row in table())
    path.write_bytes(gzip.compress(text.encode()))


def _make_deep_image(path: Path) -> None:
    Image.fromarray(grey()[0].astype(np.uint16) * 257).save(path)


def _make_image(path: Path) -> None:
    Image.fromarray(grey()[0]).save(path)


def _make_run(path: Path) -> None:
    settings = Settings("bars-and-stripes", hidden=4, epochs=2, image="3x3", l2=0.1)
    record = {"format": 1, "command": ["gibbsite"], "data": {"sha256": "0"}}
    path.write_text(json.dumps(record | {"settings": asdict(settings)}, indent=2))


def _read_model(path: Path) -> None:
    rbm = gb.load(path)
    gb.sample(rbm, 2, steps=2, generator=torch.Generator().manual_seed(0))


def _read_data(path: Path) -> None:
    data = gb.datasets.load(path)
    kind = gb.Bernoulli if data.visible == "bernoulli" else gb.Gaussian
    for block in data.rows.blocks() if isinstance(data.rows, gb.Rows) else [data.rows]:
        kind(block.shape[1]).check_data(block)


def _read_folder(path: Path) -> None:
    _read_data(path.parent)


def _read_run(path: Path) -> None:
    Job(Settings.read(path)[0])


KINDS = [
    Kind("m.safetensors", lambda path: gb.save(_small_model(), path), _read_model),
    Kind(
        "header.safetensors",
        lambda path: gb.save(_small_model(), path),
        _read_model,
        inside_safetensors,
    ),
    Kind("checkpoint-000002.safetensors", _make_checkpoint, lambda path: _train(path, 3)),
    Kind(
        "checkpoint-000003.safetensors",
        _make_checkpoint,
        lambda path: _train(path, 1),  # what is signed is trusted in training, not in reading
        inside_checkpoint,
    ),
    Kind("run.json", _make_run, _read_run),
    Kind("history.jsonl", lambda path: path.write_text('{"epoch": 1, "x": 0.5}\n'), History.read),
    Kind("a.npy", lambda path: np.save(path, table()), _read_data),
    Kind("images.npy", lambda path: np.save(path, np.asfortranarray(grey())), _read_data),
    Kind("a.npz", _make_npz, _read_data),
    Kind("inside.npz", _make_npz, _read_data, inside_zip),
    Kind("a.csv", lambda path: _make_csv(path, ","), _read_data),
    Kind("a.tsv", lambda path: _make_csv(path, "\t"), _read_data),
    Kind("inside.csv.gz", _make_csv_gz, _read_data, inside_gzip),
    Kind("a.parquet", _make_parquet, _read_data),
    Kind("plain.parquet", lambda path: _make_parquet(path, compression="none"), _read_data),
    Kind("a.h5", _make_h5, _read_data),
    Kind("a-idx3-ubyte", lambda path: path.write_bytes(idx_bytes()), _read_data),
    Kind("a.gz", lambda path: path.write_bytes(gzip.compress(idx_bytes())), _read_data),
    Kind(
        "inside.gz",
        lambda path: path.write_bytes(gzip.compress(idx_bytes())),
        _read_data,
        inside_gzip,
    ),
    Kind("inside.png", _make_image, _read_folder, inside_png),
    Kind("deep.png", _make_deep_image, _read_folder, inside_png),
    Kind("deep.tif", _make_deep_image, _read_folder),
    *(Kind(f"a.{end}", _make_image, _read_folder) for end in ("png", "tif", "bmp", "gif", "jpg")),
]


def originals(folder: Path) -> dict[str, bytes]:
    """The undamaged content of every kind; each is read once to see that it can be."""
    contents = {}
    for kind in KINDS:
        place = folder / kind.name
        place.mkdir(parents=True)
        kind.make(place / kind.name)
        contents[kind.name] = (place / kind.name).read_bytes()
        kind.read(place / kind.name)
        shutil.rmtree(place)
    return contents


def attempt(kind: Kind, content: bytes, seed: int, folder: Path) -> str:
    """Read one damaged file: "read", or the name of the typed error; other errors pass through."""
    place = folder / "case"
    place.mkdir(parents=True)
    try:
        damaged = kind.mutate(content, random.Random(f"{kind.name} {seed}"))
        (place / kind.name).write_bytes(damaged)
        kind.read(place / kind.name)
    except gb.GibbsiteError as error:
        return type(error).__name__
    finally:
        shutil.rmtree(place)
    return "read"
