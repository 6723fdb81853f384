"""The command line as a person uses it: what it prints and writes, and how it refuses."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import nnref
from nnref.cli import RULES
from nnref.plots import COLORS

ROOT = Path(nnref.__file__).parent.parent


def nnref_command(*arguments, cwd=ROOT):
    """Run `python -m nnref` as a person would."""
    return subprocess.run(
        [sys.executable, "-m", "nnref", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.fixture(scope="session")
def short_demo(tmp_path_factory):
    """(folder, result) of one short run."""
    folder = tmp_path_factory.mktemp("demo")
    result = nnref_command(
        "--epochs", 1, "--seed", 3, "--json", folder / "record.json", "--out", folder / "new"
    )
    assert result.returncode == 0, result.stderr
    return folder, result


def test_the_demo_writes_the_record_that_it_prints(short_demo):
    folder, result = short_demo
    record = json.loads((folder / "record.json").read_text())
    assert (record["seed"], record["epochs"]) == (3, 1)
    assert record["wall_s"] > 0
    for rule in record["rules"]:
        line = next(line for line in result.stdout.splitlines() if line.startswith(rule["name"]))
        assert f"{rule['test_accuracy']:.1%}" in line
        assert len(rule["weight_angle_deg"]) == len(rule["delta_angle_deg"]) == 3
        assert rule["delta_angle_deg"][-1] == pytest.approx(0, abs=1e-4)
    names = [rule["name"] for rule in record["rules"]]
    assert names == ["backprop", "sign-symmetry", "feedback-alignment", "last-layer-only"]
    exact, signs, random, none = record["rules"]
    assert exact["weight_angle_deg"] == pytest.approx([0, 0, 0], abs=1e-4)
    assert exact["delta_angle_deg"] == pytest.approx([0, 0, 0], abs=1e-4)
    assert signs["weight_angle_deg"][0] == pytest.approx(37, abs=3)
    assert random["weight_angle_deg"][0] == pytest.approx(90, abs=1)  # its B is never used
    assert none["weight_angle_deg"] == [None, None, None]
    assert none["delta_angle_deg"][:2] == [None, None]


def test_the_demo_shows_a_progress_bar_and_writes_its_figure(short_demo):
    folder, result = short_demo
    assert "sign-symmetry       : 100%" in result.stderr
    with Image.open(folder / "new" / "nnref-demo.png") as image:
        assert image.size[0] >= 1200
        assert len(image.convert("RGB").getcolors(10**6)) > 50
    assert os.listdir(folder / "new") == ["nnref-demo.png"]


def test_the_angles_are_watched_from_birth_to_the_end(short_demo):
    folder, _ = short_demo
    record = json.loads((folder / "record.json").read_text())
    for rule in record["rules"]:
        watched = rule["watched"]
        assert watched["epoch"][0] == 0
        assert watched["epoch"][-1] == pytest.approx(1)
        assert watched["weight_angle_deg"][-1] == rule["weight_angle_deg"]
        assert len(watched["delta_angle_deg"]) == len(watched["epoch"]) == 6


def test_demo_is_the_default_command(tmp_path):
    runs = [
        nnref_command(*command, "--epochs", 1, "--rules", "backprop", "--out", tmp_path)
        for command in ((), ("demo",))
    ]
    accuracies = [
        next(line.split()[1] for line in run.stdout.splitlines() if line.startswith("backprop"))
        for run in runs
    ]
    assert accuracies[0] == accuracies[1]


def test_another_seed_draws_other_weights_and_another_order(tmp_path, short_demo):
    folder, _ = short_demo
    path = tmp_path / "record.json"
    nnref_command(
        "--epochs", 1, "--seed", 4, "--rules", "sign-symmetry", "--json", path, "--out", tmp_path
    )
    other = json.loads(path.read_text())["rules"][0]
    same = json.loads((folder / "record.json").read_text())["rules"][1]
    # at birth, the angle of W to its signs depends on the weights alone
    assert other["watched"]["weight_angle_deg"][0] != same["watched"]["weight_angle_deg"][0]
    assert other["history"][0]["train_loss"] != same["history"][0]["train_loss"]


def test_every_rule_has_a_color_of_its_own():
    assert list(RULES) == list(COLORS)
    assert len(set(COLORS.values())) == len(COLORS)


def test_a_figure_of_all_rules_is_drawn(tmp_path):
    run = nnref_command("--epochs", 1, "--rules", ",".join(RULES), "--out", tmp_path)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "nnref-demo.png").exists()


HELP = "(try python -m nnref demo --help)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--epochs", "0"],
            f"argument --epochs: expected a whole number of at least 1, found '0' {HELP}",
        ),
        (
            ["--epochs", "many"],
            f"argument --epochs: expected a whole number of at least 1, found 'many' {HELP}",
        ),
        (
            ["demo", "--seed", "-1"],
            f"argument --seed: expected a whole number of at least 0, found '-1' {HELP}",
        ),
        (
            ["--rules", "backprop,magic"],
            f"argument --rules: expected rules of {', '.join(RULES)}, found 'magic' {HELP}",
        ),
        (
            ["--epoch", "3"],
            "unrecognized arguments: --epoch 3 (try python -m nnref --help)",
        ),
        (
            ["train"],
            "argument COMMAND: invalid choice: 'train' (choose from demo) "
            "(try python -m nnref --help)",
        ),
        (["--json"], f"argument --json: expected one argument {HELP}"),
        (
            ["--json", "missing/record.json"],
            "missing/record.json: the folder missing does not exist or is not writable",
        ),
        (["--json", "."], ".: expected the name of a file, found a folder or a device"),
        (
            ["--out", "new", "--json", "missing/record.json"],
            "missing/record.json: the folder missing does not exist or is not writable",
        ),
        (["--out", "file/folder"], "file/folder: the folder cannot be made: Not a directory"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(arguments, message, tmp_path):
    (tmp_path / "file").write_text("")
    result = nnref_command(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.replace("'demo'", "demo") == f"nnref: error: {message}\n"
    assert result.stdout == ""
    assert os.listdir(tmp_path) == ["file"]


def test_help_names_the_commands_and_options():
    assert "demo" in nnref_command("--help").stdout
    text = nnref_command("demo", "--help").stdout
    for word in ("--seed", "--epochs", "--json", "--out", "--rules", "redrawn-magnitudes"):
        assert word in text


def test_an_interrupt_ends_in_one_line_and_writes_nothing(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "nnref", "--out", str(tmp_path)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    for character in iter(lambda: process.stderr.read(1), ""):
        if character == "%":  # the progress bar: it is training
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.endswith("nnref: interrupted\n")
    assert "Traceback" not in err
    assert os.listdir(tmp_path) == []
