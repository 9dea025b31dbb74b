"""Notes and errors have codes, and docs/messages.md lists them."""

import copy
import json
import logging
import pickle
import sys
from pathlib import Path

import pytest

from conftest import garbage_kept
from echomimic.errors import EchoMimicError, FaceError
from echomimic.notes import Note, collect_notes, note

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import write_messages


def test_a_note_is_its_text_with_a_code_and_values() -> None:
    with collect_notes() as notes:
        note("faces_found", "{count} faces in {name}", count=2, name="a {b}.png")
        note("faces_found", "{count} faces in {name}", count=2, name="a {b}.png")
    (made,) = notes
    assert made == "2 faces in a {b}.png" and json.dumps(notes) == '["2 faces in a {b}.png"]'
    for other in (made, copy.deepcopy(made), pickle.loads(pickle.dumps(made))):  # noqa: S301
        assert isinstance(other, Note)
        assert (other.code, other.values) == ("faces_found", {"count": 2, "name": "a {b}.png"})


def test_an_enclosing_collection_and_the_log_receive_the_note(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "echomimic"), collect_notes() as outer:
        with collect_notes() as inner:
            note("half", "100 % of {a}", a=1)
        assert outer == inner == ["100 % of 1"]
    assert [record.getMessage() for record in caplog.records] == ["100 % of 1"]
    assert isinstance(caplog.records[0].msg, Note)


def test_an_error_has_the_code_of_its_class_or_a_narrower_one() -> None:
    assert FaceError("no face").code == "face_not_found"
    narrow = pickle.loads(pickle.dumps(FaceError("too small", code="face_too_small")))  # noqa: S301
    assert (narrow.code, str(narrow)) == ("face_too_small", "too small")
    assert FaceError("no face").code == "face_not_found"


def _classes(root: type[EchoMimicError]) -> list[type[EchoMimicError]]:
    return [root, *(found for child in root.__subclasses__() for found in _classes(child))]


def test_every_error_class_has_its_own_code() -> None:
    codes = [kind.code for kind in _classes(EchoMimicError) if kind.__module__ == "echomimic.errors"]
    assert len(set(codes)) == len(codes) == 14


def test_the_page_lists_every_code_that_the_source_uses() -> None:
    listed = write_messages.PAGE.read_text(encoding="utf-8")
    with garbage_kept():
        used = {code for code, *_ in write_messages.calls()} | {code for code, *_ in write_messages.error_classes()}
        write_messages.sources.cache_clear()
    assert len(used) > 60
    missing = sorted(code for code in used if f"| `{code}` |" not in listed)
    assert not missing, "run python tools/write_messages.py"
