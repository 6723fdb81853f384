"""Say in one line what was found and not used, or could not be done; the work goes on without it.

What is wrong enough to stop is an InputError instead.
"""

import threading
import warnings

_ONE_AT_A_TIME = threading.Lock()


class Notice(UserWarning):
    """The kind of warning that `notice` gives, so that Python's `warnings` can choose it."""


def notice(text: str):
    """Warn in one line, "nnref: text", once for each text; odd characters of names are escaped."""
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    with _ONE_AT_A_TIME:
        usual, warnings.formatwarning = warnings.formatwarning, _as_one_line
        try:
            warnings.warn(line, Notice, stacklevel=1)
        finally:
            warnings.formatwarning = usual


def _as_one_line(message, *place, **more) -> str:
    """How a notice is printed: without the place in the code, which helps nobody here."""
    return f"nnref: {message}\n"
