"""The one exception for bad input: a wrong array, file or option that the user can mend."""

LONGEST = 1000  # characters of a message


class InputError(ValueError):
    """One line that says what was wrong, what was expected and what was found.

    The command line prints it without a traceback and ends with exit status 2.
    """

    def __init__(self, message: str):
        super().__init__(one_line(message))


def number(name: str, value, *others):
    """The value as a float, or as it is if it is one of the others; InputError if neither."""
    try:
        return value if value in others else float(value)
    except (TypeError, ValueError):
        expected = ", ".join([*map(repr, others), "a number"])
        raise InputError(f"{name}: expected one of {expected}; found {value!r}") from None


def one_line(text) -> str:
    r"""Text for a terminal, whatever the names in it: a line feed becomes \n, and so on.

    Of a very long text the middle is left out.
    """
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(text))
    return shown if len(shown) <= LONGEST else f"{shown[:700]} ... {shown[-290:]}"
