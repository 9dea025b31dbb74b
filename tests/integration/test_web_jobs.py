"""The page's queue and its words, without a browser."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("gradio", reason="the page needs the web extra")
from echomimic import api, errors
from echomimic.apps.jobs.previews import Previews
from echomimic.apps.option_specs import OPTION_SPECS
from echomimic.apps.web.advice import ADVICE_ZH, trouble_of
from echomimic.apps.web.editor_words import editor_page
from echomimic.apps.web.fields import given_options
from echomimic.apps.web.jobs import Job, Jobs, Order, named_after
from echomimic.apps.web.qualities import QUALITIES, quality_options
from echomimic.apps.web.settings import Settings
from echomimic.apps.web.show import error_html
from echomimic.apps.web.stand import listen
from echomimic.apps.web.watch import Watch
from echomimic.apps.web.words import GROUPS_ZH, LANGUAGES, OPTIONS_ZH, WORDS, plain, preferred, say
from echomimic.errors import PictureError
from echomimic.options import GROUPS, OPTION_NAMES, make_options
from echomimic.presets import PRESETS
from echomimic.types import Picture, Previewing


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    jobs = Jobs(Settings(tmp_path, leave_seconds=0.3))
    yield jobs
    jobs.close()


@pytest.fixture
def order(tmp_path: Path) -> Order:
    for name in ("face.png", "voice.wav"):
        (tmp_path / name).write_bytes(b"something")
    return Order(tmp_path / "face.png", tmp_path / "voice.wav")


def wait(job: Job, jobs: Jobs | None = None) -> Job:
    until = time.monotonic() + 20
    while not job.ended and time.monotonic() < until:
        if jobs:
            jobs.find(job.id)
        time.sleep(0.01)
    return job


def endless(*_: object, progress, **__: object) -> None:  # type: ignore[no-untyped-def]
    for done in range(10**6):
        progress(done, 10**6)
        time.sleep(0.01)


def test_a_job_that_nobody_looks_at_is_cancelled_and_leaves_no_file(
    jobs: Jobs, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "animate", endless)
    job = jobs.submit(order)
    assert wait(job).state == "cancelled"
    time.sleep(0.1)
    assert not job.folder.exists()


def test_one_job_at_a_time_and_each_knows_its_place(jobs: Jobs, order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "animate", endless)
    first, second, third = (jobs.submit(order) for _ in range(3))
    time.sleep(0.05)
    assert [jobs.ahead(job) for job in (first, second, third)] == [0, 1, 2]
    jobs.cancel(second)
    assert second.state == "cancelled"
    assert jobs.ahead(third) == 1
    jobs.cancel(first)
    assert wait(first).state == "cancelled"
    assert jobs.ahead(third) == 0


def test_a_job_has_files_of_its_own_and_says_errors_without_folders(
    jobs: Jobs, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(portrait: Path, *_: object, **__: object) -> None:
        assert portrait.read_bytes() == b"something"
        raise PictureError(f"{portrait} is no picture;\n expected one")

    monkeypatch.setattr(api, "animate", fail)
    job = jobs.submit(order)
    order.portrait.unlink()
    assert wait(job).state == "failed"
    assert job.error == "face.png is no picture; expected one"


def test_a_waiting_job_that_nobody_awaits_leaves_the_queue(
    jobs: Jobs, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "animate", endless)
    first, second = jobs.submit(order), jobs.submit(order)
    for _ in range(40):
        jobs.find(first.id)
        time.sleep(0.01)
    jobs.tidy()
    assert (first.state, second.state) == ("running", "cancelled")
    assert not second.folder.exists()


def test_names_of_videos_are_short_enough_for_every_file_system() -> None:
    assert named_after("me", "voice") == "me-voice"
    name = named_after("长" * 80, "音" * 80, "hands")
    assert len(f"{name}.npz".encode()) < 220
    assert name.startswith("长" * 20)
    assert name.endswith("音-hands")


def test_a_tab_in_the_background_asks_often_enough(tmp_path: Path) -> None:
    """Browsers let its timers run once a minute."""
    assert Settings(tmp_path).leave_seconds >= 90


def test_messages_lose_the_names_that_only_the_server_knows() -> None:
    folder = Path("/somewhere/uploads")
    for name in ("5b" * 32, "0", "ab" * 16 + "/1", "new-" + "ab" * 16 + "/1"):
        assert plain(f"{folder}/{name}/a b.png is\nempty", folder) == "a b.png is empty"


def test_only_what_was_changed_counts_as_given() -> None:
    shown = {control.name: control.default for control in OPTION_SPECS}
    assert given_options(shown, {}) == {}
    assert given_options(shown | {"steps": 8, "face_box": ""}, {"steps": 6}) == {"steps": 8}
    assert given_options(shown | {"steps": 6}, {"steps": 6}) == {}
    assert given_options(shown | {"size": " 512"}, {"size": 512}) == {}
    assert given_options(shown | {"size": "512", "face": "", "face_box": "1,2,3,4"}, {}) == {
        "size": 512,
        "face_box": "1,2,3,4",
    }
    assert given_options(shown | {"size": "many "}, {}) == {"size": "many"}


@pytest.mark.parametrize("preset", ["auto", *PRESETS])
def test_every_quality_of_every_preset_is_valid(preset: str) -> None:
    defaults = {} if preset == "auto" else PRESETS[preset].defaults
    for quality in QUALITIES:
        make_options(quality_options(quality, preset, 2000), defaults)


def test_every_error_has_advice_in_chinese_before_its_english_line() -> None:
    for name, error in vars(errors).items():
        if isinstance(error, type) and issubclass(error, Exception):
            assert trouble_of(error("x")) in ADVICE_ZH, name
    assert trouble_of(PictureError("x")) == "PictureError"
    assert trouble_of(ZeroDivisionError()) == "Exception"
    html = error_html("zh", "me.png is <empty>; expected a picture", "PictureError")
    assert ADVICE_ZH["PictureError"] in html
    assert '<span lang="en">me.png is &lt;empty&gt;; expected a picture</span>' in html
    assert error_html("en", "empty", "PictureError").count("empty") == 1


def test_frames_are_made_to_be_looked_at_only_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("echomimic.apps.web.watch.time", SimpleNamespace(monotonic=lambda: now[0]))
    made: list[float] = []

    def make() -> Picture:
        made.append(now[0])
        now[0] += 0.5  # it takes half a second
        return np.zeros((32, 48, 3), np.uint8)

    watch = Watch(lambda: None, Previews(tmp_path / "none.mp4"))
    assert isinstance(watch, Previewing)
    for done in range(60):
        watch(done, 60)
        watch.preview(make)
        now[0] += 0.5
    assert watch.picture is not None
    assert watch.picture.startswith(b"\xff\xd8")
    assert 2 <= len(made) <= 4


def test_everything_is_said_in_both_languages() -> None:
    assert set(OPTIONS_ZH) <= set(OPTION_NAMES), "Chinese for an option that is no more"
    assert set(GROUPS_ZH) == set(GROUPS.values())
    for key, (english, chinese) in WORDS.items():
        assert english
        assert chinese, key
    assert preferred("zh-CN,zh;q=0.9") == "zh"
    assert preferred("de") == "en"
    for language in LANGUAGES:
        page = editor_page("{{lang}} {{limit}} {{title}} {{words}}", language, 5)
        assert say(language, "draft") in page
        assert "{done}" in page


def test_answers_leave_at_once() -> None:
    with listen("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        listener.setblocking(True)
        with socket.create_connection(address), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
