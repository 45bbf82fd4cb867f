"""Handwritten digits seen through eight views: the data of the digits Composition of Experts.

scikit-learn's 1797 images of 8 x 8 pixels (UCI "Optical Recognition of Handwritten Digits", BSD) are split once, by a fixed
seed, into a training and a held-out part. A *view* is what a camera may do to a picture: held upright or turned by 90
degrees, at full or half exposure, in positive or negative. Each view has its own expert; the router sees the picture only
and has to tell the view.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["CLASSES", "FEATURES", "VIEWS", "Split", "augment", "held_out_requests", "load_split", "view"]

VIEWS = tuple(f"{tone}-{exposure}-{hold}" for tone in ("positive", "negative") for exposure in ("full", "half")
              for hold in ("upright", "turned"))
FEATURES = 64
CLASSES = 10
HELD_OUT = 360
SEED = 20240513


@dataclass(frozen=True)
class Split:
    """Images [n, 8, 8] with values 0..1 in steps of 1/16; every view of them is exact in BF16 and their digits [n]."""

    train_images: np.ndarray
    train_digits: np.ndarray
    test_images: np.ndarray
    test_digits: np.ndarray


def load_split() -> Split:
    """The fixed split: 1437 training and 360 held-out images."""
    from sklearn.datasets import load_digits  # only training needs scikit-learn

    digits = load_digits()
    order = np.random.default_rng(SEED).permutation(len(digits.images))
    images, labels = (digits.images / 16.0)[order], digits.target[order]
    return Split(images[HELD_OUT:], labels[HELD_OUT:], images[:HELD_OUT], labels[:HELD_OUT])


def view(images: np.ndarray, index: int) -> np.ndarray:
    """``images`` [n, 8, 8] as seen through view ``index`` of :data:`VIEWS`."""
    held = np.rot90(images, index & 1, (1, 2))
    exposed = 0.5 * held if index & 2 else held
    return 1.0 - exposed if index & 4 else exposed


def augment(images: np.ndarray, labels: np.ndarray, copies: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """``images`` and ``copies`` of each, slightly turned (up to 12 degrees), scaled (0.9 to 1.12) and shifted (0.8 pixel)."""
    from scipy.ndimage import affine_transform

    rng = np.random.default_rng(SEED + 2)
    centre = np.array([3.5, 3.5])

    def disturbed(image: np.ndarray) -> np.ndarray:
        angle, scale = np.deg2rad(rng.uniform(-12, 12)), rng.uniform(0.9, 1.12)
        matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
        return affine_transform(image, matrix, centre - matrix @ centre + rng.uniform(-0.8, 0.8, 2), order=1).clip(0, 1)

    return (np.concatenate([images, *(np.stack([disturbed(image) for image in images]) for _ in range(copies))]),
            np.tile(labels, copies + 1))


def held_out_requests(split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures [360, 64], digits [360] and views [360]: each held-out image once, through a view drawn by a fixed seed.

    Views come in runs, as from a user who takes a few pictures before turning the camera, so that an expert cache has
    something to gain: a request keeps the last request's view with probability one half.
    """
    rng = np.random.default_rng(SEED + 1)
    views = np.zeros(len(split.test_images), dtype=np.int64)
    for request in range(1, len(views)):
        views[request] = views[request - 1] if rng.random() < 0.5 else rng.integers(len(VIEWS))
    pictures = np.stack([view(image[None], index)[0].reshape(FEATURES)
                         for image, index in zip(split.test_images, views, strict=True)])
    return pictures, split.test_digits, views
