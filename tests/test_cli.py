"""The command line as a person uses it: what it prints and writes, and how it refuses."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import termios
import tomllib
from pathlib import Path

import numpy as np
import pytest
from pictures import class_folders, picture, write_folder
from PIL import Image
from test_report import record

import nnref
from nnref import __main__, cli, plots
from nnref.backend import describe, xp
from nnref.cli import COMMANDS
from nnref.commands.options import place
from nnref.data import mnist
from nnref.data.notices import Notice
from nnref.parallel.interrupts import interrupts_waiting
from nnref.rules.known import RULES
from nnref.runs import seeds
from nnref.runs.settings import whole
from nnref.tools import doctor

ROOT = Path(nnref.__file__).parent.parent


def nnref_command(*arguments, cwd=ROOT, **environment):
    """Run `python -m nnref` as a person would."""
    environment = {name: str(value) for name, value in environment.items()}
    return subprocess.run(
        [sys.executable, "-m", "nnref", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=280,
    )


def in_this_process(*arguments, cwd=ROOT):
    """The same in this process, which is quicker, and can be given less to do."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["nnref", *map(str, arguments)])
        patch.chdir(cwd)
        status = __main__.run()
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())


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


def test_the_demo_writes_its_figure_and_no_progress_bar_into_a_pipe(short_demo):
    folder, result = short_demo
    assert result.stderr == ""
    with Image.open(folder / "new" / "nnref-demo.png") as image:
        assert image.size[0] >= 800
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


def test_demo_is_the_default_command(tmp_path, short_demo):
    words = ("demo", "--epochs", 1, "--seed", 3, "--rules", "backprop", "--out", tmp_path)
    default, named = (
        next(line.split()[1] for line in text.splitlines() if line.startswith("backprop"))
        for text in (short_demo[1].stdout, nnref_command(*words).stdout)
    )
    assert default == named


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


def test_a_figure_of_all_rules_is_drawn(tmp_path, monkeypatch, digits):
    few = [part._replace(images=part.images[:500], labels=part.labels[:500]) for part in digits]
    monkeypatch.setattr(mnist, "load_subset", lambda: few)
    run = in_this_process("--epochs", 1, "--rules", ",".join(RULES), "--out", tmp_path)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "nnref-demo.png").exists()


HELP = "(try python -m nnref demo --help)"
COUNT = whole(1)[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--epochs", "0"],
            f"argument --epochs: expected {COUNT}, found '0' {HELP}",
        ),
        (
            ["--epochs", "many"],
            f"argument --epochs: expected {COUNT}, found 'many' {HELP}",
        ),
        (
            ["demo", "--seed", "-1"],
            f"argument --seed: expected a whole number of at least 0, found '-1' {HELP}",
        ),
        (
            ["--rules", "backprop,magic"],
            f"argument --rules: expected one of {', '.join(RULES)}, or FILE.py:NAME, "
            f"found 'magic' {HELP}",
        ),
        (
            ["--epoch", "3"],
            "unrecognized arguments: --epoch 3 (try python -m nnref demo --help)",
        ),
        (
            ["fly"],
            "argument COMMAND: invalid choice: 'fly' (choose from demo, train, compare, gradcheck, "
            "data, bench, replicate, doctor) (try python -m nnref --help)",
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
    result = in_this_process(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    unquoted = re.sub(
        r"'(demo|train|compare|gradcheck|data|bench|replicate|doctor)'", r"\1", result.stderr
    )  # as Python's version likes
    assert unquoted == f"nnref: error: {message}\n"
    assert result.stdout == ""
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(xp is not np, reason="with CuPy it is allowed")
def test_tf32_without_cupy_is_one_line(tmp_path):
    result = nnref_command("--tf32", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr == "nnref: error: --tf32: only for --backend cupy\n"


def test_help_names_the_commands_and_options():
    help_of_all = nnref_command("--help").stdout
    assert all(f"\n    {name}" in help_of_all for name in COMMANDS)
    text = nnref_command("demo", "--help").stdout
    for word in ("--seed", "--epochs", "--json", "--out", "--rules", "redrawn-magnitudes"):
        assert word in text


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_shows_examples_that_the_command_understands(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    parser = cli._parser(name)
    if name:
        parser = parser._subparsers._group_actions[0].choices[name]
    text = parser.format_help()
    examples = re.findall(r"^  python -m nnref ?(.*)$", text.partition("\nexamples:\n")[2], re.M)
    assert len(examples) >= 2
    for example in examples:
        arguments = example.split() or ["demo"]
        if "--help" not in arguments:
            cli._parser(arguments[0]).parse_args(arguments)


def test_the_console_script_does_what_the_module_does_and_says_its_own_name():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, function = scripts["nnref"].partition(":")
    code = f"import sys; from {module} import {function}; sys.exit({function}())"

    def script(*arguments):
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert script("data", "list").stdout == nnref_command("data", "list").stdout
    wrong = script("demo", "--epoch", "3")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert (
        wrong.stderr == "nnref: error: unrecognized arguments: --epoch 3 (try nnref demo --help)\n"
    )
    assert "\n  nnref train --model lenet" in script("--help").stdout
    assert "--tf32: only for" in script("--backend", "numpy", "--tf32").stderr


def test_help_imports_no_more_than_it_needs():
    """It appears at once: NumPy is imported to compute, matplotlib to draw."""
    code = (
        "import sys\nfrom nnref.__main__ import run\n"
        "sys.argv = ['nnref', *sys.argv[1:]]\n"
        "try:\n    run()\nexcept SystemExit:\n    pass\n"
        "print({'numpy', 'matplotlib'} & set(sys.modules))"
    )
    for arguments, imported in (["--help"], "set()"), (["train", "--help"], "{'numpy'}"):
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == imported


def _read(terminal) -> str:
    """What a terminal shows next; nothing once its last program has ended."""
    try:
        return os.read(terminal, 1000).decode(errors="replace")  # it may cut a character
    except OSError:  # as Linux says it
        return ""


def test_an_interrupt_ends_in_one_line_and_writes_nothing(tmp_path):
    here, there = os.openpty()  # a terminal, since there is no progress bar in a pipe
    termios.tcsetwinsize(here, (24, 100))
    process = subprocess.Popen(
        [sys.executable, "-m", "nnref", "--out", str(tmp_path)],
        cwd=ROOT,
        stderr=there,
        stdout=subprocess.DEVNULL,
        # a shell lets its background jobs ignore the signal, and a child inherits that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    os.close(there)
    while "%" not in _read(here):  # the progress bar: it is training
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    err = "".join(iter(lambda: _read(here), ""))
    assert process.wait(timeout=60) == 130
    assert err.endswith("nnref: interrupted\r\n")
    assert "Traceback" not in err
    assert os.listdir(tmp_path) == []


def test_train_prints_every_epoch_and_learns():
    result = nnref_command("train", "--model", "mlp", "--feedback", "sign-symmetry", "--epochs", 2)
    assert result.returncode == 0, result.stderr
    header, *lines, test = result.stdout.splitlines()
    assert re.fullmatch(re.escape(describe()) + r"; images: 9000 to train on, 1000 .*", header)
    assert re.fullmatch(r"test accuracy [\d.]+% on 2000 images, scored once", test)
    assert [line.split(":")[0] for line in lines] == ["epoch 1", "epoch 2"]
    pattern = r"training loss ([\d.]+), validation accuracy ([\d.]+)%, \d+ images/s"
    numbers = [re.search(pattern, line).groups() for line in lines]
    (first_loss, _), (second_loss, accuracy) = numbers
    assert float(second_loss) < float(first_loss)
    assert float(accuracy) > 80


def test_seeds_end_in_a_comparison_and_a_second_call_does_nothing_twice(tmp_path):
    words = ("train", "--model", "mlp", "--width", 0.05, "--seeds", 2, "--out", tmp_path / "a")
    first = nnref_command(*words, "--jobs", 2)
    assert first.returncode == 0, first.stderr
    assert re.search(r"^seed 0: test accuracy [\d.]+%$", first.stdout, re.MULTILINE)
    assert re.search(r"backprop +2 +[\d.]+ ± [\d.]+ +[\d.]+ ± [\d.]+ +\d+", first.stdout)
    assert (tmp_path / "a" / "compare.png").is_file()
    logs = [(tmp_path / "a" / f"seed-{seed}" / "log.jsonl").read_bytes() for seed in (0, 1)]
    second = in_this_process(*words, "--jobs", 1)
    assert second.stdout.count("already finished") == 2
    assert logs == [(tmp_path / "a" / f"seed-{s}" / "log.jsonl").read_bytes() for s in (0, 1)]
    assert second.stdout.splitlines()[-4:-1] == first.stdout.splitlines()[-4:-1]
    (tmp_path / "a" / "seed-1" / "result.json").write_text("{")
    broken = in_this_process("compare", tmp_path / "a", "--out", tmp_path / "b.png")
    assert (broken.returncode, broken.stderr.count("\n")) == (2, 1)
    assert "seed-1/result.json: damaged: " in broken.stderr


def test_gradcheck_and_a_settings_file_by_the_command_line(tmp_path):
    assert nnref_command("gradcheck", "lenet").returncode == 0
    (tmp_path / "run.toml").write_text('model = "mlp"\nwidth = 0.05\nlr = 0.5\n')
    out = tmp_path / "run"
    done = nnref_command("train", tmp_path / "run.toml", "--lr", 0.25, "--out", out)
    assert done.returncode == 0, done.stderr
    text = (out / "config.toml").read_text()
    assert "lr = 0.25 " in text and "width = 0.05 " in text


@pytest.fixture
def pets(tmp_path):
    tree = class_folders(("cat", "cow", "dog"), train=6, val=2)
    tree = {name: picture(size=(40, 32), seed=seed) for name, seed in tree.items()}
    return write_folder(tmp_path / "pets", tree)


def test_train_takes_class_folders(pets, tmp_path):
    result = nnref_command(
        "train", "--data", f"imagefolder:{pets}", "--size", 32, "--classes", 2, "--per-class", 4,
        "--model", "resnet20", "--width", 0.25, "--batch-size", 4, "--optimizer", "adam",
        "--last-feedback", "backprop", "--feedback", "feedback-alignment", "--lr", 0.001,
        XDG_CACHE_HOME=tmp_path / "cache",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert re.search("^epoch 1: training loss ", result.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "fish"], "--data: expected mnist-subset, mnist, cifar10 or imagefolder:PATH"),
        (["--data", "imagefolder:/nowhere"], "/nowhere: expected a folder, a .zip or a .tar"),
        (["--size", "32"], "--size: only for --data imagefolder:PATH"),
        (["--model", "vgg"], "--model: expected one of mlp, lenet, "),
        (["--feedback", "magic"], "--feedback: expected one of backprop, sign-symmetry, "),
        (["--width", "0"], "--width: expected a number above 0, at most 1000, found 0.0"),
        (["--lr", "-1"], "--lr: expected a number above 0, found -1.0"),
        (["--lr", "nan"], "--lr: expected a number above 0, found nan"),
        (["--lr", "fast"], "--lr: expected a number above 0, found 'fast'"),
        (
            ["--epochs", "1.5"],
            f"--epochs: expected {COUNT}, found '1.5'",
        ),
        (["--val", "1"], "--val: expected a number from 0 to below 1, found 1.0"),
        (["--schedule", "step:0"], "--schedule: expected constant, cosine, or step:EPOCHS"),
        (["--optimizer", "adam", "--momentum", "0.5"], "--momentum: only for --optimizer sgd"),
        (["--val", "0.99999"], "--val: expected to leave --batch-size 32 images to train on"),
        (["--val", "0.9999"], "to train on, found 0.9999, which leaves 1"),
        (["--batch-size", "20000"], "--batch-size: expected at most the 9000 images to train on"),
        (["--resume", "."], ".: expected the folder of a run, found no config.toml in it"),
        (["--resume", "a", "--out", "b"], "--resume: expected no --out or --seeds, found one"),
        (["--seeds", "2"], "--seeds: expected --out as well"),
        (["--jobs", "2"], "--jobs: expected --seeds as well"),
        (["none.toml"], "expected a file of settings (.toml), found"),
        (["--model", "alexnet"], "expected images of at least 29 x 29 pixels"),
    ],
)
def test_a_mistake_in_train_is_one_line_and_nothing_is_written(arguments, message, tmp_path):
    result = in_this_process("train", *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("nnref: error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert os.listdir(tmp_path) == []


def test_data_list_names_every_set_its_place_size_and_terms(tmp_path):
    result = nnref_command("data", "list", NNREF_DATA=tmp_path, XDG_CACHE_HOME=tmp_path)
    assert result.returncode == 0
    for words in ("mnist-subset:", "mnist:", "cifar10:", "tiny-imagenet-200:", "imagenette:"):
        assert words in result.stdout
    assert result.stdout.count("terms: ") == 6
    assert f"not in {tmp_path / 'cifar10'}, 170 MB to fetch" in result.stdout


def test_data_verify_writes_then_checks_a_manifest(pets):
    first = nnref_command("data", "verify", pets)
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == (
        f"{pets / 'SHA256SUMS'}: written, 24 hashes; later calls of verify compare with them\n"
    )
    damaged = pets / "val/cow/1.png"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    second = nnref_command("data", "verify", pets)
    assert second.returncode == 1
    assert second.stdout == (
        f"val/cow/1.png: changed\n{pets / 'SHA256SUMS'}: 24 files checked, 1 wrong\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data"], "the following arguments are required: list|fetch|verify"),
        (["data", "fetch", "fish"], "expected one of mnist, cifar10, tiny-imagenet-200"),
        (["data", "fetch", "imagenet"], "imagenet: cannot be downloaded without an account"),
        (["data", "verify", "/nowhere"], "/nowhere: expected a file or a folder, found nothing"),
    ],
)
def test_a_mistake_in_data_is_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.setenv("NNREF_DATA", str(tmp_path))
    result = in_this_process(*arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(36, "File name too long", "x.json"), "x.json: File name too long"),
        (PermissionError(13, "Permission denied", "a\nb"), "a\\nb: Permission denied"),
        (OSError("of a library"), "of a library"),
        (Notice("expected UTF-8"), "expected UTF-8"),
        (OverflowError("int too large"), "a number is too large: int too large"),
    ],
)
def test_what_nobody_foresaw_is_one_line(error, message, monkeypatch):
    def fail():
        raise error

    monkeypatch.setattr(doctor, "run", fail)
    result = in_this_process("doctor")
    assert (result.returncode, result.stderr) == (2, f"nnref: error: {message}\n")


LONG = "x" * 300  # no file can be called so


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "--out", LONG), ("train", "--resume", LONG), ("train", LONG), ("compare", LONG),
        ("train", "--model", "mlp", "--seeds", 2, "--jobs", 1, "--out", LONG),
        ("data", "verify", LONG), ("demo", "--json", LONG), ("bench", "--json", LONG),
        ("replicate", "akrout2019", "--cifar10", LONG), ("demo", "--out", LONG),
        ("train", "--val=--"), ("train", "--out=--"), ("demo", "--json=--"), ("train", "--out", ""),
        ("train", "--resume", ""), ("compare", ""), ("bench", "--width", "1e300"),
        ("bench", "--width", "nan"), ("bench", "--batch", "9" * 400), ("bench", "--jobs", 10**8),
        ("demo", "--epochs", "9" * 5000), ("train", "--seeds", 10**8, "--out", "a"),
        ("train", "--epochs", "9" * 400), ("train", "--schedule", f"step:{'9' * 400}"),
        ("train", "/dev/zero"), ("train", "a\nb\x1b.toml"), ("train", "--\x1b[31m" + LONG * 10),
    ],
    ids=lambda words: " ".join(map(str, words))[:30],
)  # fmt: skip
def test_odd_names_and_numbers_are_one_line_and_nothing_is_written(arguments, tmp_path):
    result = in_this_process(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("nnref: error: ") and line.isprintable() and len(line) < 1100
    assert os.listdir(tmp_path) == []


def test_every_option_that_is_a_path_finds_the_home_folder():
    paths = []
    for name in COMMANDS:
        (commands,) = cli._parser(name)._subparsers._group_actions
        for action in commands.choices[name]._actions:
            if action.metavar in ("DIR", "PATH", "PNG", "FILE.toml"):
                paths.append(f"{name} {action.dest}")
                assert action.type is place, paths[-1]
    assert len(paths) >= 10


@pytest.fixture
def two_results(tmp_path):
    """The folders of two runs that have ended, with nothing else in them."""
    for seed in (0, 1):
        result = record()
        result["settings"] |= {"seed": seed, "schedule": "constant"}
        (tmp_path / f"seed-{seed}").mkdir()
        (tmp_path / f"seed-{seed}" / "result.json").write_text(json.dumps(result))
    return tmp_path


def test_an_odd_environment_costs_neither_the_table_nor_the_figure(two_results):
    """A notebook's backend, a matplotlibrc, a terminal without Unicode."""
    (two_results / "matplotlibrc").write_text("text.usetex: True\n")
    done = nnref_command(
        "compare", ".", cwd=two_results, MPLBACKEND="module://of.a.notebook", PYTHONUTF8=0,
        PYTHONIOENCODING="ascii",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "87.5 ? 0.0" in done.stdout
    assert (two_results / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_a_result_goes_before_its_figure(two_results, monkeypatch):
    def no_font(_):
        raise RuntimeError("no font")

    monkeypatch.setattr(plots.runs, "comparison", no_font)
    done = in_this_process("compare", two_results, "--out", two_results / "a.png")
    assert done.returncode == 0 and "87.5 ± 0.0" in done.stdout
    assert done.stderr == (
        f"nnref: {two_results / 'a.png'}: cannot be drawn: RuntimeError: no font\n"
    )


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full disk")
@pytest.mark.parametrize("unbuffered", ["", "1"])  # the write fails, or the flush at the end
@pytest.mark.parametrize("arguments", [("data", "list"), ("--help",)])
def test_output_to_a_full_disk_is_one_line(arguments, unbuffered):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "nnref", *arguments], cwd=ROOT, stdout=full,
            stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "nnref: error: standard output: No space left on device\n"


def test_an_error_that_cannot_be_printed_is_seen_in_the_exit_status(monkeypatch):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "argv", ["nnref", "train", "--lr", "x"])
    monkeypatch.setattr(sys, "stderr", Full())
    assert __main__.run() == 2


def test_odd_names_of_places_are_printed_in_one_line_each(two_results):
    """Line feeds and colors in the names of folders and files that exist."""
    odd = two_results / "a\nb\x1b[31m"
    odd.mkdir()
    (two_results / "seed-0").rename(odd / "seed-0")
    for arguments, lines in (
        (("compare", odd, "--out", odd / "c.png"), 4),
        (("data", "verify", odd), 1),
        (("data", "verify", odd), 1),
    ):
        done = in_this_process(*arguments)
        found = done.stdout.splitlines()
        assert (done.returncode, done.stderr, len(found)) == (0, "", lines)
        assert all(line.isprintable() for line in found)
        assert "/a\\nb\\x1b[31m/" in found[-1]


def test_the_list_of_data_has_a_line_for_each_place(monkeypatch):
    usual = in_this_process("data", "list").stdout.splitlines()
    monkeypatch.setenv("NNREF_DATA", "/no/a\nb\x1b[31m")
    odd = in_this_process("data", "list").stdout.splitlines()
    assert len(odd) == len(usual)
    assert all(line.isprintable() for line in odd)


def test_an_interrupted_training_with_several_seeds_says_to_repeat_the_command(
    tmp_path, monkeypatch
):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(seeds, "repeat", interrupted)
    done = in_this_process("train", "--seeds", 2, "--jobs", 1, "--out", tmp_path)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "\nthe same command continues\nnnref: interrupted\n"


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="Ctrl-C cannot wait here")
def test_ctrl_c_during_the_imports_waits_for_their_end():
    done = []
    with pytest.raises(KeyboardInterrupt), interrupts_waiting():
        signal.raise_signal(signal.SIGINT)  # to this thread; at the imports there is no other
        done.append("imported")
    assert done == ["imported"]
