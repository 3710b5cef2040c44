"""Arrays by name: .npz and HDF5 files."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gibbsite.datasets.limits import (
    DEFLATE_RATIO,
    LARGE_BYTES,
    PARTS,
    array_bytes,
    check_bytes,
    check_packed,
    check_table,
    choose_arrays,
    join_names,
)
from gibbsite.errors import DataError


class Arrays(NamedTuple):
    """Arrays to train on, to test on and to steer training by; None where there is none."""

    train: np.ndarray
    test: np.ndarray | None = None
    valid: np.ndarray | None = None

    @classmethod
    def of(cls, chosen: dict[str, np.ndarray]) -> Arrays:
        """The arrays by name; an only one, whatever its name, is to train on."""
        return cls(**chosen) if "train" in chosen else cls(*chosen.values())


LARGEST_CHUNK = 2**26
"""Bytes of one chunk of an HDF5 data set; a chunk is unpacked whole."""

_DEFLATE, _SHUFFLE, _CHECKSUM, _LZF = 1, 2, 3, 32000
_LZF_RATIO = 90


def read_npz(path: Path, key: str | None) -> Arrays:
    """The arrays of an .npz file; type, shape and size of each are checked before it is read."""
    with zipfile.ZipFile(path) as archive:
        members: dict[str, zipfile.ZipInfo] = {}
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name in members:
                raise DataError(f"{path} holds two arrays called {name}; rename one of them")
            members[name] = info
        chosen = choose_arrays(path, list(members), key)
        check_bytes(str(path), sum(members[name].file_size for name in chosen))
        return Arrays.of(
            {name: _member(archive, members[name], f"{path}, {name}") for name in chosen}
        )


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, source: str) -> np.ndarray:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{source} is packed as numpy never does; save it with numpy.savez")
    formats = np.lib.format
    with archive.open(info) as file:
        version = formats.read_magic(file)
        header = {(1, 0): formats.read_array_header_1_0, (2, 0): formats.read_array_header_2_0}
        if version not in header:
            raise DataError(f"{source} is of .npy version {version}, expected 1.0 or 2.0")
        shape, _, dtype = header[version](file)
        start = file.tell()
    check_table(dtype, shape, source)
    size = start + array_bytes(dtype, shape)
    if size != info.file_size:
        raise DataError(f"{source} has {info.file_size:,} bytes, its header promises {size:,}")
    packed = min(info.compress_size, Path(str(archive.filename)).stat().st_size)
    check_packed(source, size, packed, lambda: archive.open(info))
    with archive.open(info) as file:
        return np.asarray(formats.read_array(file, allow_pickle=False))


def read_hdf5(path: Path, key: str | None, h5py: Any) -> Arrays:
    """The data sets of an HDF5 file that lie in the file itself; links are not followed."""
    with h5py.File(path, "r") as file:
        links = {name: file.get(name, getlink=True) for name in file}
        outward = [name for name, link in links.items() if not isinstance(link, h5py.HardLink)]
        inner = [name for name in links if name not in outward]
        names = [name for name in inner if file.get(name, getclass=True) is h5py.Dataset]
        wanted = {key} if key is not None else set(PARTS) if names else set(outward)
        for name in sorted(wanted & set(outward)):
            raise DataError(
                f"{path}, {name}: a link to another place, which is not followed; copy the data "
                "into the file"
            )
        groups = [name for name in inner if file.get(name, getclass=True) is h5py.Group]
        if groups and (not names or key not in (None, *names)):
            raise DataError(
                f"{path} holds the arrays {join_names(names)} and the groups {join_names(groups)}, "
                "which are not looked into; copy the array out of its group, to the top of the file"
            )
        chosen = {name: file[name] for name in choose_arrays(path, names, key)}
        for name, item in chosen.items():
            _check_dataset(item, f"{path}, {name}", h5py)
        check_bytes(str(path), sum(int(item.nbytes) for item in chosen.values()))
        return Arrays.of({name: np.asarray(item[:]) for name, item in chosen.items()})


def _check_dataset(item: Any, source: str, h5py: Any) -> None:
    """Refuse a data set of a type other than numbers, incomplete, or outside its file."""
    layout = item.id.get_create_plist()
    if item.is_virtual or layout.get_external_count():
        raise DataError(
            f"{source}: its numbers are in other files, which are not read; copy them into this one"
        )
    check_table(item.dtype, tuple(item.shape or ()), source)
    if layout.get_layout() == h5py.h5d.CHUNKED:
        pairs = zip(item.shape, item.chunks, strict=True)
        whole = item.id.get_num_chunks() >= math.prod(-(-n // chunk) for n, chunk in pairs)
        _check_chunks(item, layout, source)
    else:
        whole = item.id.get_storage_size() >= item.nbytes
    if not whole:
        raise DataError(f"{source} was never wholly written; write all of its rows")


def _check_chunks(item: Any, layout: Any, source: str) -> None:
    """Refuse chunks that unpack to more than the layout says, or by a filter without a bound.

    HDF5 unpacks a chunk to its end, whatever size the layout gives it.
    """
    filters = [layout.get_filter(i)[0] for i in range(layout.get_nfilters())]
    unknown = set(filters) - {_DEFLATE, _SHUFFLE, _CHECKSUM, _LZF}
    if unknown or filters.count(_DEFLATE) + filters.count(_LZF) > 1:
        raise DataError(
            f"{source} is packed by the HDF5 filters {filters}; write it with gzip, or none"
        )
    size = array_bytes(item.dtype, item.chunks)
    if size > max(LARGEST_CHUNK, int(item.nbytes)):
        raise DataError(f"{source} has chunks of {size:,} bytes; write it with smaller ones")
    if not {_DEFLATE, _LZF} & set(filters):
        return
    ratio = DEFLATE_RATIO if _DEFLATE in filters else _LZF_RATIO
    chunks: list[Any] = []
    item.id.chunk_iter(chunks.append)
    for chunk in chunks:
        if chunk.size * ratio <= max(LARGE_BYTES, size):
            continue
        packed = item.id.read_direct_chunk(chunk.chunk_offset)[1]
        if _LZF in filters or _unpacks_beyond(packed, size):
            raise DataError(f"{source} has a chunk that may unpack to over {size:,} bytes; damaged")


def _unpacks_beyond(packed: bytes, size: int) -> bool:
    try:
        return len(zlib.decompressobj().decompress(packed, size + 64)) > size + 32
    except zlib.error:  # HDF5 raises an error of its own
        return False
