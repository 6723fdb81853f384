"""The notebooks of the tutorials: they are what the pages say, and Jupyter and Colab run them."""

import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import documents
import pytest
from test_house import ROOT

from nnref.tools import notebooks

TUTORIALS = ROOT / "tutorials"
NOTEBOOKS = sorted((TUTORIALS / "notebooks").glob("*.ipynb"))
PAGE = """# 1. A page

**What you'll do.** Read [the next page](02-next.md#here), [a file](../nnref/feedback.py) and
[a paper](https://example.org).

```python
print(1)
```

```text
1
```

**Predict.** What is
twice one?

<details><summary>Answer</summary>

```python
print(2)
draw("figures/01-two.png")
```

```text
2
```

Two.

```python
print(3)
style.save(again, "figures/02-again.png")
```

![Two
again](figures/02-again.png)

Three.

</details>

In the shell:

```text
$ # two
```

![A line
of two](figures/01-two.png)

![Known before](figures/old.png)

## Exercises

1. Write it.

<details><summary>Answers</summary>

```python
print("solved")
```

</details>
"""


def cells_of(text):
    """(type, source) of the cells of a notebook; a prediction is a type of its own."""
    return [
        ("".join(cell["metadata"].get("tags", [])) or cell["cell_type"], "".join(cell["source"]))
        for cell in json.loads(text)["cells"]
    ]


@pytest.fixture
def made_up():
    """The cells of the made-up page, after the one that sets up."""
    return cells_of(notebooks.notebook("01-page", PAGE, {"01-page", "02-next"}))[1:]


def test_the_committed_notebooks_and_badges_are_what_the_pages_say():
    """If not: python -m nnref.tools.notebooks"""
    written = notebooks.written(TUTORIALS)
    for path, content in written.items():
        assert path.read_bytes() == content.encode(), path.name
    assert {path for path in written if path.suffix == ".ipynb"} == set(NOTEBOOKS)
    assert len(NOTEBOOKS) >= 10


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_the_code_of_its_page_in_order_but_for_the_answers_of_exercises(path):
    page = TUTORIALS / f"{path.stem}.md"
    shown = [code.strip() for kind, code in cells_of(path.read_text()) if kind == "code"]
    shown = [code for code in shown[1:] if not code.startswith("from IPython.display")]
    text = page.read_text().partition("\n## Exercises")[0]
    if text.startswith("# Exercises"):  # this page has nothing else: its answers are solutions
        text = re.sub("<details>.*?</details>", "", text, flags=re.DOTALL)
    blocks = [m["code"].strip() for m in documents.BLOCK.finditer(text)]
    assert shown == blocks


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_a_kernel_no_outputs_and_links_that_lead_somewhere(path):
    content = json.loads(path.read_text())
    assert content["metadata"]["kernelspec"]["name"] == "python3"
    ids = [cell["id"] for cell in content["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in content["cells"]:
        assert not cell.get("outputs") and cell.get("execution_count") is None
    for kind, source in cells_of(path.read_text()):
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", source) if kind != "code" else ():
            assert (path.parent / target).exists(), target


def test_a_cell_to_write_in_follows_every_prediction(made_up):
    place = made_up.index(("prediction", notebooks.PREDICTION))
    assert made_up[place - 1][1].endswith("**Predict.** What is\ntwice one?")
    for path in NOTEBOOKS:
        kinds = [kind for kind, _ in cells_of(path.read_text())]
        asked = len(re.findall(r"\*\*(?:Predict|Bet)\b", path.read_text()))
        assert kinds.count("prediction") >= asked, path.name


def test_what_a_block_prints_is_folded_away(made_up):
    folded = "<details><summary>What this prints</summary>\n\n```text\n1\n```\n\n</details>"
    assert made_up[1:3] == [("code", "print(1)"), ("markdown", folded)]


def test_code_in_a_fold_can_be_run_and_the_rest_stays_folded(made_up):
    place = made_up.index(("code", 'print(2)\ndraw("figures/01-two.png")'))
    assert made_up[place + 1 : place + 5] == [
        ("markdown", notebooks._folded("What this prints, and why", "```text\n2\n```\n\nTwo.")),
        ("code", 'print(3)\nstyle.save(again, "figures/02-again.png")'),
        ("code", notebooks.SHOW.format(path="figures/02-again.png")),  # a figure comes out, too
        ("markdown", notebooks._folded("What this prints, and why", "*Two again*\n\nThree.")),
    ]


def test_answers_of_exercises_stay_folded_as_a_whole(made_up):
    kind, source = made_up[-1]
    assert kind == "markdown"
    answers = PAGE[PAGE.index("<details><summary>Answers") :].strip()
    assert source.endswith(answers)


def test_a_figure_that_the_page_draws_is_shown_as_the_reader_drew_it(made_up):
    shown = made_up.index(("code", notebooks.SHOW.format(path="figures/01-two.png")))
    assert made_up[shown + 1][1].startswith("*A line of two*")
    assert "![Known before](../figures/old.png)" in made_up[shown + 1][1]


def test_links_lead_to_notebooks_where_there_are_any(made_up):
    text = made_up[0][1]
    assert "](02-next.ipynb#here)" in text
    assert "](../../nnref/feedback.py)" in text
    assert "](https://example.org)" in text


def test_output_of_the_shell_stays_on_the_page(made_up):
    assert any("In the shell:\n\n```text\n$ # two\n```" in source for _, source in made_up)


def test_cells_keep_their_ids_when_others_change():
    longer = PAGE.replace("In the shell", "One more.\n\n## Here\n\nIn the shell")
    before, after = (
        [cell["id"] for cell in json.loads(notebooks.notebook("01-page", page, set()))["cells"]]
        for page in (PAGE, longer)
    )
    assert len(set(before) - set(after)) == 1


def test_the_command_writes_again_what_is_out_of_step_and_removes_what_has_no_page(tmp_path):
    (tmp_path / "01-page.md").write_text(PAGE)
    (tmp_path / "claims.md").write_text("# No code\n")
    notebooks.main(tmp_path)
    (tmp_path / "notebooks" / "old.ipynb").write_text("{}")
    (tmp_path / "notebooks" / "01-page.ipynb").write_text("{}")
    once = (tmp_path / "01-page.md").read_text()
    notebooks.main(tmp_path)
    assert os.listdir(tmp_path / "notebooks") == ["01-page.ipynb"]
    assert cells_of((tmp_path / "notebooks" / "01-page.ipynb").read_text())[1][1].startswith("# 1.")
    assert (tmp_path / "01-page.md").read_text() == once
    assert once.count("Run in Colab") == 1
    assert (tmp_path / "claims.md").read_text() == "# No code\n"


def test_a_folder_without_pages_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="expected pages"):
        notebooks.main(tmp_path)


@pytest.mark.parametrize("start", ["", "tutorials", "tutorials/notebooks"])
def test_the_first_cell_goes_to_the_tutorials_of_a_clone(start, tmp_path, monkeypatch, capsys):
    (tmp_path / "tutorials" / "notebooks").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / start)
    for _ in range(2):
        exec(notebooks.SETUP, {})
        assert Path.cwd() == tmp_path / "tutorials"
    assert "nnref" in capsys.readouterr().out


def test_the_first_cell_stays_where_it_is_without_a_clone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(notebooks.SETUP, {})
    assert Path.cwd() == tmp_path
    assert os.listdir(tmp_path) == []
    assert "open this notebook in a clone" in capsys.readouterr().out


def test_the_first_cell_installs_nnref_in_colab(tmp_path, monkeypatch):
    commands = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command))
    here = notebooks.SETUP.replace("/content", str(tmp_path))
    with pytest.raises(FileNotFoundError):  # since nothing was cloned
        exec(here, {})
    assert [command[-1] for command in commands] == [
        f"git+{notebooks.REPOSITORY}",
        str(tmp_path / "nnref"),
    ]
    (tmp_path / "nnref" / "tutorials" / "notebooks").mkdir(parents=True)
    exec(here, {})  # run again: nothing is left to do
    assert len(commands) == 2
    assert Path.cwd() == tmp_path / "nnref" / "tutorials"


@pytest.mark.jupyter
def test_jupyter_runs_a_notebook_from_top_to_bottom_and_finds_all_of_them_valid():
    nbformat = pytest.importorskip("nbformat", reason='needs pip install -e ".[notebooks]"')
    nbclient = pytest.importorskip("nbclient", reason='needs pip install -e ".[notebooks]"')
    for path in NOTEBOOKS:
        nbformat.validate(nbformat.read(path, as_version=4))
    content = nbformat.read(NOTEBOOKS[0], as_version=4)
    where = {"metadata": {"path": str(NOTEBOOKS[0].parent)}}
    nbclient.NotebookClient(content, timeout=200, kernel_name="python3", resources=where).execute()
    outputs = [output for cell in content.cells for output in cell.get("outputs", [])]
    printed = "".join(output.get("text", "") for output in outputs)
    page = (TUTORIALS / f"{NOTEBOOKS[0].stem}.md").read_text().partition("## Exercises")[0]
    shown = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    documents.assert_same("".join(printed.splitlines(keepends=True)[1:]), "".join(shown))
