"""`python -m nnref bench`: time training steps, and compare them with two references.

The first is the speed of a large matrix product on this device, since all the work is products; on
a GPU also that of a large copy, since memory is the other limit there. The second, on request, is
PyTorch: the same network, batch, device and threads, eager, in the faster of its two memory
layouts; the steps of both alternate in blocks, so that other programs disturb both. Timing starts
after warm-up. This is the only module that imports torch, and only when asked to.
"""

import platform
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
from threadpoolctl import threadpool_limits

from nnref import layers, models
from nnref.backend import blas_libraries, describe, one_blas_thread, tf32, to_device, xp
from nnref.errors import InputError
from nnref.fast import threads
from nnref.feedback import Backprop, FeedbackAlignment, SignSymmetry
from nnref.layers.base import WeightLayer
from nnref.losses import softmax_cross_entropy
from nnref.measure import record
from nnref.optim import SGD

CASES = {  # name: (network, shape of an image, batch)
    "demo": (lambda **rest: models.mlp([256, 128], **rest), (28, 28, 1), 32),
    "mlp": (lambda **rest: models.mlp([1000, 1000], **rest), (28, 28, 1), 128),
    "lenet": (models.lenet, (28, 28, 1), 64),
    "cifar-cnn": (models.cifar_cnn, (32, 32, 3), 64),
    "locally-connected": (models.locally_connected, (32, 32, 3), 64),
    "resnet20": (models.resnet20, (32, 32, 3), 128),
    "resnet18-cifar": (lambda **rest: models.resnet18(stem="cifar", **rest), (32, 32, 3), 32),
    "alexnet": (models.alexnet, (64, 64, 3), 64),
}
RULES = {"bp": Backprop(), "ss": SignSymmetry(), "fa": FeedbackAlignment()}
ROUNDS = 5  # blocks of steps of each kind
BLOCK_S = 0.4  # seconds of one block, at least
PAUSE_S = 0.1  # between blocks: threads of the other library go to sleep


def run(names: list[str], against_torch: bool, batch: int | None = None, width: float = 1) -> dict:
    """Measure these networks under BP, SS and FA; print a line for each; return the record."""
    rows = []
    print((RATIO if against_torch else "") + header(against_torch))
    for name in names:
        for row in measure(name, against_torch, batch, width):
            rows.append(row)
            print(as_line(row), flush=True)
    return {"machine": machine(), "models": rows}


def measure(name: str, against_torch: bool, batch: int | None = None, width: float = 1):
    """One row for each rule: times, shares and ratios of one network."""
    make, shape, usual = CASES[name]
    batch = batch or usual
    options = {"input_shape": shape, "classes": 10, "width": width}
    nets = {rule: make(feedback=RULES[rule], **options) for rule in RULES}
    steps = {rule: training_step(model, shape, batch) for rule, model in nets.items()}
    if against_torch and name != "locally-connected":  # PyTorch has no such layer
        for layout in ("channels_last", "contiguous_format"):
            steps[layout] = torch_step(nets["bp"], shape, batch, layout)
    times = alternate(steps)
    gemm, copy = gemm_flops(), copy_bytes()
    work, moved = least_work(nets["bp"], shape, batch)
    memory = {"nnref": peak_mb(name, "nnref", batch, width)}
    if len(steps) > len(RULES):
        memory["torch"] = peak_mb(name, "torch", batch, width)
    for rule in RULES:
        best = min(min(block) for block in times[rule])
        row = {
            "model": name,
            "rule": rule,
            "batch": batch,
            "width": width,
            "threads": threads.THREADS,
            "step_ms": 1e3 * best,
            "median_ms": 1e3 * median(t for block in times[rule] for t in block),
            "images_per_s": batch / best,
            "gflop_per_s": work / best / 1e9,
            "gemm_share": work / best / gemm,
            "peak_mb": memory["nnref"],
        }
        if xp is not np:
            row |= {"gb_per_s": moved / best / 1e9, "copy_share": moved / best / copy}
        if len(steps) > len(RULES):
            # per round: the best step of the faster layout over nnref's best step
            layouts = zip(times["channels_last"], times["contiguous_format"], strict=True)
            theirs = [min(*a, *b) for a, b in layouts]
            ratios = [t / min(o) for t, o in zip(theirs, times[rule], strict=True)]
            row |= {
                "torch_ms": 1e3 * min(theirs),
                "torch_peak_mb": memory["torch"],
                "ratio": median(ratios),
                "ratio_from": min(ratios),
                "ratio_to": max(ratios),
            }
        yield row


RATIO = (
    "ratio: PyTorch's time / nnref's, median of the rounds (smallest to largest); "
    "above 1 nnref is faster\n\n"
)


def header(against_torch: bool) -> str:
    """The names of the columns of `as_line`."""
    names = "model              rule batch   step ms  median  images/s  GFLOP/s  of GEMM  peak MB"
    return names + ("  GB/s  of copy" if xp is not np else "") + "  ratio" * against_torch


def as_line(row: dict) -> str:
    """A row of the printed table."""
    line = (
        f"{row['model']:<18} {row['rule']:>4} {row['batch']:>5} {row['step_ms']:>9.1f} "
        f"{row['median_ms']:>7.1f} {row['images_per_s']:>9.0f} {row['gflop_per_s']:>8.1f} "
        f"{row['gemm_share']:>8.0%} {row['peak_mb']:>8.0f}"
    )
    if "gb_per_s" in row:
        line += f"{row['gb_per_s']:>6.0f} {row['copy_share']:>8.0%}"
    if "ratio" in row:
        line += f"  {row['ratio']:.2f} ({row['ratio_from']:.2f} to {row['ratio_to']:.2f})"
    return line


def alternate(steps: dict) -> dict:
    """{name: one list of seconds for each round}, the steps taking turns in blocks."""
    times = {name: [] for name in steps}
    for step in steps.values():
        step()
        step()
    for _ in range(ROUNDS):
        for name, step in steps.items():
            time.sleep(PAUSE_S)
            step()
            times[name].append(block(step))
    return times


def block(step) -> list[float]:
    """Seconds of each step in a block of several."""
    taken = []
    while sum(taken) < BLOCK_S or len(taken) < 3:
        taken.append(seconds(step))
    return taken


def seconds(step) -> float:
    """Seconds that a call takes; on a GPU, by the GPU's own clock."""
    if xp is np:
        start = time.perf_counter()
        step()
        return time.perf_counter() - start
    start, stop = xp.cuda.Event(), xp.cuda.Event()
    start.record()
    step()
    stop.record()
    stop.synchronize()
    return xp.cuda.get_elapsed_time(start, stop) / 1e3


def training_step(model, shape, batch):
    """A function that trains `model` on one batch of noise: forward, backward, update."""
    x, labels = noise(shape, batch)
    x, optimizer = to_device(x), SGD(model, lr=0.001)

    def step():
        with one_blas_thread():
            _, delta = softmax_cross_entropy(model.forward(x), labels)
            model.backward(delta)
            optimizer.step()

    return step


def torch_step(model, shape, batch, layout):
    """The same for PyTorch's copy of the network, with images and kernels in `layout`."""
    torch = _torch()
    torch.set_num_threads(threads.THREADS)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32()
    memory_format, device = getattr(torch, layout), "cpu" if xp is np else "cuda"
    x, labels = noise(shape, batch)
    copy = as_torch(model, torch.nn).to(memory_format=memory_format, device=device)
    optimizer = torch.optim.SGD(copy.parameters(), lr=0.001, momentum=0.9)
    x = torch.tensor(x, device=device).permute(0, 3, 1, 2)
    x = x.contiguous(memory_format=memory_format)
    labels = torch.tensor(labels, device=device)

    def step():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(copy(x), labels).backward()
        optimizer.step()

    return step


def as_torch(layer, nn):
    """PyTorch's module for a layer of nnref; `nn` is torch.nn."""
    if isinstance(layer, layers.Sequential):
        return nn.Sequential(*(as_torch(inner, nn) for inner in layer.layers))
    if isinstance(layer, layers.Residual):
        return _residual(as_torch(layer.main, nn), as_torch(layer.shortcut, nn), nn)
    if isinstance(layer, layers.Linear):
        return nn.Linear(layer.n_in, layer.n_out, bias="b" in layer.params)
    if isinstance(layer, layers.Conv2d):
        shape = (layer.C_in, layer.C_out, layer.k, layer.stride, layer.padding)
        return nn.Conv2d(*shape, bias="b" in layer.params)
    if isinstance(layer, layers.BatchNorm):
        return _norm(layer.C, nn)
    if isinstance(layer, layers.MaxPool2d):
        return nn.MaxPool2d(layer.k, layer.stride, layer.padding)
    if isinstance(layer, layers.GlobalAvgPool):
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return {layers.ReLU: nn.ReLU, layers.Flatten: nn.Flatten}[type(layer)]()


def _residual(main, shortcut, nn):
    """main(x) + shortcut(x) in PyTorch."""

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.main, self.shortcut = main, shortcut

        def forward(self, x):
            return self.main(x) + self.shortcut(x)

    return Residual()


def _norm(C, nn):
    """A BatchNorm of PyTorch for images and vectors, for which PyTorch has two classes."""

    class Norm(nn.BatchNorm2d):
        def _check_input_dim(self, x):
            pass

    return Norm(C)


def least_work(model, shape, batch) -> tuple[float, float]:
    """(operations, bytes) that a step needs at least.

    Operations are the multiplications and additions of the products: forward, dE/dW, error. Bytes
    are what layers read and write, each once: inputs and outputs forward, inputs, deltas and errors
    backward; parameters, gradients and velocities. Patches are not counted.
    """
    calls, inner = {}, [layer for layer in model.walk() if not layer.layers]
    for layer in inner:
        record(layer, "forward", calls, key=layer)
    model.forward(to_device(noise(shape, 2)[0]))
    products, numbers, first = 0, 0, None
    for layer in inner:
        del layer.forward  # the recorder
        x, y = (array[0].size for array in calls[layer])
        numbers += batch * (3 * x + 2 * y)
        numbers += 6 * sum(param.size for param in layer.params.values())
        if isinstance(layer, WeightLayer):
            W = layer.params["W"]
            places = 1 if W.ndim == 3 else y // W.shape[-1]  # 3: every place has its own
            first = first or places * W.size
            products += places * W.size
    operations = 2.0 * batch * (3 * products - first)  # no error below the first
    return operations, 4.0 * numbers


def gemm_flops() -> float:
    """Operations per second of a large matrix product, BLAS with as many threads as nnref."""
    n = 2048 if xp is np else 8192
    a = xp.ones((n, n), "float32")
    out = xp.empty_like(a)
    with threadpool_limits(threads.THREADS, user_api="blas"):
        return 2 * n**3 / min(block(lambda: xp.matmul(a, a, out=out)))


def copy_bytes() -> float:
    """Bytes per second, read and written, of a copy too large for any cache."""
    a = xp.ones(2**26, "float32")
    out = xp.empty_like(a)

    def copy():
        out[...] = a

    return 2 * a.nbytes / min(block(copy))


def peak_mb(name, engine, batch, width) -> float:
    """The peak memory of a training process in megabytes, without its libraries."""
    command = [sys.executable, "-m", "nnref.tools.bench", name, engine, str(batch), str(width)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise InputError(f"bench: the memory of {name} in {engine} could not be measured: {last}")
    return float(done.stdout)


def _peak_of_this_process(name, engine, batch, width) -> float:
    """The result of `peak_mb`, in a process of its own; on a CPU Linux only, elsewhere NaN."""
    make, shape, _ = CASES[name]
    if engine == "torch":
        _torch()
    before = _status("VmRSS")
    model = make(input_shape=shape, classes=10, width=width)
    if engine == "torch":
        step = torch_step(model, shape, batch, "channels_last")
        del model
    else:
        step = training_step(model, shape, batch)
    for _ in range(3):
        step()
    if xp is np:
        return _status("VmHWM") - before
    if engine == "torch":
        return _torch().cuda.max_memory_reserved() / 1e6
    return xp.get_default_memory_pool().total_bytes() / 1e6


def _torch():
    """The module torch. Raises InputError if it is not installed."""
    try:
        import torch
    except ImportError:
        raise InputError("--against torch: PyTorch is not installed: pip install torch") from None
    return torch


def _status(field) -> float:
    """A line of /proc/self/status, in megabytes."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1.024e-3  # KiB


def noise(shape, batch):
    """Random images and labels."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, *shape)).astype("float32")
    return x, rng.integers(0, 10, batch)


def machine() -> dict:
    """The processor, threads and versions of a measurement."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text().splitlines()
        model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), model)
    return {
        "processor": model,
        "threads": threads.THREADS,
        "python": platform.python_version(),
        xp.__name__: xp.__version__,
        "device": describe(),
        "blas": [f"{lib.internal_api} {lib.version}" for lib in blas_libraries()],
        "torch": getattr(sys.modules.get("torch"), "__version__", None),
    }


if __name__ == "__main__":
    name, engine, batch, width = sys.argv[1:]
    print(_peak_of_this_process(name, engine, int(batch), float(width)))
