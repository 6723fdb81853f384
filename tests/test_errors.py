"""A message is one line for a terminal, whatever names are in it."""

import pickle

import pytest

from nnref.errors import LONGEST, InputError, one_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, größer than 猫", "plain, größer than 猫"),
        ("two\nlines", "two\\nlines"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("name\udcff.png", "name\\udcff.png"),  # a byte that is not UTF-8, as Python reads it
        ("turned \u202e around", "turned \\u202e around"),
    ],
)
def test_names_cannot_break_or_color_a_message(text, shown):
    assert one_line(text) == shown == str(InputError(text))


def test_of_a_long_message_both_ends_are_shown():
    message = str(InputError("the name " + "x" * 5000 + " is wrong"))
    assert len(message) <= LONGEST
    assert message.startswith("the name x") and message.endswith("x is wrong")


def test_another_process_receives_the_same_message():
    error = InputError("a\nb")
    assert str(pickle.loads(pickle.dumps(error))) == "a\\nb"
