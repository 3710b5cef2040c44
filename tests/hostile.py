"""Files made to do harm: to fill the memory, to hang, to reach other files or other programs.

Each maker writes one file or folder at the path it is given; none has over 10 MB.
"""

from __future__ import annotations

import gzip
import os
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow
from PIL import Image
from pyarrow import parquet

Make = Callable[[Path], None]
PIECE = 2**20


def deflated(size: int, piece: bytes = bytes(PIECE)) -> bytes:
    """`size` bytes of repeated pieces as a raw deflate stream, of which only one is compressed."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * (size // len(piece)) + b"\x03\x00"


def npy_header(dtype: str, *shape: int) -> bytes:
    text = str({"descr": dtype, "fortran_order": False, "shape": shape}).encode()
    text += b" " * (53 + 64 - len(text)) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def zip_of(members: list[tuple[str, bytes, int]]) -> bytes:
    """A zip file of (name, deflate stream, size it claims to have), with wrong checksums."""
    body, directory = b"", b""
    for name, packed, size in members:
        common = struct.pack("<5HIIIHH", 20, 0, 8, 0, 0x21, 1, len(packed), size, len(name), 0)
        directory += b"PK\x01\x02\x14\x00" + common + struct.pack("<HHHII", 0, 0, 0, 0, len(body))
        directory += name.encode()
        body += b"PK\x03\x04" + common + name.encode() + packed
    end = struct.pack("<4H2IH", 0, 0, len(members), len(members), len(directory), len(body), 0)
    return body + directory + b"PK\x05\x06" + end


def stored(content: bytes) -> bytes:
    packer = zlib.compressobj(0, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush(zlib.Z_FULL_FLUSH)


def two_of_a_name(path: Path) -> None:
    small = npy_header("<f8", 1, 1) + bytes(8)
    bomb = stored(npy_header("<f8", 2**17, 1000)) + deflated(2**30)
    members = [("train", bomb, 2**30), ("train.npy", stored(small) + b"\x03\x00", len(small))]
    path.write_bytes(zip_of(members))


def wrong_checksum(path: Path) -> None:
    """A whole GB of zeros, as promised; the fault is in its last bytes."""
    header = npy_header("<f4", 2**18, 1024)
    packed = stored(header) + deflated(2**30)
    path.write_bytes(zip_of([("train.npy", packed, 2**30 + len(header))]))


def many_members(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for number in range(30_000):
            file.writestr(str(number), b"")


def gz_of(content: bytes) -> bytes:
    return gzip.compress(b"")[:10] + content + bytes(8)


def flat_idx(path: Path) -> None:
    """One axis: no table, which the header says."""
    header = struct.pack(">4BI", 0, 0, 8, 1, 2**30)
    path.write_bytes(gz_of(stored(header) + deflated(2**30)))


def short_idx(path: Path) -> None:
    header = struct.pack(">4B2I", 0, 0, 8, 2, 2**20, 1000)
    path.write_bytes(gz_of(stored(header) + deflated(2**29)))


def text_bomb(path: Path) -> None:
    path.write_bytes(gz_of(deflated(2**32, b"0,1\n" * (PIECE // 4))))


def long_line(path: Path) -> None:
    path.write_text("12," * 3_000_000)


def fault_at_the_end(path: Path) -> None:
    path.write_text("1,0\n" * 2_000_000 + "1,x\n")


def nested_parquet(path: Path) -> None:
    """Lists of equal numbers take hardly any room."""
    values = pyarrow.array(np.zeros(10**6))
    offsets = np.append(np.arange(0, 10**6, 10**5), 10**6).astype(np.int32)
    table = pyarrow.table({"x": pyarrow.ListArray.from_arrays(offsets, values)})
    parquet.write_table(table, path, compression="zstd")


def struct_parquet(path: Path) -> None:
    parquet.write_table(pyarrow.table({"x": [{"a": 1.0}, {"a": 2.0}]}), path)


def dictionary_parquet(path: Path) -> None:
    word = pyarrow.array(["x" * 10**6])
    codes = pyarrow.array(np.zeros(10**4, np.int32))
    table = pyarrow.table({"x": pyarrow.DictionaryArray.from_arrays(codes, word)})
    parquet.write_table(table, path, compression="zstd")


def large_page(path: Path) -> None:
    """One page of 128 MB, as a few kB."""
    table = pyarrow.table({"x": np.zeros(2**24)})
    options = {
        "use_dictionary": False,
        "data_page_size": 2**30,
        "row_group_size": 2**24,
        "max_rows_per_page": 2**25,
    }
    parquet.write_table(table, path, compression="zstd", **options)


def hole_at_the_end(path: Path) -> None:
    """40 million equal numbers, and a missing one."""
    part, hole = pyarrow.array(np.ones(10**6)), pyarrow.array([None], pyarrow.float64())
    table = pyarrow.table({"x": pyarrow.chunked_array([part] * 40 + [hole])})
    parquet.write_table(table, path, compression="zstd")


def ragged_h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        item = file.create_dataset("train", (1000, 2), h5py.vlen_dtype("f8"))
        item[0, 0] = np.zeros(1000)


def compound_h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["train"] = np.zeros((4, 3), [("x", "f8"), ("y", "f8", (100,))])


def chunk_bomb(path: Path) -> None:
    """A chunk of 320 bytes that unpacks to a GB."""
    with h5py.File(path, "w") as file:
        item = file.create_dataset("train", (10, 4), "f8", chunks=(10, 4), compression="gzip")
        body = deflated(2**30)
        item.id.write_direct_chunk((0, 0), b"\x78\x9c" + body + bytes(4))


def huge_chunk(path: Path) -> None:
    with h5py.File(path, "w") as file:
        options = {"chunks": (2**26, 4), "maxshape": (None, 4), "compression": "gzip"}
        item = file.create_dataset("train", (10, 4), "f8", **options)
        item.id.write_direct_chunk((0, 0), b"\x78\x9c" + deflated(2**31) + bytes(4))


def unwritten_h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("train", (10**6, 784), "f4", chunks=(1000, 784))


def unknown_filter(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("train", data=np.zeros((9, 3)), chunks=(9, 3), scaleoffset=2)


def external_storage(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("train", (1, 5), "u1", external=[("/etc/passwd", 0, 5)])


def endless_storage(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("train", (10**6, 500), "u1", external=[("/dev/zero", 0, 5 * 10**8)])


def _other(path: Path) -> Path:
    other = path.with_name(f"{path.stem}-other.hdf5")
    with h5py.File(other, "w") as file:
        file["x"] = np.zeros((3, 2))
    return other


def virtual_h5(path: Path) -> None:
    layout = h5py.VirtualLayout((3, 2), "f8")
    layout[:] = h5py.VirtualSource(str(_other(path)), "x", (3, 2))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("train", layout)


def link_out(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["train"] = h5py.ExternalLink(str(_other(path)), "x")


def soft_link(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["train"] = h5py.SoftLink("/inner/x")
        file["inner/x"] = np.zeros((3, 2))


def png_bomb(path: Path) -> None:
    """13,000 x 13,000 pixels, all there, as 170 kB."""
    path.mkdir()
    body = b"\x78\x01" + deflated(13_001 * 13_000 // PIECE * PIECE)
    chunks = {b"IHDR": struct.pack(">2I5B", 13_000, 13_000, 8, 6, 0, 0, 0), b"IDAT": body}
    (path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks.items()
        )
    )


def large_tiff(path: Path) -> None:
    path.mkdir()
    Image.new("1", (40_000, 40_000)).save(path / "a.tif", compression="tiff_lzw")


def program(path: Path) -> None:
    """PostScript by another name, which Pillow would hand to Ghostscript."""
    path.mkdir()
    text = f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n({path}/ran) (w) file closefile\n"
    (path / "a.png").write_text(text + "%%EOF\n")


def fifo(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def unix_socket(path: Path) -> None:
    where = os.getcwd()  # noqa: PTH109
    os.chdir(path.parent)  # a socket's path must be short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(where)


def inside(make: Make, name: str) -> Make:
    """The same in a folder of images."""

    def made(path: Path) -> None:
        path.mkdir()
        Image.new("L", (2, 2)).save(path / "a.png")
        make(path / name)

    return made


KINDS = ("npy", "npz", "h5", "parquet", "csv", "tsv", "txt", "csv.gz", "gz")
HOSTILE: dict[str, Make] = {
    "twice.npz": two_of_a_name,
    "checksum.npz": wrong_checksum,
    "many.npz": many_members,
    "flat.gz": flat_idx,
    "short.gz": short_idx,
    "bomb.csv.gz": text_bomb,
    "line.csv": long_line,
    "end.csv": fault_at_the_end,
    "list.parquet": nested_parquet,
    "struct.parquet": struct_parquet,
    "dictionary.parquet": dictionary_parquet,
    "page.parquet": large_page,
    "hole.parquet": hole_at_the_end,
    "ragged.h5": ragged_h5,
    "compound.h5": compound_h5,
    "chunk.h5": chunk_bomb,
    "huge.h5": huge_chunk,
    "unwritten.h5": unwritten_h5,
    "filter.h5": unknown_filter,
    "external.h5": external_storage,
    "endless.h5": endless_storage,
    "virtual.h5": virtual_h5,
    "link.h5": link_out,
    "soft.h5": soft_link,
    "bomb": png_bomb,
    "scan": large_tiff,
    "program": program,
    "queue": inside(fifo, "b.png"),
    "zero": inside(device, "b.tif"),
    "socket": inside(unix_socket, "b.gif"),
    **{f"fifo.{kind}": fifo for kind in KINDS},
    **{f"zero.{kind}": device for kind in KINDS},
    "fifo-idx": fifo,
    "socket.npy": unix_socket,
}
