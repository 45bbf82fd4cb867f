"""Small real models: the zoo that the compiler is tested and measured with. ``python -m models`` writes them as ONNX files."""

from .holdout import HOLDOUT
from .zoo import ZOO, Entry, entry

__all__ = ["HOLDOUT", "ZOO", "Entry", "entry"]
