"""Notices: one line each, whatever is in a name, once; Python's warnings are in charge of them."""

import subprocess
import sys
import warnings

import pytest

from nnref.data.notices import Notice, notice


def printed(code, *flags):
    """(exit status, lines on stderr) of a new process that runs this code."""
    start = "import warnings\nfrom nnref.data.notices import notice\n"
    command = [sys.executable, *flags, "-c", start + code]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stderr.splitlines()


def test_a_notice_is_one_line_and_said_once():
    code = "for i in range(3): notice('two\\nlines, \\x1b[31m, \\udce9 and caf\\u00e9')"
    assert printed(code) == (0, ["nnref: two\\nlines, \\x1b[31m, \\udce9 and café"])


def test_other_warnings_look_as_before():
    status, lines = printed("notice('a')\nwarnings.warn('b')")
    assert (status, lines[0]) == (0, "nnref: a")
    assert lines[1].endswith(":4: UserWarning: b")


def test_warnings_can_silence_it_or_make_it_an_error():
    assert printed("notice('a')", "-W", "ignore") == (0, [])
    assert printed("notice('a')", "-W", "error")[0] == 1
    with warnings.catch_warnings(action="error", category=Notice), pytest.raises(Notice):
        notice("a")
