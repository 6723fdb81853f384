"""Alternating target propagation: an epoch of the inverses, then one of the layers, and so on."""

from nnref.errors import InputError
from nnref.rules.targets import TargetPropagation
from nnref.train import Training


class AlternatingTraining(Training):
    """A `Training` whose epochs begin with a pass over the images in which only inverses learn.

    model    a TargetPropagation with parallel=False; InputError for another one

    Lee et al. 2015 (code) and Bartunov et al. 2018 train so: the inverses follow layers that stand
    still. An epoch that is resumed before its first step begins with that pass again.
    """

    def check(self):
        super().check()
        parallel = getattr(self.model, "parallel", None)
        if not isinstance(self.model, TargetPropagation) or parallel:
            raise InputError(
                "AlternatingTraining: expected a TargetPropagation with parallel=False, found "
                f"{type(self.model).__name__} with parallel={parallel}"
            )

    def _batches(self, rest, epoch):
        if self.progress.step == 0:
            for x, _, count in super()._batches(rest, epoch):
                if count:
                    self.model.learn_inverses(x)
        yield from super()._batches(rest, epoch)
