"""Folders of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gibbsite.checks import check_file, check_memory
from gibbsite.errors import DataError, GibbsiteError

ImageSize = tuple[int, int]
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".pgm")
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "PPM")
"""Decoders to try, whatever the name of a file: none that starts another program."""

PIXELS, PIXELS_PER_BYTE = 36_000_000, 3
"""Most pixels of an image; a large file may have `PIXELS_PER_BYTE` times its bytes."""

_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF


def read_folder(folder: Path, resize: ImageSize | None = None) -> np.ndarray:
    """Grey levels of the images in a folder, in the order of their names, (n, height, width).

    Bytes if all images have 8 bits or fewer, else float32 in [0, 1]. All must have one size,
    unless `resize`, (height, width) in pixels, brings them to it.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}") from error
    if not paths:
        raise DataError(f"{folder} holds no images ({', '.join(SUFFIXES)})")
    if resize is not None:
        _check_size(folder, len(paths), resize)
    images: list[np.ndarray] = []
    for path in paths:
        check_file(path)
        pixels = _read_image(path, resize)
        if not images:
            _check_size(folder, len(paths), pixels.shape)
        elif pixels.shape != images[0].shape:
            raise DataError(
                f"{path} has {pixels.shape[0]}x{pixels.shape[1]} pixels, {paths[0].name} "
                f"{images[0].shape[0]}x{images[0].shape[1]}; give a size to resize all to, "
                "resize=(height, width) or --resize HEIGHTxWIDTH"
            )
        images.append(pixels)
    if all(pixels.dtype == np.uint8 for pixels in images):
        return np.stack(images)
    check_memory(f"{folder}, {len(images)} images,", len(images), images[0].size)
    fine = np.empty((len(images), *images[0].shape), np.float32)
    for out, pixels in zip(fine, images, strict=True):
        out[:] = pixels / np.float32(255) if pixels.dtype == np.uint8 else pixels
    return fine


def _read_image(path: Path, resize: ImageSize | None) -> np.ndarray:
    """Grey levels of one image: bytes, or float32 in [0, 1] where it has more than 8 bits."""
    from PIL import Image  # needed by few

    try:
        with Image.open(path, formats=FORMATS) as image:
            _check_header(image, path.stat().st_size)
            grey = _grey(image)
        if resize is None:
            return np.asarray(grey)
        smaller = np.asarray(grey.resize(resize[::-1]))
        return smaller if smaller.dtype == np.uint8 else smaller.clip(0, 1)
    except GibbsiteError as error:
        raise DataError(f"{path} {error}") from error
    except Exception as error:  # a damaged file makes the readers of its format raise anything
        reason = str(error) or type(error).__name__
        raise DataError(f"{path} is no image that can be read: {reason}") from error


def _check_header(image: Any, size: int) -> None:
    """Refuse an image too large for a file of that size, or of several frames."""
    if image.width * image.height > max(PIXELS, PIXELS_PER_BYTE * size):
        raise DataError(f"promises {image.width}x{image.height} pixels; make it smaller first")
    if image.format in ("GIF", "PNG", "TIFF") and getattr(image, "n_frames", 1) > 1:
        raise DataError(f"holds {image.n_frames} pictures; save the one to use by itself")


def _grey(image: Any) -> Any:
    """The image in mode "L", or in mode "F" with levels in [0, 1] if it has more than 8 bits.

    Transparency is put on white.
    """
    from PIL import Image

    if image.mode == "F":
        levels = np.asarray(image)
        if not (levels.min() >= 0 and levels.max() <= 1):
            raise DataError(
                f"has levels from {levels.min():g} to {levels.max():g}; images of floats must lie "
                "in [0, 1]: divide by the largest level, or save rows as .npy"
            )
        return image
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.float32) / np.float32(_highest(image))
        return Image.fromarray(1 - levels if _tag(image, _PHOTOMETRIC, 1) == 0 else levels)
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        colours = image.convert("RGBA")
        white = Image.new("RGBA", colours.size, "white")
        return Image.alpha_composite(white, colours).convert("L")
    return image.convert("L")


def _highest(image: Any) -> int:
    """The level of white of an image of integers of more than 8 bits, else `DataError`."""
    bits = _tag(image, _BITS_PER_SAMPLE, 16)
    if _tag(image, _SAMPLE_FORMAT, 1) != 1 or not 8 < bits <= 16:
        raise DataError(
            f"has {bits}-bit whole numbers that are signed or have no known white; save it with 16 "
            "bits, or rows as .npy"
        )
    return int(2**bits - 1)


def _tag(image: Any, number: int, default: int) -> int:
    """Value of a tag of a TIFF; the default for other formats, whose integers have 16 bits."""
    if image.format != "TIFF":
        return default
    value = image.tag_v2.get(number, default)
    return int(value[0] if isinstance(value, tuple) else value)


def _check_size(folder: Path, n: int, size: tuple[int, ...]) -> None:
    """Raise `TooLargeError` if n grey images of that size, a byte a pixel, are too many."""
    check_memory(f"{folder}, {n} images of {size[0]}x{size[1]} pixels,", -(-n // 4), *size)
