"""The benchmarks of jobs and of ranks: what they print is what they measured."""

import json
import subprocess
import sys

import pytest
from test_ranks import environment, with_mpi

from nnref import models
from nnref.optim import SGD
from nnref.parallel import cost
from nnref.parallel.ranks import Averaged, World
from nnref.tools import bench_jobs, bench_ranks


def test_jobs_side_by_side_are_timed_against_one_after_the_other(monkeypatch, capsys):
    monkeypatch.setattr(bench_jobs, "ROUNDS", 2)
    monkeypatch.setattr(bench_jobs, "TRAINING_S", 0.1)
    pools, Processes = [], bench_jobs.Processes

    def noted(count, threads):
        pools.append((count, threads))
        return Processes(count, threads)

    monkeypatch.setattr(bench_jobs, "Processes", noted)
    record = bench_jobs.run(["lenet"], 2, batch=8, width=0.5)
    (row,) = record["models"]
    assert pools == [(2, 1), (1, 2)]  # processes, threads of each
    assert row["ratio_from"] <= row["ratio"] <= row["ratio_to"]
    assert row["ratio"] == record["ratio"] and record["start_s"] > 0
    assert (row["jobs"], row["batch"], row["steps"] % bench_jobs.BATCHES) == (2, 8, 0)
    lines = capsys.readouterr().out.splitlines()
    assert f"{row['ratio']:.2f}" in next(line for line in lines if line.startswith("lenet"))
    assert lines[-1].startswith(f"geometric mean: {record['ratio']:.2f}; 2 processes start in ")
    assert json.loads(json.dumps(record)) == record


def test_ranks_are_timed_with_and_without_averaging(monkeypatch, capsys):
    monkeypatch.setattr(bench_ranks, "BLOCK_S", 0.01)
    record = bench_ranks.run(["lenet"], World(), batch=4, width=0.5)
    (row,) = record["models"]
    model = models.lenet(width=0.5)
    assert (
        row["bytes"]
        == cost.step_bytes(model)
        == 4 * Averaged(SGD(model, 0.1), model, World()).buffer.size
    )
    assert row["images_per_s"] == pytest.approx(4 / (row["averaged_ms"] / 1e3))
    assert 0 < row["efficiency"] < 3
    assert f"{row['step_ms']:.1f}" in capsys.readouterr().out


@with_mpi
def test_two_ranks_print_one_table(tmp_path):
    command = ["mpiexec", "-n", "2", sys.executable, "-m", "mpi4py", "-m", "nnref", "bench"]
    words = ["--models", "lenet", "--batch", "2", "--json", str(tmp_path / "b.json")]
    done = subprocess.run(
        [*command, *words], env=environment(), capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("lenet") == 1
    (row,) = json.loads((tmp_path / "b.json").read_text())["models"]
    assert row["ranks"] == 2 and row["sum_ms"] > 0


def test_an_all_reduce_costs_nearly_two_buffers_whatever_the_number_of_ranks():
    """By hand: 100 MB between 2 and 4 ranks over 8 Gbit/s, without and with a latency."""
    assert cost.all_reduce_seconds(100_000_000, 2, 8e9, 0) == pytest.approx(0.1)
    assert cost.all_reduce_seconds(100_000_000, 4, 8e9, 0) == pytest.approx(0.15)
    assert cost.all_reduce_seconds(100_000_000, 4, 8e9, 0.01) == pytest.approx(0.19)
    assert cost.all_reduce_seconds(10**8, 10**6, 8e9, 0) == pytest.approx(0.2, rel=1e-5)
    assert cost.efficiency(0.15, 100_000_000, 4, 8e9) == pytest.approx(0.5, rel=2e-3)
    small = 0.01 / (0.01 + 4 * 2 * 3 * cost.LATENCY_S)  # eight ranks, next to no gradients
    assert cost.efficiency(0.01, 1, 8, 8e9) == pytest.approx(small, rel=1e-4)
    assert cost.all_reduce_seconds(10**8, 1, 8e9) == 0
