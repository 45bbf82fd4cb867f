"""``python -m models [NAME ...] [--folder FOLDER]``: writes models as NAME.onnx with NAME.npz, inputs to run them with."""

from __future__ import annotations

import argparse
from pathlib import Path

import onnx

from compiler.frontend.inputs import save_arrays

from .zoo import ZOO, entry


def main() -> None:
    """Writes the models and prints what they are."""
    parser = argparse.ArgumentParser(prog="python -m models", description="Writes the models of the zoo as ONNX files.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ZOO)}; default: all")
    parser.add_argument("--folder", type=Path, default=Path("build/models"))
    chosen = parser.parse_args()
    try:
        entries = [entry(name) for name in chosen.names or ZOO]
    except ValueError as error:
        parser.error(str(error))
    chosen.folder.mkdir(parents=True, exist_ok=True)
    for each in entries:
        model, inputs = each.build()
        path = chosen.folder / f"{each.name}.onnx"
        onnx.save(model, path)
        save_arrays(path.with_suffix(".npz"), inputs)
        print(f"{path}: {each.text}; {len(model.graph.node)} operators, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
