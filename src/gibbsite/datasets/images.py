"""Folders of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gibbsite.errors import DataError

ImageSize = tuple[int, int]
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".pgm")


def read_folder(folder: Path, resize: ImageSize | None = None) -> np.ndarray:
    """Grey levels of the images in a folder, in the order of their names, (n, height, width) bytes.

    All must have one size, unless `resize`, (height, width) in pixels, brings them to it.
    """
    from PIL import Image, UnidentifiedImageError  # comes with matplotlib; needed by few

    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise DataError(f"{folder} holds no images ({', '.join(SUFFIXES)})")
    images: list[np.ndarray] = []
    for path in paths:
        try:
            with Image.open(path) as image:
                grey = image.convert("L")
        except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise DataError(f"{path} is no image that can be read: {error}") from error
        pixels = np.asarray(grey if resize is None else grey.resize(resize[::-1]))
        if images and pixels.shape != images[0].shape:
            raise DataError(
                f"{path} has {pixels.shape[0]}x{pixels.shape[1]} pixels, {paths[0].name} "
                f"{images[0].shape[0]}x{images[0].shape[1]}; give a size to resize all to"
            )
        images.append(pixels)
    return np.stack(images)
