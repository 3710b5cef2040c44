"""Folders of images: every depth and kind of pixel, at its own scale."""

import numpy as np
import pytest
from PIL import Image

import gibbsite as gb
from gibbsite.datasets import read

RAMP = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)  # 0, 257, ..., 65535


def levels(folder) -> np.ndarray:
    """The pixels of a folder of one 16 x 16 image."""
    return read(folder).train.numpy().reshape(16, 16)


def _save_16_bits(pixels: np.ndarray, path) -> None:
    if path.suffix == ".pgm":  # which older Pillows read but do not write
        path.write_bytes(b"P5 16 16 65535\n" + pixels.astype(">u2").tobytes())
    else:
        Image.fromarray(pixels).save(path)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_16_bit_images_keep_all_their_levels(tmp_path, name):
    _save_16_bits(RAMP, tmp_path / name)
    np.testing.assert_allclose(levels(tmp_path), np.arange(256).reshape(16, 16) / 255, atol=1e-7)
    fine = np.arange(256, dtype=np.uint16).reshape(16, 16)
    _save_16_bits(fine, tmp_path / name)
    np.testing.assert_allclose(levels(tmp_path), fine / 65535, atol=1e-7)


def test_fewer_bits_in_a_tiff_are_scaled_by_the_header(tmp_path):
    ramp = np.arange(256, dtype=np.uint16).reshape(16, 16) * 16
    (tmp_path / "a.tif").write_bytes(_tiff(_packed_12_bits(ramp), bits=12))
    np.testing.assert_allclose(levels(tmp_path), ramp / 4095, atol=1e-7)


def _packed_12_bits(values: np.ndarray) -> bytes:
    first, second = values.reshape(-1, 2).astype(np.uint32).T
    both = first << 12 | second
    return np.stack([both >> 16, both >> 8 & 255, both & 255], 1).astype(np.uint8).tobytes()


def _tiff(data: bytes, bits: int, photometric: int = 1, sample_format: int = 1) -> bytes:
    """A little-endian, uncompressed 16 x 16 TIFF."""
    entries = {
        256: 16,
        257: 16,
        258: bits,
        259: 1,
        262: photometric,
        273: 8,
        277: 1,
        278: 16,
        279: len(data),
        339: sample_format,
    }
    directory = len(entries).to_bytes(2, "little")
    for tag, value in entries.items():
        directory += b"".join(
            number.to_bytes(size, "little")
            for number, size in ((tag, 2), (4, 2), (1, 4), (value, 4))
        )
    return b"II*\0" + (8 + len(data)).to_bytes(4, "little") + data + directory + bytes(4)


def test_black_and_white_may_change_places(tmp_path):
    (tmp_path / "a.tif").write_bytes(_tiff(RAMP.astype("<u2").tobytes(), 16, photometric=0))
    np.testing.assert_allclose(
        levels(tmp_path), 1 - np.arange(256).reshape(16, 16) / 255, atol=1e-7
    )


@pytest.mark.parametrize(("bits", "kind"), [(32, 1), (32, 2), (16, 2)])
def test_whole_numbers_without_a_known_white_are_refused(tmp_path, bits, kind):
    (tmp_path / "a.tif").write_bytes(_tiff(bytes(16 * 16 * bits // 8), bits, sample_format=kind))
    with pytest.raises(gb.DataError, match=r"a\.tif has \d+-bit whole numbers|a\.tif is no image"):
        read(tmp_path)


def test_floats_in_the_unit_interval_keep_their_precision(tmp_path):
    floats = np.random.default_rng(0).random((16, 16)).astype(np.float32)
    Image.fromarray(floats).save(tmp_path / "a.tif")
    assert np.array_equal(levels(tmp_path), floats)


@pytest.mark.parametrize("wrong", [-0.1, 1.5, np.nan])
def test_other_floats_are_refused(tmp_path, wrong):
    floats = np.zeros((4, 4), np.float32)
    floats[1, 2] = wrong
    Image.fromarray(floats).save(tmp_path / "a.tif")
    with pytest.raises(gb.DataError, match=r"a\.tif has levels from .* must lie in \[0, 1\]"):
        read(tmp_path)


def test_depths_mix(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(grey).save(tmp_path / "a.png")
    Image.fromarray(RAMP).save(tmp_path / "b.png")
    coarse, fine = read(tmp_path).train
    np.testing.assert_allclose(coarse, grey.ravel() / 255, atol=1e-7)
    np.testing.assert_allclose(fine, coarse, atol=1e-7)


def test_resizing_keeps_the_depth_and_the_range(tmp_path):
    checked = np.kron(np.indices((2, 2)).sum(0) % 2, np.ones((8, 8))) * 65535
    Image.fromarray(checked.astype(np.uint16)).save(tmp_path / "a.png")
    pixels = read(tmp_path, resize=(12, 12)).train
    assert 0 <= pixels.min() < 0.01
    assert 0.99 < pixels.max() <= 1
    assert len(np.unique(pixels * 255 % 1)) > 5, "no more than bytes could hold"


MODES = {
    "1": lambda: Image.fromarray(np.eye(16, dtype=bool)),
    "P": lambda: Image.fromarray(np.eye(16, dtype=np.uint8) * 255).convert("P"),
    "RGB": lambda: Image.fromarray(np.eye(16, dtype=np.uint8) * 255).convert("RGB"),
    "RGBA": lambda: Image.fromarray(np.eye(16, dtype=np.uint8) * 255).convert("RGBA"),
    "LA": lambda: Image.fromarray(np.eye(16, dtype=np.uint8) * 255).convert("LA"),
}


@pytest.mark.parametrize("mode", MODES)
def test_pixels_of_every_kind_become_grey(tmp_path, mode):
    MODES[mode]().save(tmp_path / "a.png")
    assert np.array_equal(levels(tmp_path), np.eye(16))


def test_ink_becomes_grey(tmp_path):
    ink = np.zeros((16, 16, 4), np.uint8)
    ink[..., 3] = 255 - np.eye(16, dtype=np.uint8) * 255
    Image.fromarray(ink, "CMYK").save(tmp_path / "a.tif")
    assert np.array_equal(levels(tmp_path), np.eye(16))


@pytest.mark.parametrize("palette", [False, True])
def test_the_transparent_is_white(tmp_path, palette):
    colours = np.zeros((16, 16, 4), np.uint8)  # black, and transparent
    colours[:8, :, 3] = 255
    image = Image.fromarray(colours)
    if palette:
        image = image.quantize(4)
    image.save(tmp_path / "a.png")
    assert levels(tmp_path)[:8].max() == 0
    assert levels(tmp_path)[8:].min() == 1


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.tif"])
def test_moving_pictures_are_refused(tmp_path, name):
    first, second = (Image.fromarray(np.full((4, 4), x, np.uint8)) for x in (0, 255))
    first.save(tmp_path / name, save_all=True, append_images=[second])
    with pytest.raises(gb.DataError, match="holds 2 pictures; save the one"):
        read(tmp_path)
