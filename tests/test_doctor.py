"""The doctor: its self-tests pass, notice what is broken, and GPUs get the advice that fits."""

import os
import re

import pytest
from test_cli import in_this_process, nnref_command
from test_house import ROOT

from nnref import feedback
from nnref.data.files import fetch
from nnref.feedback import Sham
from nnref.tools import doctor


def test_a_healthy_machine_is_told_so(tmp_path):
    result = nnref_command("doctor", cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    for word in ("numpy", "BLAS", "GPU: ", "data: mnist-subset", "faster twins: "):
        assert word in result.stdout
    assert result.stdout.count("NNREF_BACKEND=cupy python -m pytest\n") == 1
    assert len(re.findall(", ok$", result.stdout, re.MULTILINE)) == len(doctor.SELF_TESTS)
    assert result.stdout.endswith("all well\n")


def test_a_failing_self_test_is_named_and_ends_with_status_1(monkeypatch, capsys):
    monkeypatch.setattr(Sham, "__call__", lambda self, W: 2 * W)
    monkeypatch.setattr(doctor, "SELF_TESTS", {"sham": doctor.sham, "slope": doctor.gradients})
    assert doctor.run() == 1
    output = capsys.readouterr().out
    assert "sham: FAILED: InputError: the same weights" in output
    assert "slope: relative difference" in output
    assert output.endswith("something is wrong: see above\n")


def test_a_user_without_a_home_is_told_so_and_the_rest_works(monkeypatch):
    def no_home(_):
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr(fetch.pooch, "os_cache", no_home)
    assert re.fullmatch(r"mnist-subset \(.*no home folder: set HOME or .*\)", doctor.data())
    listed = in_this_process("data", "fetch", "mnist")
    assert (listed.returncode, listed.stderr.count("\n")) == (2, 1)
    assert "no home folder: set HOME or " in listed.stderr


def test_data_lie_in_the_home_folder_where_the_environment_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NNREF_DATA", "~/data")  # as in a Dockerfile, where no shell expands it
    assert fetch.data_folder("mnist") == tmp_path / "data" / "mnist"


def test_wrong_gradients_are_noticed(monkeypatch):
    monkeypatch.setattr(feedback.Backprop, "__call__", lambda self, W: 1.01 * W)
    with pytest.raises(AssertionError, match=r"^Linear\(84, 10\): the error"):
        doctor.gradients()


@pytest.mark.parametrize(
    ("driver", "installed", "advice"),
    [
        (None, [], "no NVIDIA driver found"),
        (11080, [], "driver for CUDA 11.8, expected 12.0 or newer"),
        (12040, [], "driver for CUDA 12.4, but no CuPy: pip install -e '.[cuda12]'"),
        (13000, [], "driver for CUDA 13.0, but no CuPy: pip install -e '.[cuda13]'"),
        (12040, ["cupy-cuda13x"], "too old for cupy-cuda13x: pip uninstall cupy-cuda13x"),
    ],
)
def test_a_gpu_that_is_not_usable_is_told_why(driver, installed, advice, monkeypatch):
    monkeypatch.setattr(doctor, "driver_cuda", lambda: driver)
    monkeypatch.setattr(doctor, "_version", lambda name: "14.0" if name in installed else None)
    assert advice in doctor.gpu()


def test_what_cupy_itself_says_is_passed_on(monkeypatch, tmp_path):
    """A driver and a wheel that fit, but CuPy sees no GPU."""
    (tmp_path / "cupy.py").write_text("class cuda:\n    is_available = lambda: False\n")
    monkeypatch.setattr(doctor, "driver_cuda", lambda: 13000)
    monkeypatch.setattr(doctor, "_version", lambda name: "14.0" if name == "cupy-cuda13x" else None)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    found = doctor.gpu()
    assert found.startswith("none usable: driver for CUDA 13.0, cupy-cuda13x: ")
    assert "CuPy finds no usable GPU" in found
    (tmp_path / "cupy.py").write_text("import os\nos._exit(139)\n")  # without a word
    assert doctor.gpu().endswith("cupy-cuda13x: exit status 139")
