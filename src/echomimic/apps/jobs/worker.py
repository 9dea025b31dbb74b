"""The process that renders: orders come in as lines of JSON, what happens goes out likewise.

It is a process of its own so that a crash, a time limit or a lack of memory ends a job and not the server, and so
that an idle server holds no engine. It ends when its input does: never does it outlive the server.
"""

import json
import os
import shutil
import sys
import threading
import time
from base64 import b64encode
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TextIO

from echomimic.apps.jobs.previews import Previews
from echomimic.apps.option_specs import spell_options
from echomimic.errors import Cancelled, EchoMimicError, InputError, OutputError

if TYPE_CHECKING:
    from echomimic.types import Motion

_SAY_EVERY = 0.1
_LOOK_EVERY = 0.5
_MOTIONS = {b"PK": ".npz", b"\x93NUMPY": ".npy", b"{": ".json", b"[": ".json", b"\x80": ".pkl"}
"""How the files of motions begin; what begins otherwise is taken for .csv."""


class Output:
    """Says what happens, one JSON object a line, from any thread."""

    def __init__(self, file: TextIO) -> None:
        self._file, self._lock = file, threading.Lock()

    def say(self, event: str, **values: object) -> None:
        """One line."""
        with self._lock:
            self._file.write(json.dumps({"event": event, **values}) + "\n")
            self._file.flush()


class Watch:
    """The progress hook of a job: passes on how far it is, and stops it when that was asked for."""

    def __init__(self, output: Output, live: Path | None, spare: int) -> None:
        self.stop = threading.Event()
        self._spare, self._looked = spare, 0.0
        self._output, self._previews = output, None if live is None else Previews(live)
        self._said = 0.0

    def __call__(self, done: int, total: int) -> None:
        """Called for each frame; raises Cancelled."""
        if self.stop.is_set():
            raise Cancelled("the job was cancelled")
        now = time.monotonic()
        if done == total or done == 1 or now - self._said >= _SAY_EVERY:
            self._said = now
            self._output.say("progress", done=done, total=total)
        if now - self._looked >= _LOOK_EVERY:
            self._looked = now
            self._look()

    def _look(self) -> None:
        """What is not worth doing for each frame."""
        if shutil.disk_usage(Path.cwd()).free < self._spare:
            raise OutputError("the server's disk is nearly full; try again later, or ask for less")
        if self._previews and (picture := self._previews.latest()):
            self._output.say("preview", jpeg=b64encode(picture).decode())


def perform(order: dict[str, Any], output: Output, watch: Watch) -> None:
    """Do one job in its folder, and say how it ended."""
    os.chdir(order["folder"])
    try:
        result = _TASKS[order["kind"]](order, watch)
        output.say("done", result=result)
    except EchoMimicError as error:
        code = "bad_input" if isinstance(error, InputError) else "render_failed"
        output.say("failed", code=code, detail=_plain(str(error), order["folder"]))
    except MemoryError:
        output.say("failed", code="out_of_memory", detail="out of memory; expected less to do: lower the size")
    except Exception as error:
        what = f"unexpected {type(error).__name__}: {_plain(str(error), order['folder'])}; this is a fault of echomimic"
        output.say("failed", code="render_failed", detail=what)


def _plain(text: str, folder: str) -> str:
    """A message in one line, with the plain names of options and without the server's paths."""
    return " ".join(spell_options(text).replace(f"{folder}{os.sep}", "").replace(folder, "the job").split())


def _animate(order: dict[str, Any], watch: Watch) -> dict[str, Any]:
    from echomimic import api

    portrait, speech, motion = _read(order)
    clip = api.animate(
        portrait,
        speech,
        motion,
        output=order["result"],
        preset=order["request"]["preset"],
        save_motion=order["motion"] if order["request"]["save_motion"] else None,
        live=order["live"],
        progress=watch,
        **order["request"]["options"],
    )
    names = ("preset", "frames", "fps", "width", "height", "seconds", "seed", "took", "notes")
    return {name: getattr(clip, name) for name in names}


def _track(order: dict[str, Any], watch: Watch) -> dict[str, Any]:
    from echomimic.motion import save_motion
    from echomimic.notes import collect_notes

    began = time.monotonic()
    with collect_notes() as notes:
        track = _tracked(order, watch) if Path("video").exists() else _predicted(order, watch)
        save_motion(order["result"], track)
    facts = {"frames": len(track), "fps": track.fps, "width": track.image_size[0], "height": track.image_size[1]}
    return {**facts, "seconds": len(track) / track.fps, "took": time.monotonic() - began, "notes": notes}


def _predicted(order: dict[str, Any], watch: Watch) -> "Motion":
    from echomimic import api

    track = api.predict(*_read(order), **order["request"]["options"])
    watch(len(track), len(track))
    return track


def _tracked(order: dict[str, Any], watch: Watch) -> "Motion":
    from echomimic.media import read_video
    from echomimic.motion import track_video

    video, limits = read_video("video"), order["limits"]
    if video.duration > limits["seconds"]:
        raise _too_long(video.duration, limits["seconds"])
    if video.width * video.height > limits["pixels"]:
        raise _too_many_pixels("video", limits["pixels"])
    return track_video("video", order["request"]["pose"], order["request"]["person"], watch)


_TASKS = {"animation": _animate, "track": _track}


def _read(order: dict[str, Any]) -> tuple[Any, Any, str | None]:
    """The inputs, refused where they are past the limits."""
    from echomimic.media import read_picture, read_speech
    from echomimic.options import make_options

    _check_pixels(order["limits"]["pixels"])
    speech = read_speech("speech")
    options = make_options(order["request"]["options"])
    seconds = options.frames / options.fps or speech.duration
    if seconds > order["limits"]["seconds"]:
        raise _too_long(seconds, order["limits"]["seconds"])
    return read_picture("portrait"), speech, _motion()


def _motion() -> str | None:
    """The motion under a name that says what it is, as motions need one; None where none was handed in."""
    given = Path("motion")
    if not given.exists():
        return None
    with given.open("rb") as file:
        head = file.read(64).lstrip()
    suffix = next((suffix for start, suffix in _MOTIONS.items() if head.startswith(start)), ".csv")
    named = given.with_suffix(suffix).with_stem("motion-in")
    shutil.copyfile(given, named)
    return named.name


def _check_pixels(most: int) -> None:
    """Refuse a huge picture by its header, before anything is unpacked."""
    import warnings

    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open("portrait") as image:
                pixels = image.size[0] * image.size[1]
        except Image.DecompressionBombError:
            pixels = sys.maxsize
        except (OSError, ValueError, SyntaxError):
            return  # no picture of Pillow's: reading it says what is wrong
    if pixels > most:
        raise _too_many_pixels("portrait", most)


def _too_many_pixels(what: str, most: int) -> InputError:
    return InputError(f"the {what} has too many pixels; expected at most {most / 1e6:g} million: make it smaller")


def _too_long(seconds: float, most: float) -> InputError:
    return InputError(f"the video lasts {seconds:.0f} s; expected at most {most:.0f} s: cut it, or the voice")


class _Orders:
    """What the server wants: jobs one after another, and a stop of one that it regrets."""

    def __init__(self, output: Output) -> None:
        self._output, self._queue = output, SimpleQueue[dict[str, Any]]()
        self._watches: dict[str, Watch] = {}

    def listen(self, file: TextIO) -> None:
        """Read orders until there are no more; then end the process at once, whatever it does."""
        for line in file:
            order = json.loads(line)
            if "cancel" not in order:
                live = Path(order["live"]) if order["live"] else None
                self._watches[order["id"]] = Watch(self._output, live, order["limits"]["spare"])
                self._queue.put(order)
            elif watch := self._watches.get(order["cancel"]):
                watch.stop.set()
        os._exit(0)

    def serve(self) -> None:
        """Do what is ordered, for ever."""
        _warm()
        while True:
            order = self._queue.get()
            perform(order, self._output, self._watches[order["id"]])
            del self._watches[order["id"]]


def _warm() -> None:
    """Load what the first job will need, while its upload is under way."""
    import numpy as np

    from echomimic import api
    from echomimic.landmarks.face import find_faces

    api.load("mesh")
    find_faces(np.zeros((64, 64, 3), np.uint8))


def main() -> None:
    """Serve orders on stdin; stdout is ours alone, for libraries write to it when they like."""
    ours = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    os.environ.setdefault("MPLBACKEND", "Agg")
    orders = _Orders(Output(ours))
    threading.Thread(target=orders.listen, args=(os.fdopen(os.dup(0), encoding="utf-8"),), daemon=True).start()
    orders.serve()


if __name__ == "__main__":
    main()
