"""Write a notebook for every page of the tutorials that has Python, and a badge at its top.

    python -m nnref.tools.notebooks

reads tutorials/*.md and writes tutorials/notebooks/*.ipynb, without outputs; a notebook there that
has no page is deleted. What a block prints on the page is folded away, an empty cell waits for
every prediction, and answers stay folded.
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from nnref.files import make_folder, write_whole

REPOSITORY = "https://github.com/_OWNER_/nnref"  # the public address; if it changes, run this
COLAB = REPOSITORY.replace("https://github.com", "https://colab.research.google.com/github")

BADGE = re.compile(r"^\[!\[Run in Colab\].*\n\n", re.MULTILINE)
BLOCK = re.compile(  # code, a fold, what a block printed, another fence, or a paragraph
    r"^```python\n(?P<code>.*?)\n```$"
    r"|^<details>\s*<summary>(?P<summary>.*?)</summary>(?P<folded>.*?)</details>$"
    r"|^```text\n(?P<printed>.*?)^```$"
    r"|^```.*?^```$"
    r"|^[^\n].*?(?=\n\n|\n```|\n<details>|\Z)",
    re.DOTALL | re.MULTILINE,
)
ASKS = re.compile(r"\*\*(Predict|Bet|Write down|Before you read on)\b")
FIGURE = re.compile(r"!\[(?P<caption>[^]]*)\]\((?P<path>[^)]*)\)")
HERE = re.compile(r"Start\s+Python\s+inside\s+`tutorials/`[^.]*(`[^`]*`\))?\.")  # not in a notebook
LINK = re.compile(r"\]\((?!https?:|#)(?P<page>[^)#]+\.md)?(?P<rest>[^)]*)\)")

SETUP = f"""\
# @title Set up: run this cell first
# In Colab it installs nnref and gets its files. In a clone it only goes to the folder tutorials/.
import os
import subprocess
import sys
from pathlib import Path

if "google.colab" in sys.modules:
    if not Path("/content/nnref").exists():
        for command in (
            f"{{sys.executable}} -m pip install -q git+{REPOSITORY}",
            "git clone -q --depth 1 {REPOSITORY} /content/nnref",
        ):
            subprocess.run(command.split(), check=True)
    os.chdir("/content/nnref")
for folder in (Path.cwd(), *Path.cwd().parents):
    if (folder / "tutorials" / "notebooks").is_dir():
        os.chdir(folder / "tutorials")
        break
else:
    print("Some cells read results/ and write figures/: better open this notebook in a clone.")

import nnref

print(f"nnref {{nnref.__version__}} in {{Path.cwd()}}")"""
PREDICTION = "**Your prediction** (double-click here and write it down):"
SHOW = """\
from IPython.display import Image

Image("{path}")"""


def cells(page: str) -> list[tuple[str, str]]:
    """(kind, source) of the cells of a page: code, an answer (code of a fold), prediction, text."""
    found = [("code", SETUP)]
    for kind, source in _pieces(page):
        if kind == "prose" and found[-1][0] in ("prose", "heading"):
            source = f"{found.pop()[1]}\n\n{source}"
        found.append((kind, source))
    return found


def _pieces(page: str) -> Iterator[tuple[str, str]]:
    """(kind, source) of every block of a page, and a prediction where one is asked for."""
    before, exercises = "", False
    for block in BLOCK.finditer(page):
        text, figure = block[0], _drawn(block[0], page)
        exercises = exercises or (text.startswith("#") and "xercise" in text)
        if block["code"] is not None:
            yield "code", block["code"]
        elif block["folded"] is not None and not exercises:
            yield from _fold(block["summary"], block["folded"], page)
        elif block["printed"] is not None and before == "code":
            yield "fold", _folded("What this prints", text)
        elif figure:
            show, caption = figure
            yield "code", show
            yield "prose", caption
        elif text.startswith("#"):
            yield "heading", text
        else:
            yield "prose", text
        if ASKS.search(text) and block["folded"] is None:
            yield "prediction", PREDICTION
        before = "code" if block["code"] is not None else ""


def _drawn(text: str, page: str) -> tuple[str, str] | None:
    """(code that shows it, caption) of a figure that code on the page draws; None: no such one."""
    figure = FIGURE.fullmatch(text)
    if figure and f'"{figure["path"]}"' in page:
        return SHOW.format(**figure.groupdict()), f"*{' '.join(figure['caption'].split())}*"
    return None


def _fold(summary: str, folded: str, page: str) -> Iterator[tuple[str, str]]:
    """The cells of a fold: code and the figures that it draws come out, to be run.

    All between two blocks of code stays folded.
    """
    inside = ""
    for block in [*BLOCK.finditer(folded), None]:
        if block and block["code"] is None:
            text = block[0]
            if drawn := _drawn(text, page):
                show, text = drawn
                yield "code", show
            inside += f"{text}\n\n"
            continue
        if inside:
            yield "fold", _folded(summary, inside.strip())
        inside = ""
        if block:
            yield "answer", block["code"]
            summary = "What this prints, and why"


def _folded(summary: str, text: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{text}\n\n</details>"


def notebook(name: str, page: str, names: set[str]) -> str:
    """The notebook of a page as JSON, in the form in which Jupyter saves it.

    names   of all pages that have notebooks: a link to one leads to the notebook
    """
    seen, made = Counter(), []
    for kind, source in cells(BADGE.sub(f"{badge(name)}\n\n", page, count=1)):
        if kind not in ("code", "answer"):
            source = LINK.sub(lambda link: _moved(link, names), HERE.sub("Run its cells.", source))
        seen[source] += 1
        made.append(_cell(kind, source, seen[source]))
    made[0]["metadata"] = {"cellView": "form"}  # Colab then shows the title alone
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content = {"cells": made, "nbformat": 4, "nbformat_minor": 5}
    content["metadata"] = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _moved(link: re.Match, names: set[str]) -> str:
    """A link, seen from the folder of the notebooks."""
    name = (link["page"] or "").removesuffix(".md")
    return f"]({name}.ipynb{link['rest']})" if name in names else f"](../{link[0][2:]}"


def _cell(kind: str, source: str, count: int) -> dict:
    """A cell, the `count`-th with this source; its id stays the same when other cells change."""
    cell = {"id": sha256(f"{count} {source}".encode()).hexdigest()[:8], "metadata": {}}
    if kind == "prediction":
        cell["metadata"] = {"tags": [kind]}
    cell["source"] = source.splitlines(keepends=True)
    if kind == "answer":  # its code is folded, too: in Jupyter, in Colab
        cell["metadata"] = {"jupyter": {"source_hidden": True}, "cellView": "form"}
    if kind in ("code", "answer"):
        return cell | {"cell_type": "code", "execution_count": None, "outputs": []}
    return cell | {"cell_type": "markdown"}


def badge(name: str) -> str:
    """A picture that opens a notebook in Colab."""
    address = f"{COLAB}/blob/main/tutorials/notebooks/{name}.ipynb"
    return f"[![Run in Colab](figures/run-in-colab.svg)]({address})"


def with_badge(name: str, page: str) -> str:
    """A page with the line of its badge below its title."""
    title, _, rest = BADGE.sub("", page, count=1).partition("\n\n")
    line = f"{badge(name)} or open [the notebook](notebooks/{name}.ipynb) in Jupyter"
    return f"{title}\n\n{line}\n\n{rest}"


def written(tutorials: Path) -> dict[Path, str]:
    """{path: what it must hold} of all notebooks and the pages that they are made from."""
    texts = {path: path.read_text("utf-8") for path in sorted(tutorials.glob("*.md"))}
    pages = {path.stem: text for path, text in texts.items() if "\n```python\n" in text}
    made = {}
    for name, text in pages.items():
        made[tutorials / f"{name}.md"] = page = with_badge(name, text)
        made[tutorials / "notebooks" / f"{name}.ipynb"] = notebook(name, page, set(pages))
    return made


def main(tutorials: Path):
    """Write all notebooks and badges; remove notebooks that have no page any more."""
    made = written(tutorials)
    if not made:
        raise SystemExit(f"{tutorials}: expected pages of Markdown with Python, found none")
    make_folder(tutorials / "notebooks")
    for old in (tutorials / "notebooks").glob("*.ipynb"):
        if old not in made:
            old.unlink()
    for path, content in made.items():
        if not path.is_file() or path.read_text("utf-8") != content:
            write_whole(path, content.encode())


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "tutorials"))
