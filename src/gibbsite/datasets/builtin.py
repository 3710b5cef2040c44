"""Data sets that ship inside a dependency or follow from a rule."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from gibbsite.checks import check_counts
from gibbsite.datasets.base import Dataset


def digits() -> Dataset:
    """1,797 handwritten digits of 8x8 pixels (scikit-learn, from UCI), thresholded at half.

    The grey levels 0..16 become 1 from 8 up. Rows 0, 5, 10, ... are the 360 test rows.
    """
    from sklearn.datasets import load_digits  # slow to import, needed by few

    pixels = torch.from_numpy(load_digits().data >= 8).float()
    held_out = torch.arange(len(pixels)) % 5 == 0
    return Dataset(
        name="digits",
        rows=pixels[~held_out],
        test=pixels[held_out],
        visible="bernoulli",
        image_shape=(8, 8),
        description="scikit-learn's 8x8 handwritten digits, 1 where grey level >= 8 of 16",
    )


def bars_and_stripes(side: int = 3) -> Dataset:
    """All images of full rows or full columns, 2 x 2^side of them; a test of exact training.

    Blank and full images appear twice, as both a bar and a stripe pattern, and are kept twice:
    the entropy of the 3x3 set is 2.5993 nats. The set is the whole population, so nothing is
    held out.
    """
    check_counts(side=side)
    bars = torch.tensor(list(itertools.product([0.0, 1.0], repeat=side)))
    rows = bars[:, :, None].expand(-1, side, side).reshape(-1, side * side)
    columns = bars[:, None, :].expand(-1, side, side).reshape(-1, side * side)
    return Dataset(
        name="bars-and-stripes",
        rows=torch.cat([rows, columns]),
        test=None,
        visible="bernoulli",
        image_shape=(side, side),
        description=f"all {side}x{side} bars and stripes; blank and full images twice",
    )


def patches(side: int = 8, n_train: int = 20_000, n_test: int = 4_000) -> Dataset:
    """8x8 patches of two photographs (scikit-learn's sample images), for Gaussian units.

    Contrast-normalised as by Coates, Lee, Ng (2011): grey levels 0..255 (mean of the colours), each
    patch less its mean and divided by sqrt(variance + 10). No whitening, so neighbouring pixels
    stay correlated. Test patches come from the rightmost fifth of each photograph, training patches
    from the rest, so they share no pixel.
    """
    from sklearn.datasets import load_sample_images

    check_counts(side=side, n_train=n_train, n_test=n_test)
    photographs = [image.mean(2) for image in load_sample_images().images]
    borders = [image.shape[1] * 4 // 5 for image in photographs]
    rng = np.random.default_rng(0)
    left = [image[:, :border] for image, border in zip(photographs, borders, strict=True)]
    right = [image[:, border:] for image, border in zip(photographs, borders, strict=True)]
    train, test = _cut(left, side, n_train, rng), _cut(right, side, n_test, rng)
    return Dataset(
        name="patches",
        rows=torch.from_numpy(train).float(),
        test=torch.from_numpy(test).float(),
        visible="gaussian",
        image_shape=(side, side),
        description=f"{side}x{side} contrast-normalised patches of scikit-learn's two photographs",
    )


def _cut(images: list[np.ndarray], side: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """n random patches, an equal share from each image, contrast-normalised: (n, side^2)."""
    shares = np.array_split(np.arange(n), len(images))
    patches = []
    for image, share in zip(images, shares, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(image, (side, side))
        rows = rng.integers(windows.shape[0], size=len(share))
        columns = rng.integers(windows.shape[1], size=len(share))
        patches.append(windows[rows, columns].reshape(len(share), -1))
    flat = rng.permutation(np.concatenate(patches))
    flat = flat - flat.mean(1, keepdims=True)
    return np.asarray(flat / np.sqrt(flat.var(1, keepdims=True) + 10))
