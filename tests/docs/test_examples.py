"""The Python blocks of the README and of the pages that show what they print: they run, and print just that."""

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


def play(text: str) -> str:
    """Runs the blocks in one namespace; returns the text with what they really print."""
    names: dict = {"__name__": "example"}

    def printed(match: re.Match) -> str:
        code, claimed = match.groups()
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(code, "example", "exec"), names)
        return f"```python\n{code}```\n" + ("" if claimed is None else f"```text\n{out.getvalue()}```\n")

    return BLOCK.sub(printed, text)


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md", "docs/architecture.md"])
def test_a_page_s_examples_print_what_it_says(page):
    text = (ROOT / page).read_text()
    assert BLOCK.search(text)
    assert play(text) == text
