"""Train the router and the eight experts and write coe_app/data/: `python -m coe_app.train` (about a minute on one core).

Every network is the same perceptron 64 -> 64 -> 16 with ReLU, so that one kernel serves them all; of the 16 outputs a
network uses the first 8 (router: views) or 10 (experts: digits), the rest is padding.
The router is trained on all views, an expert on its own.
"""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np

from . import digits

DATA = Path(__file__).parent / "data"
HIDDEN, OUTPUTS = 64, 16


def fit(pictures: np.ndarray, labels: np.ndarray, *, epochs: int, seed: int):
    """A scikit-learn perceptron trained on pictures [n, 64]."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)      # a fixed number of epochs is meant
        return MLPClassifier((HIDDEN,), max_iter=epochs, random_state=seed, alpha=1e-3, learning_rate_init=3e-3,
                             batch_size=256).fit(pictures, labels)


def to_bf16(network) -> dict[str, np.ndarray]:
    """Weights [in, out] and biases of ``network`` in BF16 bit patterns, outputs padded with zeros to 16."""
    (w1, w2), (b1, b2) = network.coefs_, network.intercepts_
    pad = OUTPUTS - w2.shape[1]
    tensors = {"w1": w1, "b1": b1, "w2": np.pad(w2, ((0, 0), (0, pad))), "b2": np.pad(b2, (0, pad))}
    return {name: np.ascontiguousarray(value.astype(ml_dtypes.bfloat16)).view(np.uint16) for name, value in tensors.items()}


def main() -> None:
    split = digits.load_split()
    images, labels = digits.augment(split.train_images, split.train_digits)
    views = [digits.view(images, index).reshape(len(images), -1) for index in range(len(digits.VIEWS))]
    everything, everything_views = np.concatenate(views), np.repeat(np.arange(len(views)), len(images))
    router = fit(everything, everything_views, epochs=15, seed=0)
    experts = [fit(pictures, labels, epochs=40, seed=index + 1) for index, pictures in enumerate(views)]

    pictures, answers, true_views = digits.held_out_requests(split)
    choice = router.predict(pictures)
    correct = [experts[e].predict(p[None])[0] == a for e, p, a in zip(choice, pictures, answers, strict=True)]
    print(f"float accuracy on held-out pictures: router {np.mean(choice == true_views):.4f}, "
          f"whole composition {np.mean(correct):.4f}")

    DATA.mkdir(exist_ok=True)
    tensors = {"router": to_bf16(router)} | {f"expert{index}": to_bf16(expert) for index, expert in enumerate(experts)}
    np.savez_compressed(DATA / "weights.npz",
                        **{f"{net}.{name}": value for net, parts in tensors.items() for name, value in parts.items()})
    np.savez_compressed(DATA / "held_out.npz", pictures=pictures.astype(ml_dtypes.bfloat16).view(np.uint16),
                        digits=answers.astype(np.uint8), views=true_views.astype(np.uint8))


if __name__ == "__main__":
    main()
