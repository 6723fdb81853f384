"""`python -m nnref doctor`: test the installation; exit status 0 or 1."""

from nnref.commands.options import add_backend
from nnref.tools import doctor

EXAMPLES = {
    "": "what is installed and what works",
    "--backend cupy": "the same for a GPU",
}


def add_options(command):
    """The device."""
    add_backend(command.add_argument)


def run(options) -> int:
    """Print what is installed and what works."""
    return doctor.run()
