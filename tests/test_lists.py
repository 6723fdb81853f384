"""Lists beside image folders: read in every usual encoding, bounded, never needed for names."""

import pytest
from pictures import class_folders, write_folder

from nnref.data.files import lists
from nnref.data.files.stores import open_store
from nnref.data.notices import Notice
from nnref.errors import InputError

NAMES = "n1\tgoldfish, Carassius\nn2\tcafé\n"
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]


def store_with(tmp_path, **files):
    """A folder with these files, double underscores standing for dots."""
    tree = {name.replace("__", "."): content for name, content in files.items()}
    return open_store(write_folder(tmp_path / "set", class_folders() | tree))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_list_is_read_as_its_tool_wrote_it(encoding, end, tmp_path, recwarn):
    def written(text):
        return text.replace("\n", end).encode(encoding)

    solution = "ImageId,PredictionString\nv_1,n1 1 2 3 4 \nv_é,n2 5 6 7 8 \n"
    store = store_with(tmp_path, words__txt=written(NAMES), LOC_val_solution__csv=written(solution))
    assert lists.class_names(store) == {"n1": "goldfish, Carassius", "n2": "café"}
    assert lists.labels_by_file(store) == {"v_1.JPEG": "n1", "v_é.JPEG": "n2"}
    annotations = written("v_1.JPEG\tn1\t0\t1\nv_é.JPEG\tn2\t0\t1\n")
    store = store_with(tmp_path, val_annotations__txt=annotations)
    assert lists.labels_by_file(store) == {"v_1.JPEG": "n1", "v_é.JPEG": "n2"}
    assert not [warning for warning in recwarn if warning.category is Notice]


def test_another_encoding_is_read_as_latin_1_and_said(tmp_path):
    store = store_with(tmp_path, classes__txt=NAMES.encode("latin-1"))
    with pytest.warns(Notice, match=r"classes.txt: expected UTF-8; read as Latin-1"):
        assert lists.class_names(store)["n2"] == "café"


OTHER_BYTES = [b"\xff\xfe\x00", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"n1\tx\0\0\0\0"]


@pytest.mark.parametrize("content", OTHER_BYTES, ids=["half", "image", "zeros"])
def test_names_that_are_no_text_are_said_and_labels_that_are_none_stop(content, tmp_path):
    store = store_with(tmp_path, words__txt=content, val_annotations__txt=content)
    with pytest.warns(Notice, match=r"words.txt: expected text, found other bytes; the folders'"):
        assert lists.class_names(store) == {}
    with pytest.raises(InputError, match=r"val_annotations.txt: expected text, found other bytes"):
        lists.labels_by_file(store)


def test_lists_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(lists, "LARGEST_LIST", 20)
    store = store_with(tmp_path, words__txt=bytes(21), val_annotations__txt=bytes(21))
    with pytest.warns(Notice, match=r"words.txt: expected a list of at most 20 bytes"):
        assert lists.class_names(store) == {}
    with pytest.raises(InputError, match=r"txt: expected a list of at most 20 bytes"):
        lists.labels_by_file(store)


def test_a_name_of_several_words_or_none(tmp_path):
    """Where a line has a tab, the tab ends the folder's name."""
    text = b"polar bear\tbig, white\nbrown\tbear\ncat \ndog\t\nn5 long name\n"
    found = lists.class_names(store_with(tmp_path, words__txt=text))
    assert found == {"polar bear": "big, white", "brown": "bear", "n5": "long name"}
