"""A strict stand-in for CuPy, on a machine without a GPU: what CuPy refuses, it refuses too.

An array of it wraps one of NumPy, and never turns into one by itself: no implicit conversion, no
operation on both, reductions have 0-d arrays. It counts what crosses between host and device: in
`copies` ("in" and "out"), where float(), bool(), int(), .item() and .get() go out. A RawModule is
compiled by the machine's C++ compiler, and its threads run one after the other.

`NNREF_STAND_IN=1 python -m pytest` runs all tests on it.
"""

import contextlib
import copy
import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path

import numpy as np

copies = {"in": 0, "out": 0}
COMPILER = shutil.which("g++") or shutil.which("clang++")


class ndarray:
    """Device memory: only functions of this module, and operators, can look inside."""

    __array_ufunc__ = None  # NumPy's functions and operators refuse it
    __array_priority__ = 1000

    def __init__(self, host):
        self._host = host

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Use .get().")

    def get(self):
        copies["out"] += 1
        return self._host.copy()

    def set(self, host, stream=None):
        if not isinstance(host, np.ndarray):
            raise TypeError(f"expected an array of NumPy, found {type(host)}")
        copies["in"] += 1
        self._host[...] = host

    def item(self):
        copies["out"] += 1
        return self._host.item()

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self._host.ctypes.data)

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return (ndarray(np.asarray(item)) for item in self._host)

    def __getitem__(self, key):
        return wrap(self._host[unwrap(key)])

    def __setitem__(self, key, value):
        self._host[unwrap(key)] = unwrap(value)

    def __deepcopy__(self, memo):
        return ndarray(self._host.copy())

    def __repr__(self):
        return f"standin({self._host!r})"

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        value = getattr(self._host, name)
        if callable(value) and not isinstance(value, np.ndarray | np.flatiter):
            return on_device(value)
        return wrap(value)


def wrap(value):
    """A result of NumPy as CuPy would give it: arrays and NumPy's scalars live on the device."""
    if isinstance(value, np.ndarray | np.generic):
        return ndarray(np.asarray(value))
    if isinstance(value, tuple | list):
        return type(value)(wrap(item) for item in value)
    return value


def unwrap(value):
    """An argument for NumPy; an array of the host is refused, as CuPy does."""
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, tuple | list):
        return type(value)(unwrap(item) for item in value)
    return value


def on_device(function):
    """A function of NumPy for arrays of the device."""

    @functools.wraps(function)
    def call(*arguments, **named):
        named = {name: unwrap(value) for name, value in named.items()}
        return wrap(function(*(unwrap(value) for value in arguments), **named))

    return call


def _operator(name):
    def operate(self, other):
        result = getattr(self._host, name)(unwrap(other))
        return result if result is NotImplemented else wrap(result)

    return operate


def _in_place(name):
    def operate(self, other):
        getattr(self._host, name)(unwrap(other))
        return self

    return operate


def _convert(name):
    def convert(self):
        copies["out"] += 1
        return getattr(self._host, name)()

    return convert


for _name in [
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "matmul",
    "and",
    "or",
    "xor",
]:
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))
    setattr(ndarray, f"__r{_name}__", _operator(f"__r{_name}__"))
    setattr(ndarray, f"__i{_name}__", _in_place(f"__i{_name}__"))
for _name in ["lt", "le", "gt", "ge", "eq", "ne"]:
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))
for _name in ["neg", "pos", "abs", "invert"]:
    setattr(
        ndarray,
        f"__{_name}__",
        lambda self, _name=_name: wrap(getattr(self._host, f"__{_name}__")()),
    )
for _name in ["float", "int", "bool", "index"]:
    setattr(ndarray, f"__{_name}__", _convert(f"__{_name}__"))
ndarray.__hash__ = None


def asarray(value, dtype=None):
    """The only way in."""
    if isinstance(value, ndarray):
        return value if dtype is None else value.astype(dtype)
    copies["in"] += 1
    return ndarray(np.array(value, dtype))


class RawModule:
    """CUDA source in which no thread waits for another, run thread by thread."""

    def __init__(self, code, options=()):
        if COMPILER is None:
            raise RuntimeError("the stand-in compiles kernels with g++ or clang++, and finds none")
        kernels = re.findall(r"__global__ void (\w+)\(([^)]*)\)", code)
        assert "__shared__" not in code and "__syncthreads" not in code
        self.parameters = {name: list(map(_parameter, text.split(","))) for name, text in kernels}
        loops = "".join(self._loop(name, text) for name, text in kernels)
        self.real = np.float32 if "-DREAL=float" in options else np.float64
        self.library = ctypes.CDLL(str(_compiled(PRELUDE + code + loops, tuple(options))))

    def _loop(self, name, text):
        names = ", ".join(name for _, name in self.parameters[name])
        return (
            f'extern "C" void run_{name}(unsigned grid, unsigned block, {text}) {{\n'
            "    blockDim.x = block;\n"
            "    for (blockIdx.x = 0; blockIdx.x < grid; blockIdx.x++)\n"
            "        for (threadIdx.x = 0; threadIdx.x < block; threadIdx.x++)\n"
            f"            {name}({names});\n}}\n"
        )

    def get_function(self, name):
        function, parameters = self.library[f"run_{name}"], self.parameters[name]

        def launch(grid, block, arguments):
            assert len(grid) == len(block) == 1 and grid[0] > 0 and 0 < block[0] <= 1024
            assert len(arguments) == len(parameters), f"{name}: {len(arguments)} arguments"
            pairs = zip(arguments, parameters, strict=True)
            sent = [_sent(argument, *kind, self.real) for argument, kind in pairs]
            function(ctypes.c_uint(grid[0]), ctypes.c_uint(block[0]), *sent)

        return launch


PRELUDE = """
#include <cmath>
using std::exp; using std::log; using std::sqrt;
#define __global__
#define __device__
struct Place { unsigned x; };
static thread_local Place blockIdx, blockDim, threadIdx;
struct float2 { float x, y; };
struct float4 { float x, y, z, w; };
"""


def _parameter(text):
    """(type, name) of a declared parameter."""
    kind, name = re.fullmatch(r"\s*(?:const )?([\w ]+?\*?) ?(\w+)\s*", text).groups()
    return kind, name


POINTED = {"int*": np.int32, "long long*": np.int64, "unsigned char*": np.uint8}  # others: real


def _sent(argument, kind, name, real):
    """An argument for ctypes; TypeError if a GPU would have read something else."""
    if kind.endswith("*"):
        if not isinstance(argument, ndarray) or not argument._host.flags.c_contiguous:
            raise TypeError(f"{name}: expected a contiguous array, found {argument!r}")
        if argument.dtype != POINTED.get(kind, real):
            raise TypeError(f"{name}: expected {kind} of {real}, found {argument.dtype}")
        return ctypes.c_void_p(argument.data.ptr)
    wanted = {"int": np.int32, "T": real}[kind]
    if type(argument) is not wanted:
        raise TypeError(f"{name}: expected {wanted}, found {type(argument)}")
    kinds = {np.int32: ctypes.c_int, np.float32: ctypes.c_float, np.float64: ctypes.c_double}
    return kinds[type(argument)](argument)


@functools.cache
def _compiled(source, options):
    """The path of a shared library."""
    folder = Path(tempfile.mkdtemp(prefix="nnref-standin-"))
    place = folder / f"{hashlib.sha256(source.encode()).hexdigest()[:12]}.cpp"
    place.write_text(source)
    library = place.with_suffix(".so")
    command = [COMPILER, "-O1", "-shared", "-fPIC", "-w", *options, "-o", library, place]
    subprocess.run(command, check=True)
    return library


gpus = 1  # that this machine seems to have


class _Device:
    """The GPU in use is the last that a rank asked for."""

    used = 0

    def __init__(self, id=None):
        self.id = _Device.used if id is None else id

    def use(self):
        assert 0 <= self.id < gpus
        _Device.used = self.id


class _Group:
    """What cupyx.distributed offers of NCCL, by MPI and on the host."""

    def __init__(self, n_devices, rank, *, backend, use_mpi):
        from mpi4py import MPI

        assert backend == "nccl" and use_mpi, "CuPy would try TCP"
        self.comm = MPI.COMM_WORLD
        assert (n_devices, rank) == (self.comm.size, self.comm.rank)
        used = self.comm.allgather(_Device.used)
        assert len(set(used)) == n_devices, f"NCCL: ranks share a GPU: {used}"

    def all_reduce(self, in_array, out_array, op="sum", stream=None):
        for array in (in_array, out_array):
            if not isinstance(array, ndarray) or not array._host.flags.c_contiguous:
                raise TypeError(f"expected a contiguous array of the device, found {array!r}")
        assert op == "sum" and stream is None
        self.comm.Allreduce(in_array._host.copy(), out_array._host)


class _Event:
    def record(self):
        self.at = time.perf_counter()

    def synchronize(self):
        pass


class _Stream:
    def __init__(self, non_blocking=False):
        pass

    def record(self):
        return _Event()

    def wait_event(self, event):
        assert isinstance(event, _Event)

    def synchronize(self):
        pass


class _Pool:
    """Counts nothing: only a GPU's own pool can."""

    malloc = None

    def total_bytes(self):
        return 0


FUNCTIONS = [
    "abs",
    "absolute",
    "arange",
    "argmax",
    "array_equal",
    "ascontiguousarray",
    "broadcast_to",
    "concatenate",
    "diag",
    "dot",
    "empty",
    "empty_like",
    "exp",
    "eye",
    "full",
    "full_like",
    "isfinite",
    "isnan",
    "log",
    "log1p",
    "matmul",
    "maximum",
    "mean",
    "median",
    "minimum",
    "nan_to_num",
    "ones",
    "ones_like",
    "sign",
    "sqrt",
    "stack",
    "sum",
    "tanh",
    "tile",
    "where",
    "zeros",
    "zeros_like",
    "clip",
    "outer",
]


def install():
    """Make this the module that `import cupy` finds, and nnref's backend."""
    cupy = types.ModuleType("cupy")
    cupy.__version__ = "stand-in"
    cupy.ndarray, cupy.asarray, cupy.RawModule = ndarray, asarray, RawModule
    for name in FUNCTIONS:
        setattr(cupy, name, on_device(getattr(np, name)))
    for name in [
        "float32",
        "float64",
        "int32",
        "int64",
        "uint8",
        "bool_",
        "newaxis",
        "pi",
        "inf",
        "nan",
    ]:
        setattr(cupy, name, getattr(np, name))
    cupy.cuda = types.SimpleNamespace(
        is_available=lambda: True,
        Stream=_Stream,
        get_current_stream=_Stream,
        Event=_Event,
        get_elapsed_time=lambda start, stop: 1e3 * (stop.at - start.at),
        Device=_Device,
        runtime=types.SimpleNamespace(
            getDeviceProperties=lambda _: {"name": b"no GPU"},
            getDeviceCount=lambda: gpus,
            deviceGetPCIBusId=lambda number: f"0000:{number:02}:00.0",
        ),
        MemoryPool=_Pool,
        using_allocator=lambda _: contextlib.nullcontext(),
    )
    cupyx = types.ModuleType("cupyx")
    cupyx.empty_like_pinned = np.empty_like
    cupyx.distributed = types.ModuleType("cupyx.distributed")
    cupyx.distributed.init_process_group = _Group
    sys.modules |= {"cupy": cupy, "cupyx": cupyx, "cupyx.distributed": cupyx.distributed}
    os.environ["NNREF_BACKEND"] = "cupy"
    import nnref.backend

    del os.environ[
        "NNREF_BACKEND"
    ]  # what the tests start as processes of their own has no stand-in
    assert nnref.backend.xp is cupy


def here(array):
    """A copy for a test to look at, which does not count."""
    return copy.deepcopy(array._host)
