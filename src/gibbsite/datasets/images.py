"""Folders of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gibbsite.checks import check_memory
from gibbsite.errors import DataError

ImageSize = tuple[int, int]
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".pgm")

PIXELS_PER_BYTE = 2**16
"""No kind of image packs more pixels than this into a byte; a header that says so lies."""


def read_folder(folder: Path, resize: ImageSize | None = None) -> np.ndarray:
    """Grey levels of the images in a folder, in the order of their names, (n, height, width) bytes.

    All must have one size, unless `resize`, (height, width) in pixels, brings them to it.
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
        pixels = _read_image(path, resize)
        if not images:
            _check_size(folder, len(paths), pixels.shape)
        elif pixels.shape != images[0].shape:
            raise DataError(
                f"{path} has {pixels.shape[0]}x{pixels.shape[1]} pixels, {paths[0].name} "
                f"{images[0].shape[0]}x{images[0].shape[1]}; give a size to resize all to"
            )
        images.append(pixels)
    return np.stack(images)


def _read_image(path: Path, resize: ImageSize | None) -> np.ndarray:
    from PIL import Image  # comes with matplotlib; needed by few

    try:
        with Image.open(path) as image:
            if image.width * image.height > PIXELS_PER_BYTE * path.stat().st_size:
                raise ValueError(f"it cannot hold the {image.width}x{image.height} it promises")
            grey = image.convert("L")
        return np.asarray(grey if resize is None else grey.resize(resize[::-1]))
    except Exception as error:  # a damaged file makes the readers of its format raise anything
        reason = str(error) or type(error).__name__
        raise DataError(f"{path} is no image that can be read: {reason}") from error


def _check_size(folder: Path, n: int, size: tuple[int, ...]) -> None:
    """Raise `TooLargeError` if n grey images of that size, a byte a pixel, are too many."""
    check_memory(f"{folder}, {n} images of {size[0]}x{size[1]} pixels,", -(-n // 4), *size)
