"""A server of the Model Context Protocol, with tools for portraits, voices and motions.

Only files inside the allowed folders are read or written.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic_core import to_jsonable_python

from echomimic import __version__, api
from echomimic.errors import EchoMimicError, InputError, OutputError, SetupError

_P = ParamSpec("_P")
_R = TypeVar("_R")
_INSTRUCTIONS = (
    "echomimic makes a video of a portrait speaking a voice. Call plan first: it is fast and says how large the video "
    "will be. Paths must be inside the allowed folders: {folders}. Relative paths start in the first of them."
)


class _Folders:
    """The allowed folders."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = [folder.resolve() for folder in folders]

    def input(self, text: str) -> Path:
        """An existing file or folder. Raises InputError."""
        path = self._inside(text, InputError)
        if not path.exists():
            raise InputError(f"{text} does not exist; expected a file in an allowed folder")
        return path

    def optional(self, text: str | None) -> Path | None:
        return None if text is None else self.input(text)

    def output(self, text: str) -> Path:
        """Where a new file may be written. Raises OutputError if something exists there already."""
        path = self._inside(text, OutputError)
        if path.exists():
            raise OutputError(f"{text} exists; expected a new name: nothing is overwritten")
        return path

    def _inside(self, text: str, kind: type[EchoMimicError]) -> Path:
        path = (self.folders[0] / text).resolve()
        if not any(path.is_relative_to(folder) for folder in self.folders):
            raise kind(f"{text} is outside of the allowed folders; expected one inside: {self}")
        return path

    def __str__(self) -> str:
        return ", ".join(map(str, self.folders))


def make_server(folders: Sequence[Path]) -> MCPServer:
    """The server with its tools, for files inside `folders`."""
    places = _Folders(folders)
    server = MCPServer(
        "echomimic", version=__version__, instructions=_INSTRUCTIONS.format(folders=places), log_level="WARNING"
    )
    for tool in (*_making_tools(places), *_checking_tools(places)):
        server.add_tool(_failing_in_words(tool))
    return server


def _making_tools(places: _Folders) -> list[Callable[..., dict[str, Any]]]:
    def animate(
        portrait: str,
        speech: str,
        output: str,
        motion: str | None = None,
        preset: str = "auto",
        options: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Make a video (.mp4, .webm or .gif) of a portrait speaking a voice; `options`: size, fps, seed, frames, …"""
        inputs = (places.input(portrait), places.input(speech), places.optional(motion))
        clip = api.animate(*inputs, output=places.output(output), preset=preset, **(options or {}))
        return _plain(clip)

    def plan(
        portrait: str,
        speech: str,
        motion: str | None = None,
        preset: str = "auto",
        options: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Say what `animate` would make of the same arguments: frames, size, memory, notes; nothing is written."""
        inputs = (places.input(portrait), places.input(speech), places.optional(motion))
        return _plain(api.plan(*inputs, preset=preset, **(options or {})))

    def track(video: str, output: str, pose: bool = False, person: int | None = None) -> dict[str, Any]:
        """Track the face (or with `pose` body and hands) of a person in a video as a motion: .npz, .json or .csv."""
        from echomimic import motion

        found = motion.track_video(places.input(video), pose, person)
        path = motion.save_motion(motion.check_motion_path(places.output(output)), found)
        return {"path": str(path), "frames": len(found), "fps": found.fps}

    def edit_motion(motion: str, edits: list[dict[str, Any]], output: str) -> dict[str, Any]:
        """Edit a motion: each edit is a record such as {"op": "trim", "start": 1, "end": 3} or {"op": "scale", …}."""
        from echomimic import motion as tracks
        from echomimic.editing import edit_motion as edit

        wanted = tracks.read_edits(edits)
        found, before = tracks.load_with_edits(places.input(motion))
        edited = edit(found, wanted, lambda name: tracks.load_motion(places.input(name)))
        path = tracks.save_motion(tracks.check_motion_path(places.output(output)), edited, (*before, *wanted))
        return {"path": str(path), "frames": len(edited), "fps": edited.fps}

    return [animate, plan, track, edit_motion]


def _checking_tools(places: _Folders) -> list[Callable[..., dict[str, Any]]]:
    def evaluate(video: str) -> dict[str, Any]:
        """Measure a video of a speaker: does the mouth follow the voice, do lips shut, is it sharp; with warnings."""
        from echomimic.evaluate.quality_check import check_clip

        return _plain(check_clip(places.input(video)))

    def verify(video: str) -> dict[str, Any]:
        """Say whether a video is marked as AI-generated: by a signature, its tags, or the mark in its frames."""
        from echomimic.provenance import find_mark, read_credentials, read_record

        path = places.input(video)
        record, mark = read_record(path), find_mark(path)
        try:
            signed = read_credentials(path)
        except SetupError:
            signed = None
        marked = {"found": mark.found, "score": mark.score}
        return _plain({"record": record, "mark": marked, "credentials": signed})

    return [evaluate, verify]


def _failing_in_words(tool: Callable[_P, _R]) -> Callable[_P, _R]:
    """The tool with errors as one line that the assistant can read."""

    @wraps(tool)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return tool(*args, **kwargs)
        except EchoMimicError as error:
            raise ToolError(f"{error} [{error.code}]") from None

    return call


def _plain(value: Any) -> Any:
    """A dataclass or a dict of them in types of JSON: paths as text, tuples as lists."""
    return to_jsonable_python(value, fallback=str)
