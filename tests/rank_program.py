"""What test_ranks.py starts under mpiexec: `python -m nnref` on few digits, without a report.

In the environment: FAULT names what is wrong with rank 1, GPUS is how many the stand-in has,
SAVE_ALWAYS asks for a checkpoint in every step, and SLOW is how many seconds a step takes longer,
and SLOW_SAVE the checkpoint after Ctrl-C.
"""

import os
import sys
import time
import types

SLOW, SLOW_SAVE = (float(os.environ.get(name, 0)) for name in ("SLOW", "SLOW_SAVE"))


def fault():
    """What is wrong with this process."""
    if "mpi4py.run" not in sys.modules:
        return None
    from mpi4py import MPI

    return os.environ.get("FAULT") if MPI.COMM_WORLD.rank == 1 else None


def leave_out_the_report():
    """Drawing takes longer than these runs, and so does importing what draws."""
    report = types.SimpleNamespace(page=lambda *_: "", figures=lambda _: {})
    sys.modules["nnref.runs.report"] = report


def main():
    """Change what the environment asks for, then do what the arguments say."""
    if os.environ.get("NNREF_STAND_IN"):
        import standin

        standin.gpus = int(os.environ["GPUS"])
        standin.install()
    leave_out_the_report()

    from nnref.__main__ import run as nnref
    from nnref.data import mnist
    from nnref.measure import weight_layers
    from nnref.parallel.job import stopping
    from nnref.runs import run, settings

    wrong = fault()
    train, test = mnist.load_subset()
    train = train._replace(images=train.images[:606], labels=train.labels[:606])
    test = test._replace(images=test.images[:100], labels=test.labels[:100])
    if wrong == "data":
        train.labels[17] ^= 1
    if wrong == "version":
        run.versions = lambda: {"nnref": "0.0.1", "computes": ""}
    settings.DATA["mnist-subset"] = lambda: (train, test)

    class Run(run._Run):
        def __init__(self, folder, parts, save_every):
            super().__init__(folder, parts, 0 if os.environ.get("SAVE_ALWAYS") else save_every)

        def after_step(self, now):
            if self.progress.step == 4 and wrong in ("W", "B"):
                layer = weight_layers(self.parts.model)[1]
                array = layer.params["W"] if wrong == "W" else layer.feedback.B
                array[0, 0] *= 1 + 1e-6
            time.sleep(SLOW)
            super().after_step(now)

        def save(self):
            time.sleep(SLOW_SAVE if stopping() and self.folder else 0)
            super().save()

    run._Run = Run
    return nnref()


if __name__ == "__main__":
    sys.exit(main())
