"""Standard output that survives odd names, poor encodings and closed ends."""

import io
import os
import sys

NAME = "standard output"  # in errors
# control characters, which could move the cursor or change colors; line feeds and tabs stay
ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
for char in "\t\n":
    del ESCAPES[ord(char)]


class Output(io.TextIOWrapper):
    """Standard output: escapes for control characters, ? for what its encoding does not have.

    An error in it, such as a full disk, has the name of a file, as other errors have.
    """

    def write(self, text):
        """Write text."""
        try:
            return super().write(text.translate(ESCAPES))
        except OSError as error:
            error.filename = NAME
            raise

    def flush(self):
        """Write what has been kept back."""
        try:
            super().flush()
        except OSError as error:
            error.filename = NAME
            raise


def prepare():
    """Make sys.stdout an `Output`; what was closed is replaced by one that discards everything."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    before = sys.stdout
    if not isinstance(before, io.TextIOWrapper):  # a notebook's, which needs no escapes
        return
    how = {"line_buffering": before.line_buffering, "write_through": before.write_through}
    sys.stdout = Output(before.detach(), before.encoding, "replace", **how)


def abandon():
    """Let all further output vanish, since nobody can receive it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
