"""Trains the classifiers of the digits in numpy and writes their weights: ``python -m models.train`` (half a minute)."""

from __future__ import annotations

import numpy as np

from coe_app.digits import load_split

from .digits import WEIGHTS

__all__ = ["main"]

Weights = dict[str, np.ndarray]


def _softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


class _Perceptron:
    name = "mlp"

    @staticmethod
    def weights(random: np.random.Generator) -> Weights:
        return {"w1": random.normal(0, 0.15, (64, 48)), "b1": np.zeros(48), "w2": random.normal(0, 0.15, (48, 10)), "b2": np.zeros(10)}

    @staticmethod
    def slopes(w: Weights, images: np.ndarray, slope_of) -> Weights:
        x = images.reshape(len(images), 64)
        hidden = np.maximum(x @ w["w1"] + w["b1"], 0)
        slope = slope_of(hidden @ w["w2"] + w["b2"])
        inner = slope @ w["w2"].T * (hidden > 0)
        return {"w1": x.T @ inner, "b1": inner.sum(0), "w2": hidden.T @ slope, "b2": slope.sum(0)}


class _Convolutions:
    name = "cnn"

    @staticmethod
    def weights(random: np.random.Generator) -> Weights:
        return {"k1": random.normal(0, 0.3, (8, 1, 3, 3)), "c1": np.zeros(8),
                "k2": random.normal(0, 0.12, (16, 8, 3, 3)), "c2": np.zeros(16),
                "w": random.normal(0, 0.12, (64, 10)), "b": np.zeros(10)}

    @staticmethod
    def slopes(w: Weights, images: np.ndarray, slope_of) -> Weights:
        x, kept = images[:, None], []
        for layer in ("1", "2"):
            columns = _columns(x)
            kernel = w[f"k{layer}"]
            before = np.einsum("bckhw,ock->bohw", columns, kernel.reshape(*kernel.shape[:2], 9)) + w[f"c{layer}"][:, None, None]
            hidden = np.maximum(before, 0)
            x = _blocks(hidden).max(axis=-1)
            kept.append((columns, hidden, x))
        flat = x.reshape(len(x), -1)
        slope = slope_of(flat @ w["w"] + w["b"])
        found = {"w": flat.T @ slope, "b": slope.sum(0)}
        through = (slope @ w["w"].T).reshape(x.shape)
        for layer, (columns, hidden, pooled) in zip(("2", "1"), reversed(kept), strict=True):
            back = np.repeat(np.repeat(through, 2, 2), 2, 3) * (hidden == np.repeat(np.repeat(pooled, 2, 2), 2, 3)) * (hidden > 0)
            kernel = w[f"k{layer}"]
            found[f"k{layer}"] = np.einsum("bohw,bckhw->ock", back, columns).reshape(kernel.shape)
            found[f"c{layer}"] = back.sum((0, 2, 3))
            through = np.einsum("bokhw,ock->bchw", _columns(back), kernel[:, :, ::-1, ::-1].reshape(*kernel.shape[:2], 9))
        return found


def _columns(x: np.ndarray) -> np.ndarray:
    """[b, c, h, w] -> [b, c, 9, h, w]: the 3 x 3 neighbours of each point, zero outside."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    height, width = x.shape[2:]
    return np.stack([padded[:, :, row:row + height, column:column + width] for row in range(3) for column in range(3)], axis=2)


def _blocks(x: np.ndarray) -> np.ndarray:
    """[b, c, h, w] -> [b, c, h/2, w/2, 4]."""
    b, c, h, w = x.shape
    return x.reshape(b, c, h // 2, 2, w // 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(b, c, h // 2, w // 2, 4)


def train(model, images: np.ndarray, digits: np.ndarray, *, epochs: int, rate: float = 2e-3) -> Weights:
    """Adam on the mean cross-entropy, batches of 64."""
    random = np.random.default_rng(5)
    w = model.weights(random)
    first, second = ({name: np.zeros_like(value) for name, value in w.items()} for _ in range(2))
    count = 0
    for _ in range(epochs):
        order = random.permutation(len(images))
        for start in range(0, len(order), 64):
            chosen = order[start:start + 64]
            wanted = np.eye(10)[digits[chosen]]
            slopes = model.slopes(w, images[chosen], lambda logits, wanted=wanted: (_softmax(logits) - wanted) / len(wanted))
            count += 1
            for name, slope in slopes.items():
                first[name] = 0.9 * first[name] + 0.1 * slope
                second[name] = 0.999 * second[name] + 0.001 * slope**2
                w[name] = w[name] - rate * (first[name] / (1 - 0.9**count)) / (np.sqrt(second[name] / (1 - 0.999**count)) + 1e-8)
    return w


def accuracy(model, w: Weights, images: np.ndarray, digits: np.ndarray) -> float:
    """Share of pictures whose digit is the largest output."""
    found = []
    model.slopes(w, images, lambda logits: found.append(logits.argmax(axis=1)) or np.zeros_like(logits))
    return float((found[0] == digits).mean())


def main() -> None:
    """Trains both and writes the weights with the held-out pictures."""
    split = load_split()
    arrays = {"held_out.pictures": np.round(split.test_images * 16).astype(np.uint8), "held_out.digits": split.test_digits.astype(np.uint8)}
    for model, epochs in ((_Perceptron, 40), (_Convolutions, 25)):
        w = train(model, split.train_images, split.train_digits, epochs=epochs)
        print(f"{model.name}: {accuracy(model, w, split.test_images, split.test_digits):.1%} of {len(split.test_digits)} held-out pictures")
        arrays |= {f"{model.name}.{name}": value.astype(np.float32) for name, value in w.items()}
    np.savez_compressed(WEIGHTS, **arrays)


if __name__ == "__main__":
    main()
