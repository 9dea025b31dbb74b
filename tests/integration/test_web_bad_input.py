"""The bad-input table, dropped on the page and the editor: the same one line, in place, with Chinese before it."""

import asyncio
import re
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the page needs the web extra")
from test_bad_input import BAD

from echomimic.apps.option_specs import OPTION_SPECS
from echomimic.apps.web.actions import Actions
from echomimic.apps.web.advice import ADVICE_ZH, trouble_of
from echomimic.apps.web.desk import Desk
from echomimic.apps.web.jobs import in_one_line
from echomimic.apps.web.settings import Settings
from echomimic.apps.web.studio import Studio
from echomimic.apps.web.words import LANGUAGES, Language
from echomimic.errors import MotionError

NOT_DROPPED = ("missing", "folder", "output", "into", "onto", "unknown", "of words", "seed", "address", "stdout", "300")
"""Rows about paths, and about flags that are no controls: a page has none."""
NAMES = tuple(control.name for control in OPTION_SPECS if control.name != "seed")
ROWS = [case for case in BAD if not any(word in case for word in NOT_DROPPED)]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(Studio(Settings(tmp_path / "server")))
    yield desk
    desk.studio.close()


@pytest.fixture
def folder(portrait_file: Path, voice_file: Path, tmp_path: Path) -> Path:
    """Where Gradio puts uploads, with a good portrait and a good voice."""
    folder = tmp_path / "server" / "uploads" / ("5b" * 32)
    folder.mkdir(parents=True)
    (folder / "me.png").write_bytes(portrait_file.read_bytes())
    (folder / "voice.wav").write_bytes(voice_file.read_bytes())
    return folder


def controls(folder: Path, arguments: list[str]) -> tuple[Any, ...]:
    """What the page's controls hold where the command line has these arguments."""
    shown: dict[str, object] = {control.name: control.default for control in OPTION_SPECS}
    for flag, value in zip(arguments[2::2], arguments[3::2], strict=True):
        name = flag.removeprefix("--").replace("-", "_")
        shown[name] = value if name == "face_box" else float(value)
    files = [str(folder / name) for name in arguments[:2]]
    return (*files, "best", "mesh", 0, *(shown[name] for name in NAMES))


def in_its_own_thread(work: Coroutine[Any, Any, list[str]]) -> list[str]:
    """What comes of it; the browser of other tests runs a loop in this thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


async def said(actions: Actions, values: tuple[Any, ...]) -> list[str]:
    """What the portrait's place, the voice's and the video's say in the end."""
    last = [state async for state in actions.generate(*values)][-1]
    return [actions.look(*values), actions.listen(*values), last[0]]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("case", [case for case in ROWS if "motion" not in case and ".npz" not in case])
def test_on_the_page(case: str, language: Language, desk: Desk, folder: Path) -> None:
    make, words = BAD[case]
    values = controls(folder, make(folder))
    places = in_its_own_thread(said(Actions(desk, language, NAMES), values))
    errors = [html for html in places if "em-error" in html]
    assert errors
    for html in errors:
        line = re.sub(r"<[^>]+>", "", html)
        assert "Traceback" not in line
        assert str(folder.parent) not in line
        assert "unexpected" not in line
        assert any(text in line for text in ADVICE_ZH.values() if text) == (language == "zh")
    assert any(words.removeprefix("--").replace("-", "") in html.replace("-", "") for html in errors)


@pytest.mark.parametrize("case", [case for case in ROWS if "motion" in case or ".npz" in case])
def test_in_the_editor(case: str, desk: Desk, folder: Path) -> None:
    make, words = BAD[case]
    arguments = make(folder)
    session = desk.open(folder / "me.png", folder / "voice.wav", {})
    session.edit({"face": ["scale_curve(track, 'jaw', 0)"]})
    with pytest.raises(MotionError) as raised:
        desk.load(session, {"track": folder / arguments[-1]})
    assert words in in_one_line(raised.value, desk.studio.settings.folder)
    assert trouble_of(raised.value) == "MotionError"
    assert session.face.history.edits == ("scale_curve(track, 'jaw', 0)",)
