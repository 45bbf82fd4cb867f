"""Records of runs over all operands: kept beside the docs, valid for one state of the unit, continued where they stopped."""

import hashlib
import json
from pathlib import Path

__all__ = ["Record", "fingerprint"]

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "records"


def fingerprint(verilog: str) -> str:
    """Of the hardware that a record belongs to: a changed unit starts anew."""
    return hashlib.sha256(verilog.encode()).hexdigest()[:16]


class Record:
    """``done`` operands so far, the largest error and where it occurred, CPU time; :meth:`save` after each part."""

    def __init__(self, name: str, unit: str):
        self.path = FOLDER / f"fp-{name.lower().replace('_', '-')}.json"
        self.state = {"unit": unit, "done": 0, "largest_error": 0.0, "operand": None, "cpu_seconds": 0.0}
        if self.path.exists():
            found = json.loads(self.path.read_text())
            if found["unit"] == unit:
                self.state |= found

    @property
    def done(self) -> int:
        return self.state["done"]

    def save(self, done: int, error: float, operand: int, seconds: float) -> None:
        if error > self.state["largest_error"]:
            self.state |= {"largest_error": error, "operand": f"{operand:08x}"}
        self.state |= {"done": done, "cpu_seconds": round(self.state["cpu_seconds"] + seconds, 1)}
        FOLDER.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.state, indent=1) + "\n")
        temporary.replace(self.path)
