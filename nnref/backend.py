"""The array library, chosen once per process: NumPy on the CPU or CuPy on a GPU.

Every other module writes `from nnref.backend import xp` and works with either of the two.
Set the environment variable NNREF_BACKEND to `numpy` (the default) or `cupy` before you start;
`python -m nnref COMMAND --backend cupy` does it for you.
"""

import contextlib
import functools
import importlib
import os
import platform
import sys
import threading

import numpy as np
from threadpoolctl import ThreadpoolController, threadpool_info

from nnref import __version__
from nnref.errors import InputError

INSTALL_HINT = (
    "install the one that fits the driver, pip install 'cupy-cuda12x[ctk]' or 'cupy-cuda13x[ctk]' "
    "(never plain cupy), or set NNREF_BACKEND=numpy"
)


def accelerated(function):
    """Mark a function for which nnref/fast may have a faster twin that computes the same.

    The twin is found by name, such as "Conv2d.forward". It sets the same attributes, and returns
    NotImplemented where it would not be faster, as for small arrays: then the function itself runs.
    NNREF_FAST=0 in the environment turns all twins off.
    """

    @functools.wraps(function)
    def dispatch(*arguments, **named):
        twin = None if _plain else twins().get(function.__qualname__)
        result = NotImplemented if twin is None else twin(*arguments, **named)
        return function(*arguments, **named) if result is NotImplemented else result

    return dispatch


_plain = 0  # number of `plainly` contexts that are open


@contextlib.contextmanager
def plainly():
    """Use no twin inside this context: every function runs as it is written."""
    global _plain
    _plain += 1
    try:
        yield
    finally:
        _plain -= 1


@functools.cache
def twins() -> dict:
    """The twins by name; none if they are turned off, or the folder nnref/fast is missing."""
    if os.environ.get("NNREF_FAST") == "0":
        return {}
    try:
        return importlib.import_module(f"nnref.fast.{'cpu' if xp is np else 'gpu'}").TWINS
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("nnref.fast"):
            raise
        return {}


def _load(name):
    """The array module called `name`; InputError if there is none or it finds no usable GPU."""
    if name == "numpy":
        return np
    if name != "cupy":
        raise InputError(f"NNREF_BACKEND: expected numpy or cupy, found {name!r}")
    try:
        import cupy
    except ImportError as error:
        raise InputError(f"NNREF_BACKEND=cupy: CuPy is missing ({error}); {INSTALL_HINT}") from None
    if not cupy.cuda.is_available():  # the wheels import without a driver, so ask
        raise InputError(f"NNREF_BACKEND=cupy: CuPy finds no usable GPU; {INSTALL_HINT}")
    return cupy


xp = _load(os.environ.get("NNREF_BACKEND") or "numpy")


def cores() -> int:
    """The number of cores this process may use, by its affinity and its container's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with contextlib.suppress(OSError, ValueError):
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
        count = min(count, max(1, int(quota) // int(period)))
    return count


def thread_count() -> int:
    """How many threads compute and load images: NNREF_THREADS, or all cores."""
    wanted = os.environ.get("NNREF_THREADS")
    if wanted:
        if not wanted.isdecimal() or int(wanted) < 1:
            raise InputError(f"NNREF_THREADS: expected a whole number from 1, found {wanted!r}")
        return int(wanted)
    return cores()


@functools.cache
def blas_libraries() -> list:
    """The BLAS libraries that are loaded; each can be asked for its number of threads and told."""
    return ThreadpoolController().select(user_api="blas").lib_controllers


def set_blas_threads(counts: list):
    """Give each of these libraries its number of threads."""
    for library, count in zip(blas_libraries(), counts, strict=True):
        # Of threadpoolctl 3.8, the first thread that sets OpenBLAS's number is the only one that
        # can, while it lives; for all others nothing happens, in silence.
        let_go = getattr(library, "clear_controlling_thread", lambda force: None)
        let_go(force=True)
        library.set_num_threads(count)
        let_go(force=True)


_open, _before = 0, []  # contexts of `one_blas_thread` that are open; the numbers before the first


def _new_lock():
    """A new lock: a thread that held the old one is not copied by a fork, and cannot release it."""
    global _counting
    _counting = threading.Lock()


_new_lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)


@contextlib.contextmanager
def one_blas_thread():
    """Limit BLAS to the thread that calls it, inside this context.

    On small networks a second thread gains nothing, and on a busy machine, or beside another
    training, it loses much; nnref/fast divides large work among threads itself.

    The process has one number for all of its threads. So contexts that overlap, in threads that
    train side by side, are counted: the first one sets the number, the last one puts it back.
    """
    global _open, _before
    with _counting:
        if not _open:
            _before = [library.get_num_threads() for library in blas_libraries()]
            if any(count != 1 for count in _before):
                set_blas_threads([1] * len(_before))
        _open += 1
    try:
        yield
    finally:
        with _counting:
            _open -= 1
            if not _open and any(count != 1 for count in _before):
                set_blas_threads(_before)


def tf32() -> bool:
    """Whether the GPU rounds factors to 10 bits (TF32), as CuPy does if CUPY_TF32 is 1."""
    return xp is not np and os.environ.get("CUPY_TF32", "0") not in ("", "0")


def describe() -> str:
    """The array library, its version and device, and whether TF32 is on; the number of cores."""
    return f"{library()}, cores: {cores()}" if xp is np else library()


def library() -> str:
    """The array library, its version, and the GPU with its TF32: what numbers depend on."""
    if xp is np:
        return f"NumPy {np.__version__}"
    name = xp.cuda.runtime.getDeviceProperties(xp.cuda.Device().id)["name"].decode()
    return f"CuPy {xp.__version__}, {name}, TF32 {'on' if tf32() else 'off'}"


def flags() -> str:
    """The flags of the command line for this device: "", or " --backend cupy" and " --tf32"."""
    if xp is np:
        return ""
    return " --backend cupy --tf32" if tf32() else " --backend cupy"


def versions() -> dict:
    """The versions, the machine and the linear algebra that results depend on."""
    blas = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return {
        "nnref": __version__,
        "python": platform.python_version(),
        xp.__name__: xp.__version__,
        "computes": describe(),
        "machine": f"{sys.platform} {platform.machine()}",
        "blas": [f"{pool['internal_api']} {pool['version']}" for pool in blas],
    }


def to_device(array):
    """Move a NumPy array to where the network computes (the array itself under NumPy)."""
    return xp.asarray(array)


def to_host(array) -> np.ndarray:
    """Bring an array back as NumPy; on a GPU this waits for the device, so call it rarely."""
    return array.get() if hasattr(array, "get") else np.asarray(array)
