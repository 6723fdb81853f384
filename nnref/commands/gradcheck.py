"""`python -m nnref gradcheck`: check gradients; exit status 1 if one is wrong."""

from nnref.commands.options import add_backend
from nnref.runs.settings import MODELS
from nnref.tools import gradcheck

EXAMPLES = {
    "lenet": "a small network, in a second",
    "resnet20": "a deep one, in a few seconds",
}


def add_options(command):
    """The model."""
    command.add_argument("model", choices=MODELS)
    add_backend(command.add_argument)


def run(options) -> int:
    """Compare gradients with finite differences."""
    return gradcheck.run(options.model, MODELS[options.model])
