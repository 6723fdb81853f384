"""Standard output takes whatever is printed, and says what is wrong with it by name."""

import io
import sys

import pytest

from nnref.commands import terminal


def output(encoding="utf-8"):
    return terminal.Output(io.BytesIO(), encoding, "replace", write_through=True)


@pytest.mark.parametrize(
    ("encoding", "text", "shown"),
    [
        ("utf-8", "5.0 ± 0.1\n", "5.0 ± 0.1\n"),
        ("ascii", "5.0 ± 0.1\n", "5.0 ? 0.1\n"),
        ("utf-8", "runs/\udcff\n", "runs/?\n"),
        ("utf-8", "\x1b[2Jruns/a\tb\x7f\x9b\n", "\\x1b[2Jruns/a\tb\\x7f\\x9b\n"),
        ("utf-8", "runs/a\rb\n", "runs/a\\x0db\n"),
    ],
)
def test_what_cannot_be_shown_is_replaced(encoding, text, shown):
    out = output(encoding)
    print(text, end="", file=out)
    assert out.buffer.getvalue() == shown.encode(encoding)


def test_a_full_disk_has_a_name():
    class Full(io.BytesIO):
        def write(self, content):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left") as raised:
        terminal.Output(Full(), "utf-8", write_through=True).write("text")
    assert raised.value.filename == "standard output"
    later = terminal.Output(io.BufferedWriter(Full()), "utf-8")
    later.write("text")
    with pytest.raises(OSError, match="No space left") as raised:
        later.flush()
    assert raised.value.filename == "standard output"


def test_closed_streams_get_an_end(monkeypatch):
    """As after `python -m nnref >&- 2>&-`."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    terminal.prepare()
    with sys.stdout, sys.stderr:
        print("text", flush=True)
        print("text", file=sys.stderr, flush=True)
        assert not sys.stdout.isatty() and not sys.stderr.isatty()


def test_a_notebooks_output_stays_as_it_is(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    terminal.prepare()
    assert sys.stdout is out
