"""`python -m nnref doctor`: test the installation; if something fails, say why."""

import ctypes
import importlib.metadata
import os
import platform
import subprocess
import sys

import numpy as np
from threadpoolctl import threadpool_info

import nnref
from nnref import backend, models
from nnref.backend import cores, to_device, to_host
from nnref.data import catalog, mnist
from nnref.data.files.fetch import data_folder
from nnref.errors import InputError
from nnref.feedback import Sham
from nnref.optim import SGD, Adam
from nnref.tools import gradcheck
from nnref.train import evaluate, fit, train_step

LIBRARIES = ["numpy", "matplotlib", "pillow", "pooch", "threadpoolctl", "tqdm"]
WHEELS = {12: ("cuda12", "cupy-cuda12x"), 13: ("cuda13", "cupy-cuda13x")}  # by version of CUDA

FIRST_ON_A_GPU = "NNREF_BACKEND=cupy python -m pytest"  # every test, and so every kernel


def run() -> int:
    """Print what is installed and what works; return 0 if all that nnref needs works, else 1."""
    print(f"nnref {nnref.__version__}, Python {platform.python_version()}, {platform.platform()}")
    print(", ".join(f"{name} {_version(name) or 'missing'}" for name in LIBRARIES))
    for pool in threadpool_info():
        if pool["user_api"] == "blas":
            name = f"{pool['internal_api']} {pool['version']}"
            print(f"BLAS: {name}, threads: {pool['num_threads']}, cores to use: {cores()}")
    print(f"faster twins: {'on' if backend.twins() else 'off'} (NNREF_FAST=0 turns them off)")
    print(f"GPU: {gpu()}")
    print(f"    with a GPU, run this first, in a clone of nnref: {FIRST_ON_A_GPU}")
    print(f"data: {data()}")
    works = all(map(_version, LIBRARIES))
    print(f"self-test on {backend.describe()}:")
    for name, test in SELF_TESTS.items():
        try:
            found = test()
        except Exception as error:  # any error is a result to report
            works, found = False, f"FAILED: {type(error).__name__}: {error}"
        print(f"    {name}: {found}")
    print("all well" if works else "something is wrong: see above")
    return 0 if works else 1


def gpu() -> str:
    """Say whether a GPU is usable; if not, what is missing and what to install."""
    version = driver_cuda()
    if version is None:
        return "none usable: no NVIDIA driver found"
    driver = f"driver for CUDA {version // 1000}.{version % 1000 // 10}"
    fitting = [wheel for major, wheel in WHEELS.items() if major <= version // 1000]
    if not fitting:
        return f"none usable: {driver}, expected 12.0 or newer: update the driver"
    extra, wheel = fitting[-1]
    installed = [name for _, name in WHEELS.values() if _version(name)]
    if not installed:
        return f"none usable: {driver}, but no CuPy: pip install -e '.[{extra}]'"
    if installed != [wheel] and installed[0] not in [name for _, name in fitting]:
        return (
            f"none usable: {driver} is too old for {installed[0]}: "
            f"pip uninstall {installed[0]}, then pip install -e '.[{extra}]'"
        )
    code = "import nnref.backend as b; print(b.describe())"
    environment = {**os.environ, "NNREF_BACKEND": "cupy"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return f"none usable: {driver}, {installed[0]}: {last}"
    return f"{done.stdout.strip()}, {driver}: --backend cupy uses it"


def driver_cuda() -> int | None:
    """The newest CUDA that the NVIDIA driver supports, as 1000 major + 10 minor; else None."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    version = ctypes.c_int()
    try:
        failed = ctypes.CDLL(name).cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return None
    return None if failed else version.value


def data() -> str:
    """The names of the data sets in nnref's data folders."""
    try:
        found = [name for name in catalog.DATA_SETS if data_folder(name).is_dir()]
    except (InputError, OSError) as error:
        return f"mnist-subset ({error})"
    return ", ".join(["mnist-subset", *found]) + " (python -m nnref data list says more)"


def _version(name) -> str | None:
    """The version of an installed package."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _digits(count=256):
    """The first digits of the shipped subset, on the device, and their labels."""
    train, _ = mnist.load_subset()
    return to_device(train.images[:count]), train.labels[:count]


def gradients() -> str:
    """Compare the gradients of a LeNet with finite differences of the loss."""
    error = gradcheck.check(models.lenet(), *_digits(8), show=lambda line: None)
    return f"relative difference {error:.0e}, ok"


def twins() -> str:
    """Compare a training step with the faster twins and without."""
    x, labels = _digits(64)
    x = x.astype("float64")
    fast, plain = (models.resnet20((28, 28, 1), dtype="float64") for _ in range(2))
    train_step(fast, SGD(fast, 0.1), x, labels)
    with backend.plainly():
        train_step(plain, SGD(plain, 0.1), x, labels)
    pairs = zip(_parameters(fast), _parameters(plain), strict=True)
    error = max(float(abs(a - b).max()) for a, b in pairs)
    return _expect(error < 1e-9, f"after a step, weights differ by {error:.0e}")


def sham() -> str:
    """Compare B = a copy of W with B = W, bit for bit."""
    x, labels = _digits()
    exact, copied = models.lenet(), models.lenet(feedback=Sham())
    for model in (exact, copied):
        train_step(model, SGD(model, 0.1), x, labels)
    same = map(np.array_equal, map(to_host, _parameters(exact)), map(to_host, _parameters(copied)))
    return _expect(all(same), "the same weights")


def learning() -> str:
    """Train on digits for one epoch."""
    train, test = mnist.load_subset()
    model = models.mlp([256, 128])
    fit(model, Adam(model, 0.003), train)
    _, accuracy = evaluate(model, test)
    return _expect(accuracy > 0.85, f"{accuracy:.0%} right")


def _parameters(model):
    return [param for layer in model.walk() for param in layer.params.values()]


def _expect(right: bool, found: str) -> str:
    """`found`, marked ok. Raises InputError if `right` is false."""
    if not right:
        raise InputError(found)
    return f"{found}, ok"


SELF_TESTS = {
    "gradients of a LeNet, against a finite difference": gradients,
    "faster twins, against the code that they replace": twins,
    "B = a copy of W, against B = W, bit for bit": sham,
    "learning digits, one epoch": learning,
}
