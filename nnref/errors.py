"""The one exception for bad input: a wrong array, file or option that the user can mend."""


class InputError(ValueError):
    """One line that says what was wrong, what was expected and what was found.

    The command line prints it without a traceback and ends with exit status 2.
    """
