"""Runs the Python of a Markdown page, block by block, and holds its output to what it shows."""

import contextlib
import io
import re
from pathlib import Path

BLOCK = re.compile(r"```python\n(?P<code>.*?)```\n(?:\n```text\n(?P<output>.*?)```\n)?", re.DOTALL)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
APART = re.compile(r"# .*differs? by up to (\d+)")  # a comment in a block


def blocks(page: Path) -> list[tuple[str, str]]:
    """(code, output that the page shows) of every block of Python."""
    return [(m["code"], m["output"] or "") for m in BLOCK.finditer(page.read_text())]


def run(page: Path, without: str | None = None):
    """Run all blocks in one namespace; AssertionError where the output is another one.

    `without` leaves out the blocks that hold these words: they need what is not here.
    """
    namespace = {"__name__": "__main__"}
    for code, shown in blocks(page):
        if without is None or without not in code:
            apart = APART.search(code)
            printed = output_of(code, page, namespace)
            assert_same(printed, shown, *([int(apart[1])] if apart else []))


def output_of(code: str, page: Path, namespace: dict) -> str:
    """What a block prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, str(page), "exec"), namespace)
    return printed.getvalue()


def assert_same(printed: str, shown: str, units: int = 2):
    """The same words, and every number within so many units of its last printed digit.

    Another machine rounds sums in another order, and training magnifies that a little; a block
    whose numbers differ by more says so in a comment.
    """
    assert re.sub(r"\s+", " ", NUMBER.sub("#", printed)).strip() == (
        re.sub(r"\s+", " ", NUMBER.sub("#", shown)).strip()
    ), f"printed:\n{printed}\nshown:\n{shown}"
    for have, want in zip(NUMBER.findall(printed), NUMBER.findall(shown), strict=True):
        unit = 10.0 ** -len(want.partition(".")[2])
        far = abs(float(have) - float(want)) > 1.0005 * units * unit
        assert not far, f"{have} printed, {want} shown"
