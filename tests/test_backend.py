"""The choice of the array library, and that no module but backend.py knows of it."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from test_house import MODULES, imports

import nnref
from nnref.__main__ import choose_backend
from nnref.backend import blas_libraries, one_blas_thread, set_blas_threads, to_device, to_host, xp
from nnref.errors import InputError

PACKAGE = Path(nnref.__file__).parent


def run_with(backend, *command):
    environment = {**os.environ, "NNREF_BACKEND": backend}
    return subprocess.run(
        [sys.executable, *command],
        env=environment,
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.skipif(xp is not np, reason="another backend was asked for")
def test_numpy_is_the_default():
    array = np.arange(3.0)
    assert to_device(array) is array
    assert to_host(array) is array


def test_an_unknown_backend_is_one_line():
    result = run_with("torch", "-m", "nnref")
    assert result.returncode == 2
    assert result.stderr == ("nnref: error: NNREF_BACKEND: expected numpy or cupy, found 'torch'\n")


def test_cupy_without_a_gpu_is_one_line_that_says_what_to_install():
    try:
        import cupy

        if cupy.cuda.is_available():
            pytest.skip("this machine has a usable GPU")
    except ImportError:
        pass
    result = run_with("cupy", "-m", "nnref")
    assert result.returncode == 2
    assert result.stderr.startswith("nnref: error: NNREF_BACKEND=cupy: CuPy ")
    assert "pip install 'cupy-cuda12x[ctk]'" in result.stderr
    assert result.stderr.count("\n") == 1


def test_cupy_that_imports_but_finds_no_driver_is_one_line(tmp_path):
    """The wheels import without a driver; this stand-in does as they do."""
    (tmp_path / "cupy.py").write_text(
        "class cuda:\n    is_available = staticmethod(lambda: False)\n"
    )
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import nnref.backend"
    result = run_with("cupy", "-c", code)
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"{InputError.__module__}.InputError: NNREF_BACKEND=cupy: CuPy finds no")


def test_only_backend_imports_cupy_and_only_the_benchmark_torch():
    for name, path in MODULES.items():
        roots = {imported.split(".")[0] for imported in imports(path)}
        assert "torch" not in roots or name == "nnref.tools.bench", name
        assert "cupy" not in roots or name == "nnref.backend", name
        assert "cupy." not in path.read_text() or name == "nnref.backend", name


@pytest.mark.parametrize(
    ("arguments", "backend", "tf32"),
    [
        (["demo", "--backend", "cupy", "--tf32"], "cupy", "1"),
        (["demo", "--backend=cupy"], "cupy", None),
        (["demo", "--tf32"], None, "1"),
        (["demo", "--backend", "magic"], None, None),  # refused later, with the other options
    ],
)
def test_backend_and_tf32_are_in_the_environment_before_anything_is_imported(
    arguments, backend, tf32, monkeypatch
):
    for name in ("NNREF_BACKEND", "CUPY_TF32"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    choose_backend(arguments)
    assert os.environ.get("NNREF_BACKEND") == backend
    assert os.environ.get("CUPY_TF32") == tf32


@pytest.mark.parametrize(("value", "on"), [("1", True), ("0", False), ("", False), (None, False)])
def test_tf32_is_on_where_cupy_computes_and_its_variable_says_so(value, on, monkeypatch):
    monkeypatch.setenv("CUPY_TF32", value or "")
    monkeypatch.setattr(nnref.backend, "xp", object())  # any library but NumPy
    assert nnref.backend.tf32() is on
    monkeypatch.setattr(nnref.backend, "xp", np)
    assert nnref.backend.tf32() is False


@pytest.mark.parametrize(
    ("tf32", "flags"), [("", " --backend cupy"), ("1", " --backend cupy --tf32")]
)
def test_the_flags_of_a_recorded_command_say_what_computed(tf32, flags, monkeypatch):
    monkeypatch.setenv("CUPY_TF32", tf32)
    monkeypatch.setattr(nnref.backend, "xp", object())
    assert nnref.backend.flags() == flags
    monkeypatch.setattr(nnref.backend, "xp", np)
    assert nnref.backend.flags() == ""


@pytest.fixture
def blas_threads():
    """Calling it returns BLAS's numbers of threads, which are 2 at first."""
    before = [library.get_num_threads() for library in blas_libraries()]
    set_blas_threads([2] * len(before))
    yield lambda: {library.get_num_threads() for library in blas_libraries()}
    set_blas_threads(before)


@pytest.mark.skipif(not blas_libraries(), reason="no BLAS that can be told")
def test_blas_has_one_thread_until_the_last_of_overlapping_contexts_ends(blas_threads):
    first, second = one_blas_thread(), one_blas_thread()
    assert blas_threads() == {2}
    first.__enter__()
    second.__enter__()
    assert blas_threads() == {1}
    first.__exit__(None, None, None)
    assert blas_threads() == {1}
    second.__exit__(None, None, None)
    assert blas_threads() == {2}


@pytest.mark.skipif(not blas_libraries(), reason="no BLAS that can be told")
def test_every_thread_can_set_the_number_not_only_the_first_that_did(blas_threads):
    seen = []

    def inside():
        with one_blas_thread():
            seen.append(blas_threads())
        seen.append(blas_threads())

    inside()
    other = threading.Thread(target=inside)
    other.start()
    other.join()
    assert seen == [{1}, {2}] * 2
