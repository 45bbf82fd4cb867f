"""Waveforms: read a dumped window (VCD or FST), list and print it, draw it, write view files.

    python -m sim.waves list FILE [PATTERN]      the signals
    python -m sim.waves print FILE [PATTERN]     values by cycle, changes only
    python -m sim.waves png FILE OUT [PATTERN]   a picture
    python -m sim.waves view FILE OUT [PATTERN]  a save file for GTKWave (.gtkw) or a command file for Surfer (.sucl)
    python -m sim.waves demo --output DIR        dumps a small example and does all of that
"""

from __future__ import annotations

import argparse
import os
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pywellen

__all__ = ["Waves", "draw", "show", "telling", "write_view"]

STATES_PER_CYCLE = 2                     # in cycle c the settled values are at time 2c, those after the edge at 2c + 1


class Waves:
    """The signals of a waveform file by full name ("top.valid"), with values by clock cycle. Other files: ValueError."""

    def __init__(self, file: Path | str):
        self._waveform = _read(Path(file))
        self._variables = {variable.full_name: variable for variable in self._waveform.all_vars()}
        clocks = [variable.tv for name, variable in self._variables.items() if name.split(".")[-1] == "clk"]
        self.start = min((changes[0][0] for changes in clocks if changes), default=0) // STATES_PER_CYCLE
        self.end = max((changes[-1][0] for changes in clocks if changes), default=0) // STATES_PER_CYCLE + 1

    def names(self, pattern: str = "") -> list[str]:
        """Full names that contain the regular expression ``pattern``."""
        return [name for name in self._variables if re.search(pattern, name)]

    def width(self, name: str) -> int:
        return self._variables[name].bitwidth or 1

    def changes(self, name: str) -> list[tuple[int, int]]:
        """(time, value) of each change; time in half cycles."""
        if name not in self._variables:
            raise KeyError(f"no signal {name!r}; {len(self._variables)} signals, such as {', '.join(list(self._variables)[:5])}")
        return [(time, _number(value)) for time, value in self._variables[name].tv]

    def values(self, name: str) -> list[int]:
        """The settled value in each cycle of the window."""
        changes = self.changes(name)
        times = [time for time, _ in changes]
        return [changes[max(bisect_right(times, STATES_PER_CYCLE * cycle) - 1, 0)][1] if changes else 0
                for cycle in range(self.start, self.end)]

    def text(self, pattern: str = "") -> str:
        """One line per cycle in which something changed: the signals that did, in hexadecimal."""
        columns = {name: self.values(name) for name in self.names(pattern) if not name.endswith("clk")}
        lines, before = [], {}
        for offset in range(self.end - self.start):
            now = {name: values[offset] for name, values in columns.items()}
            changed = [f"{name}={value:#x}" for name, value in now.items() if before.get(name) != value]
            if changed:
                lines.append(f"{self.start + offset:>10}  " + "  ".join(changed))
            before = now
        return "\n".join(lines)


def _read(file: Path) -> pywellen.Waveform:
    """Raises OSError for a file that cannot be opened, ValueError for one that is no whole waveform."""
    with file.open("rb") as stream:
        if not stream.read(1):
            raise ValueError(f"{file} is empty: no waveform")
    try:
        with _quiet():
            return pywellen.Waveform(str(file))
    except KeyboardInterrupt:
        raise
    except BaseException as error:           # the reader's panics are no Exceptions
        raise ValueError(f"{file} is not a readable VCD or FST file: {error}") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing goes to the process' standard error: the reader prints a back trace before it raises."""
    saved = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _number(value) -> int:
    if isinstance(value, int):
        return value
    bits = str(value)
    return int(bits, 2) if bits and set(bits) <= {"0", "1"} else 0


# Of each unit of a device: whether it works, and the streams that leave it.
DEVICE_SIGNALS = r"^(pcu|pmu|agcu)_\w+\.\w+_shell\.core\.(busy|(vector|scalar)_out__\d__valid|memory__request__valid)$"


def telling(waves: Waves, limit: int = 24) -> list[str]:
    """The signals that say most. Of a device: its units' work and streams, where anything happens; else those of the fewest
    levels of hierarchy whose value changes, handshakes and states first."""
    device = [name for name in waves.names(DEVICE_SIGNALS) if any(waves.values(name))]
    if device:
        return sorted(device)[:2 * limit]

    def rank(name: str) -> tuple:
        words = re.search(r"busy|execute|irq|valid|ready|state|fault", name)
        return (words is None, name.count("."), waves.width(name) > 1, name)
    seen: set[tuple] = set()
    chosen = []
    for name in sorted(waves.names(), key=rank):
        if len(chosen) == limit:
            break
        shape = tuple(waves.changes(name))
        if len(shape) > 1 and shape not in seen and name.split(".")[-1] != "clk":
            seen.add(shape)
            chosen.append(name)
    return chosen


def draw(waves: Waves, names: Sequence[str], file: Path | str) -> None:
    """A PNG (or SVG, PDF by the name's ending) with one row per signal over clock cycles."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(figsize=(14, 0.42 * max(len(names), 2) + 1))
    cycles = list(range(waves.start, waves.end))
    for row, name in enumerate(names):
        values, base = waves.values(name), -row
        axes.text(waves.start - 0.5, base + 0.3, name, ha="right", va="center", fontsize=7)
        if waves.width(name) == 1:
            levels = [base + 0.6 * value for value in [*values, values[-1]]]
            axes.step([*cycles, waves.end], levels, where="post", color="#1f5fa8", lw=1)
            continue
        begin = 0
        for index in range(1, len(values) + 1):
            if index == len(values) or values[index] != values[begin]:
                axes.add_patch(pyplot.Rectangle((cycles[begin], base), index - begin, 0.6, fill=False, ec="#1f5fa8", lw=0.8))
                text = f"{values[begin]:x}"
                if (index - begin) * 90 / len(cycles) > 1.2 * min(len(text), 8):
                    label = text if len(text) <= 8 else text[:7] + "…"
                    middle = (cycles[begin] + cycles[index - 1] + 1) / 2
                    axes.text(middle, base + 0.3, label, ha="center", va="center", fontsize=6)
                begin = index
    axes.set(xlim=(waves.start, waves.end), ylim=(-len(names) + 0.5, 1), xlabel="clock cycle", yticks=[])
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(file, dpi=130)
    pyplot.close(figure)


def write_view(waves: Waves, dump: Path | str, names: Sequence[str], file: Path | str) -> None:
    """A save file for GTKWave, or (name ending in .sucl) a command file for Surfer, that shows ``names`` grouped by unit."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.rpartition(".")[0], []).append(name)
    lines = []
    if str(file).endswith(".sucl"):
        for group, members in groups.items():
            lines += [f"divider_add {group}", *[f"variable_add {name}" for name in members]]
    else:
        lines = [f'[dumpfile] "{Path(dump).resolve()}"', f"[timestart] {STATES_PER_CYCLE * waves.start}"]
        for group, members in groups.items():
            ranges = {name: "" if waves.width(name) == 1 else f"[{waves.width(name) - 1}:0]" for name in members}
            lines += [f"-{group}", *[name + bits for name, bits in ranges.items()]]
    Path(file).write_text("\n".join(lines) + "\n")


def show(file: Path, patterns: Sequence[str], *, picture: Path | None, console) -> None:
    """What ``rdu waves`` does: prints the signals that contain one of ``patterns`` (default: :func:`telling`), or draws them."""
    waves = Waves(file)
    names = [name for name in waves.names() if any(pattern in name for pattern in patterns)] if patterns else telling(waves)
    if not names:
        raise ValueError(f"{file}: no signal contains {' or '.join(patterns)}; it has {len(waves.names())}, list them with "
                         f"python -m sim.waves list {file}")
    if picture is None:
        pattern = "|".join(f"^{re.escape(name)}$" for name in names)
        console.print(waves.text(pattern), markup=False, highlight=False, soft_wrap=True)
        return
    picture.parent.mkdir(parents=True, exist_ok=True)
    draw(waves, names, picture)
    for ending in (".gtkw", ".sucl"):
        write_view(waves, file, names, picture.with_suffix(ending))
    console.print(f"{picture}: {len(names)} of {len(waves.names()):,} signals, cycles {waves.start} to {waves.end}; "
                  f"view files for GTKWave and Surfer beside it")


def _demo(directory: Path) -> None:
    """A counter chain stepping through nested loops: a window of it as VCD, PNG and view files."""
    from hw.common.counter import CounterChain

    from .unit_bench import UnitBench
    directory.mkdir(parents=True, exist_ok=True)
    dump = directory / "counter_chain.vcd"
    with UnitBench(CounterChain(3, 8), trace="vcd") as bench:
        bench.set("bounds", [4, 3, 2])
        bench.waves(dump, 2, 32)
        bench.pulse("start")
        bench.set("advance", 1)
        bench.tick(40)
    waves = Waves(dump)
    names = telling(waves)
    draw(waves, names, dump.with_suffix(".png"))
    for ending in (".gtkw", ".sucl"):
        write_view(waves, dump, names, dump.with_suffix(ending))
    print(f"{dump}: cycles {waves.start} to {waves.end}, {len(waves.names())} signals; picture and view files beside it")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m sim.waves", description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("action", choices=["list", "print", "png", "view", "demo"])
    parser.add_argument("files", nargs="*", help="FILE, or FILE OUT; a last word more is the PATTERN")
    parser.add_argument("--output", type=Path, default=Path("build/waves"))
    given = parser.parse_args(arguments)
    if given.action == "demo":
        _demo(given.output)
        return 0
    needed = 2 if given.action in ("png", "view") else 1
    if not needed <= len(given.files) <= needed + 1:
        parser.error(f"{given.action} takes {needed} file name(s) and at most one pattern")
    try:
        waves = Waves(given.files[0])
    except ValueError as error:
        parser.exit(1, f"{error}\n")
    pattern = given.files[needed] if len(given.files) > needed else ""
    names = waves.names(pattern) if pattern else telling(waves)
    if given.action == "list":
        print("\n".join(waves.names(pattern)))
    elif given.action == "print":
        print(waves.text(pattern))
    elif given.action == "png":
        draw(waves, names, given.files[1])
    else:
        write_view(waves, given.files[0], names, given.files[1])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
