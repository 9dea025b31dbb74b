"""Output and exit codes of the command line; the rendering itself is faked."""

import json
import logging
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import echomimic
from echomimic import api
from echomimic.apps.cli import main as cli
from echomimic.apps.cli import reporter as terminal
from echomimic.apps.cli.main import run
from echomimic.checkpoints import LoraFile
from echomimic.errors import Cancelled, DeviceError, FaceError, OutputError, WeightsError
from echomimic.notes import note
from echomimic.options import OPTION_NAMES, WorkOptions
from echomimic.types import Clip, Plan

PLAN = Plan("mesh", "asked for", 50, 25.0, 2.0, 512, 384, 400, ("two faces",))


class Calls:
    """What the command line asked of the API, and what the API does then."""

    def __init__(self) -> None:
        self.arguments: list[tuple[object, ...]] = []
        self.options: list[dict[str, object]] = []
        self.frames = 20
        self.fails: BaseException | None = None

    def animate(self, *arguments: object, **options: object) -> Clip:
        self.arguments.append(arguments)
        self.options.append(options)
        note("faces_found", "two faces: the largest is taken")
        progress = options["progress"]
        assert callable(progress)
        for done in range(1, self.frames + 1):
            progress(done, self.frames)
            if self.fails:
                raise self.fails
        return Clip(Path(str(options["output"])), "mesh", self.frames, 25.0, 64, 48, 0.8, 7, 1.5)

    def plan(self, *arguments: object, **options: object) -> Plan:
        self.arguments.append(arguments)
        self.options.append(options)
        return PLAN


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Calls:
    faked = Calls()
    monkeypatch.setattr(api, "animate", faked.animate)
    monkeypatch.setattr(api, "plan", faked.plan)
    monkeypatch.chdir(tmp_path)
    return faked


Captured = pytest.CaptureFixture[str]


def events(text: str) -> list[dict[str, object]]:
    """Every line of stdout as JSON."""
    return [json.loads(line) for line in text.splitlines()]


def test_version(capsys: Captured) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"echomimic {echomimic.__version__}\n"


def test_no_command_shows_the_help(capsys: Captured) -> None:
    assert run([]) == 0
    out = capsys.readouterr().out
    assert all(command in out for command in ("animate", "demo", "doctor", "presets"))


def test_presets_are_listed(capsys: Captured) -> None:
    assert run(["presets"]) == 0
    assert capsys.readouterr().out.startswith("mesh ")
    assert run(["presets", "--json"]) == 0
    assert events(capsys.readouterr().out)[0]["name"] == "mesh"


def test_only_given_options_reach_the_api(calls: Calls) -> None:
    assert run(["animate", "me.png", "voice.wav"]) == 0
    assert calls.arguments == [(Path("me.png"), Path("voice.wav"), None)]
    given = calls.options[0]
    assert not set(given) & set(OPTION_NAMES)
    assert {name for name, value in given.items() if value is not None} == {"output", "preset", "work", "progress"}
    assert (given["output"], given["preset"]) == (Path("me-voice.mp4"), "auto")


def test_a_lora_reaches_the_api_with_its_strength(calls: Calls) -> None:
    assert run(["animate", "me.png", "voice.wav", "--lora", "anna.safetensors", "--lora-strength", "0.5"]) == 0
    assert calls.options[0]["lora"] == LoraFile(Path("anna.safetensors"), 0.5)
    assert run(["animate", "me.png", "voice.wav", "--lora", "anna.safetensors", "--lora-strength", "3"]) == 2


def test_every_kind_of_option_reaches_the_api(calls: Calls) -> None:
    line = "animate me.png voice.wav -o o.webm --preset mesh --motion m.npz --save-motion s.npz --size 256 --fps 29.97"
    line += " --no-still-background --framing crop --face-box 1,2,3,4 --seed 9"
    assert run(line.split()) == 0
    given = {name: value for name, value in calls.options[0].items() if value is not None}
    given.pop("progress")
    assert calls.arguments[0][2] == Path("m.npz")
    assert given == {
        "output": Path("o.webm"),
        "preset": "mesh",
        "save_motion": Path("s.npz"),
        "work": WorkOptions(),
        "size": "256",
        "fps": "29.97",
        "still_background": False,
        "framing": "crop",
        "face_box": "1,2,3,4",
        "seed": "9",
    }


def test_progress_in_a_log_is_printed_in_lines(calls: Calls, capsys: Captured) -> None:
    assert run(["animate", "me.png", "voice.wav"]) == 0
    said = capsys.readouterr()
    assert said.out == "me-voice.mp4: 20 frames, 0.80 s, 64 x 48, preset mesh, seed 7, made in 1.5 s\n"
    lines = said.err.splitlines()
    assert lines[0] == "note: two faces: the largest is taken"
    assert len(lines) == 11
    assert lines[-1].startswith("20 of 20 frames, ")


def test_progress_on_a_terminal_is_a_bar(calls: Calls, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "120")
    assert run(["animate", "me.png", "voice.wav"]) == 0
    said = capsys.readouterr()
    assert "20/20" in said.err
    assert "a second" in said.err
    assert "note: two faces: the largest is taken" in said.err
    assert said.out.startswith("me-voice.mp4: 20 frames")


def test_json_is_one_object_a_line_and_nothing_else(calls: Calls, capsys: Captured) -> None:
    assert run(["animate", "me.png", "voice.wav", "--json"]) == 0
    said = capsys.readouterr()
    found = events(said.out)
    assert said.err == ""
    assert found[0] == {"event": "note", "text": "two faces: the largest is taken", "code": "faces_found"}
    assert {event["event"] for event in found[1:-1]} == {"progress"}
    assert (found[-2]["done"], found[-2]["total"]) == (20, 20)
    assert (found[-1]["event"], found[-1]["path"], found[-1]["frames"]) == ("done", "me-voice.mp4", 20)


def test_a_plan_is_printed_as_text_and_as_json(calls: Calls, capsys: Captured) -> None:
    assert run(["animate", "me.png", "voice.wav", "--plan"]) == 0
    words = capsys.readouterr().out
    assert all(part in words for part in ("mesh: asked for", "50 at 25 a second: 2.00 s", "512 x 384", "400 MB", "two"))
    assert run(["animate", "me.png", "voice.wav", "--plan", "--json"]) == 0
    (event,) = events(capsys.readouterr().out)
    assert (event["event"], event["frames"], event["memory_mb"]) == ("plan", 50, 400)


@pytest.mark.parametrize(
    ("failure", "code", "words"),
    [
        (FaceError("no face found; give `face_box` x,y,w,h"), 2, "error: no face found; give --face-box x,y,w,h"),
        (OutputError("a\nb"), 2, "error: a b"),
        (WeightsError("no weights"), 2, "error: no weights"),
        (DeviceError("too small"), 1, "error: too small"),
        (Cancelled("stopped"), 130, "error: stopped"),
        (KeyboardInterrupt(), 130, "error: stopped; nothing was written"),
        (cli._Stopped(signal.SIGTERM), 143, "error: stopped; nothing was written"),
        (MemoryError(), 1, "error: out of memory; expected"),
        (OSError(28, "No space left on device", "o.mp4"), 1, "error: o.mp4: No space left on device; expected"),
        (ZeroDivisionError("oh\nno"), 1, "error: unexpected ZeroDivisionError: oh no; this is a bug in echomimic"),
    ],
)
def test_every_failure_is_one_line(
    calls: Calls, capsys: Captured, failure: BaseException, code: int, words: str
) -> None:
    calls.fails, calls.frames = failure, 1
    assert run(["animate", "me.png", "voice.wav"]) == code
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(words)
    assert run(["animate", "me.png", "voice.wav", "--json"]) == code
    said = capsys.readouterr()
    event = events(said.out)[-1]
    assert (event["event"], event["exit_code"]) == ("error", code)
    assert said.err == f"error: {event['message']}\n"


def test_debug_shows_the_traceback(calls: Calls) -> None:
    calls.fails = ZeroDivisionError("oh")
    with pytest.raises(ZeroDivisionError):
        run(["animate", "me.png", "voice.wav", "--debug"])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("animate me.png", "Missing argument 'SPEECH'"),
        ("animat me.png voice.wav", "No such command 'animat'"),
        ("animate me.png voice.wav --nonsense", "No such option: --nonsense"),
        ("weights convert v1 --dtype int8", "Invalid value for '--dtype'"),
        ("animate me.png voice.wav more.wav", "unexpected extra argument"),
    ],
)
def test_a_wrong_command_line_is_one_line(calls: Calls, capsys: Captured, line: str, words: str) -> None:
    assert run(line.split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("error: ")
    assert words in said.err
    assert "--help" in said.err
    assert calls.arguments == []


@pytest.mark.parametrize("width", [80, 120])
def test_the_help_fits_its_columns(width: int, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert run(["animate", "--help"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= width
    flags = re.findall(r"│ +(--[a-z-]+) ", text)
    assert len(flags) == len(set(flags)) >= 35
    assert "--no-still-background" in text and "--no-exact" not in text and "…" not in text
    assert "auto, cpu, cuda" in text


@pytest.mark.parametrize(("flags", "given"), [("--no-exact", {"exact": False}), ("--exact", {"exact": True}), ("", {})])
def test_booleans_have_two_forms(calls: Calls, flags: str, given: dict[str, object]) -> None:
    assert run(["animate", "me.png", "voice.wav", *flags.split()]) == 0
    assert {name: value for name, value in calls.options[0].items() if name == "exact"} == given


def test_the_demo_renders_the_bundled_portrait_and_voice(calls: Calls) -> None:
    assert run(["demo", "-o", "d.mp4"]) == 0
    portrait, voice = calls.arguments[0]
    assert Path(str(portrait)).is_file()
    assert Path(str(voice)).suffix
    assert calls.options[0]["output"] == Path("d.mp4")


def test_logging_is_configured_as_before_after_a_run(calls: Calls) -> None:
    assert run(["animate", "me.png", "voice.wav"]) == 0
    with terminal.reporting(as_json=True):
        handlers = list(logging.getLogger("echomimic").handlers)
    assert len(handlers) == 1
    assert logging.getLogger("echomimic").handlers == []


def test_the_rate_counts_from_the_first_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    clock: Callable[[], float] = iter([10.0, 12.0]).__next__
    monkeypatch.setattr(terminal, "monotonic", clock)
    rate = terminal.RateEstimator()
    assert rate(1, 101) == (0.0, 0.0)
    assert rate(21, 101) == (10.0, 8.0)
