"""Runs the Python of a Markdown page, block by block, and holds its output to what it shows."""

import contextlib
import io
import re
from pathlib import Path

BLOCK = re.compile(r"```python\n(?P<code>.*?)```\n(?:\n```text\n(?P<output>.*?)```\n)?", re.DOTALL)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
# a comment in a block: lines with "FA" differ by up to 5; without a quotation, all lines
APART = re.compile(r'# .*?(?:lines with "(?P<words>.*)" )?differ by up to (?P<units>\d+)')


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
            apart = [(m["words"] or "", int(m["units"])) for m in APART.finditer(code)]
            assert_same(output_of(code, page, namespace), shown, apart)


def output_of(code: str, page: Path, namespace: dict) -> str:
    """What a block prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, str(page), "exec"), namespace)
    return printed.getvalue()


def assert_same(printed: str, shown: str, apart=()):
    """The same words, and every number within two units of its last printed digit.

    Another machine rounds sums in another order, and training magnifies that a little. `apart` has
    (words, units) for lines whose numbers may differ by more: those that hold the words.
    """
    assert re.sub(r"\s+", " ", NUMBER.sub("#", printed)).strip() == (
        re.sub(r"\s+", " ", NUMBER.sub("#", shown)).strip()
    ), f"printed:\n{printed}\nshown:\n{shown}"
    found = iter(NUMBER.findall(printed))
    for line in shown.splitlines():
        units = max([2, *(units for words, units in apart if words in line)])
        for want, have in zip(NUMBER.findall(line), found, strict=False):
            unit = 10.0 ** -len(want.partition(".")[2])
            far = abs(float(have) - float(want)) > 1.0005 * units * unit
            assert not far, f"{have} printed, {want} shown"
