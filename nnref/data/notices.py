"""Say in one line what was found and not used, or could not be done; the work goes on without it.

What is wrong enough to stop is an InputError instead.
"""

import warnings

from nnref.errors import one_line


class Notice(UserWarning):
    """The kind of warning that `notice` gives, so that Python's `warnings` can choose it."""


def notice(text: str):
    """Warn in one line, "nnref: text", once for each text; odd characters of names are escaped."""
    warnings.warn(one_line(text), Notice, stacklevel=1)


def _format(message, category, *place, **more) -> str:
    """How a warning is printed; a notice, without the place in the code, which helps nobody."""
    if issubclass(category, Notice):
        return f"nnref: {message}\n"
    return _usual(message, category, *place, **more)


_usual, warnings.formatwarning = warnings.formatwarning, _format
