"""The benchmark: what it counts, what it prints, and that it imports PyTorch only when asked to."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_cli import in_this_process

import nnref
from nnref import cli
from nnref.backend import xp
from nnref.commands import bench as command
from nnref.errors import InputError

bench = pytest.importorskip("nnref.tools.bench", reason="the folder nnref/fast is gone")

ROOT = Path(nnref.__file__).parent.parent


@pytest.fixture
def brief(monkeypatch):
    """One block of three steps for each kind."""
    monkeypatch.setattr(bench, "ROUNDS", 1)
    monkeypatch.setattr(bench, "BLOCK_S", 0.0)
    monkeypatch.setattr(bench, "PAUSE_S", 0.0)


def make(name):
    network, shape, _ = bench.CASES[name]
    return network(input_shape=shape, classes=10, width=1), shape


def test_the_work_of_an_mlp_by_hand():
    """Three products of every W but the first, which sends no error; a product counts twice."""
    weights = [784 * 1000, 1000 * 1000, 1000 * 10]
    model, shape = make("mlp")
    assert bench.least_work(model, shape, 128)[0] == 2 * 128 * (3 * sum(weights) - weights[0])


def test_the_work_of_convolutions_and_local_connections_by_hand():
    conv1, conv2 = 28 * 28 * 25 * 6, 10 * 10 * 150 * 16
    rest = 400 * 120 + 120 * 84 + 840
    model, shape = make("lenet")
    assert bench.least_work(model, shape, 1)[0] == 2 * (3 * (conv1 + conv2 + rest) - conv1)
    local = [256 * 75 * 32, 64 * 800 * 64, 64 * 576 * 64, 4096 * 512, 5120]
    model, shape = make("locally-connected")
    assert bench.least_work(model, shape, 1)[0] == 2 * (3 * sum(local) - local[0])


def test_a_row_for_each_rule_with_what_the_record_promises(brief, capsys):
    record = bench.run(["lenet"], against_torch=False, batch=8)
    assert [row["rule"] for row in record["models"]] == ["bp", "ss", "fa"]
    for row in record["models"]:
        assert {"model", "rule", "batch", "step_ms", "images_per_s", "gemm_share"} <= set(row)
        assert row["batch"] == 8
        assert row["images_per_s"] == pytest.approx(8000 / row["step_ms"])
        assert row["step_ms"] <= row["median_ms"]
        assert 0 < row["gemm_share"] < 1
        assert "ratio" not in row
        if sys.platform == "linux":
            assert 1 < row["peak_mb"] < 1000
    assert json.loads(json.dumps(record)) == record
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("lenet")]) == 3
    assert record["machine"]["threads"] >= 1


def test_a_wider_network_does_more_work():
    network, shape, _ = bench.CASES["lenet"]
    work = [bench.least_work(network(input_shape=shape, width=w), shape, 4)[0] for w in (1, 2)]
    assert 3 < work[1] / work[0] < 4


def test_a_process_that_cannot_measure_its_memory_is_one_line():
    with pytest.raises(InputError, match=r"^bench: the memory of fish in nnref could not .*fish"):
        bench.peak_mb("fish", "nnref", 2, 1)


def test_ranks_take_no_option_of_one_process(monkeypatch):
    monkeypatch.setattr(command.ranks, "started", lambda: True)
    for option in (["--jobs", "2"], ["--against", "torch"]):
        with pytest.raises(InputError, match=r"^mpiexec: expected neither --jobs nor --against"):
            cli.main(["bench", *option])


@pytest.mark.parametrize("against_torch", [True, False])
def test_every_number_of_a_row_stands_under_its_name(against_torch):
    row = {
        "model": "resnet18-cifar", "rule": "bp", "batch": 32, "step_ms": 1234.5,
        "median_ms": 1300.1, "images_per_s": 25.0, "gflop_per_s": 100.1, "gemm_share": 0.9,
        "peak_mb": 999.0,
    }  # fmt: skip
    if xp is not np:
        row |= {"gb_per_s": 812.0, "copy_share": 0.4}
    if against_torch:
        row |= {"ratio": 1.01, "ratio_from": 0.9, "ratio_to": 1.2}
    names, numbers = bench.header(against_torch), bench.as_line(row)
    for name in ("step ms", "of GEMM", "peak MB", "of copy"):
        names = names.replace(name, name.replace(" ", "_"))
    ends = [[found.end() for found in re.finditer(r"\S+", line)] for line in (names, numbers)]
    count = 9 if xp is np else 11
    assert ends[0][1:count] == ends[1][1:count]
    assert (len(ends[0]), "ratio" in names) == (count + against_torch, against_torch)
    assert not against_torch or names.index("ratio") == numbers.index("1.01")


def test_torch_is_imported_only_when_asked_for():
    code = "import sys, nnref.tools.bench; print('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.stdout == b"False\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "lenet,fish"], "--models: expected one of demo, mlp, lenet, "),
        (["--against", "jax"], "argument --against: invalid choice: 'jax'"),
        (["--jobs", "2", "--against", "torch"], "--jobs: expected no --against"),
        (["--batch", "1"], "expected a whole number from 2 to 1,000,000,000, found '1'"),
        (["--json", "missing/b.json"], "missing/b.json: the folder missing does not exist"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, tmp_path):
    result = in_this_process("bench", *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.oracle
@pytest.mark.parametrize("name", [name for name in bench.CASES if name != "locally-connected"])
def test_pytorchs_copy_has_the_same_parameters(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    model, _ = make(name)
    ours = [param.size for layer in model.walk() for param in layer.params.values()]
    theirs = [param.numel() for param in bench.as_torch(model, torch.nn).parameters()]
    assert theirs == ours


@pytest.mark.oracle
def test_against_pytorch_a_row_has_the_ratio_and_its_spread(brief):
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    for row in bench.measure("lenet", True, batch=8):
        assert row["ratio_from"] <= row["ratio"] <= row["ratio_to"]
        assert row["ratio"] == pytest.approx(row["torch_ms"] / row["step_ms"], rel=1e-6)
