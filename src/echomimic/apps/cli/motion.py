"""`echomimic track` and `echomimic motion …`: get, check, preview, align and edit motions."""

from collections.abc import Callable
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo

from echomimic.apps.cli.flags import Json, argument, option, set_parameters
from echomimic.apps.cli.reporter import print_json, print_line, reporting
from echomimic.errors import MotionError
from echomimic.motion import EDITS, Edit, read_edit
from echomimic.options import Options
from echomimic.types import LandmarkTrack, Motion

motion_app = typer.Typer(
    help="Check, preview, edit and align motions: face and hand tracks, as files.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Track = Annotated[Path, argument("TRACK", "a motion: a video, .npz, .json, .csv, or a folder of V1 or V2")]
Out = Annotated[Path, option("OUT", "where to save it: .npz, .json or .csv", "-o", "--output")]
Size = Annotated[str | None, option("W,H", "size of the picture, if the file does not state it", "--canvas")]
Rate = Annotated[float | None, typer.Option(help="frames a second, if the file does not state it")]


def track(
    video: Annotated[Path, argument("VIDEO", "any video of a person")],
    output: Out,
    pose: Annotated[bool, typer.Option("--pose", help="body and hands, for V2, instead of the face")] = False,
    person: Annotated[
        int | None, typer.Option(help="which person, counted from the left, starting at 1", min=1, show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Track a person in VIDEO and save the motion, at the video's own frame rate."""
    with reporting(as_json) as reporter:
        from echomimic import motion

        motion.check_motion_path(output)
        found = motion.track_video(video, pose, person, reporter.progress)
        save(output, found, (motion.Comment(text=f"track {video.name}"),), as_json)


@motion_app.command()
def convert(
    source: Track,
    output: Annotated[Path, argument("OUT", ".npz, .json or .csv")],
    fps: Rate = None,
    image_size: Size = None,
    pose: Annotated[bool, typer.Option("--pose", help="of a video: body and hands")] = False,
) -> None:
    """Read a motion in any format and save it; nothing in the file is executed."""
    with reporting(False):
        from echomimic import motion

        size = None if image_size is None else _pair(image_size, "canvas", int)
        save(output, *motion.load_with_edits(source, fps, size, pose))


@motion_app.command()
def export(
    source: Track,
    to: Annotated[Path, option("OUT", "NAME.csv: ARKit's blendshapes; NAME.json: VRM's expressions", "--to")],
) -> None:
    """Write the curves of a face as blendshapes for 3D avatars and games."""
    with reporting(False):
        from echomimic import motion
        from echomimic.editing import curves_of

        found = motion.load_motion(source)
        if not isinstance(found, LandmarkTrack):
            raise MotionError(f"{source} is a pose track; expected a face: blendshapes have no hands")
        motion.export_blendshapes(to, curves_of(found))
        print_line(f"{to}: {len(found)} frames at {found.fps:g} a second")


@motion_app.command()
def show(
    source: Track,
    portrait: Annotated[Path | None, option("PORTRAIT", "check it against this picture", "--over")] = None,
    voice: Annotated[Path | None, option("SPEECH", "check it against this voice", "--voice")] = None,
    as_json: Json = False,
) -> None:
    """Print what a motion holds, the edits that made it, and warnings of what will look wrong."""
    with reporting(as_json):
        from echomimic import motion

        found, edits = motion.load_with_edits(source)
        warnings = _preflight(found, portrait, voice)
        if as_json:
            print_json(
                "motion",
                **_facts(found),
                edits=[edit.record() for edit in edits],
                warnings=[str(each) for each in warnings],
            )
            return
        print_line(_described(found))
        for line in (*(f"edit     {edit}" for edit in edits), *(f"warning  {text}" for text in warnings)):
            print_line(line)


@motion_app.command()
def preview(
    source: Track,
    output: Annotated[Path, option("OUT", ".png, .mp4, .webm or .gif", "-o", "--output")],
    portrait: Annotated[Path | None, option("PORTRAIT", "draw it over this picture", "--over")] = None,
    voice: Annotated[Path | None, option("SPEECH", "play this voice with it", "--voice")] = None,
) -> None:
    """Draw a motion over a portrait beside its curves, with warnings of what will look wrong."""
    with reporting(False):
        from echomimic import media, motion

        found = motion.load_motion(source)
        warnings = _preflight(found, portrait, voice)
        picture = None if portrait is None else media.read_picture(portrait)
        speech = None if voice is None else media.read_speech(voice)
        motion.write_preview(output, found, picture, speech, warnings)
        print_line(f"{output}: {_described(found)}")
        for text in warnings:
            print_line(f"warning  {text}")


@motion_app.command()
def hands(
    voice: Annotated[Path, argument("SPEECH", "a voice: any sound file")],
    output: Out,
    portrait: Annotated[Path | None, option("PORTRAIT", "start from this person's hands", "--portrait")] = None,
    fps: Annotated[float, typer.Option(help="frames a second")] = 25.0,
    seed: Annotated[int, typer.Option(help="same voice and seed: the same hands", min=0)] = 0,
    strength: Annotated[float, typer.Option(help="how far the hands move; 0 leaves them idle", min=0, max=2)] = 1.0,
) -> None:
    """Generate hands for a voice: they rest in silences and make beats on stressed syllables."""
    with reporting(False):
        from echomimic import media, motion
        from echomimic.landmarks.body import find_body
        from echomimic.landmarks.face import upright_portrait

        motion.check_motion_path(output)
        picture = None if portrait is None else upright_portrait(media.read_picture(portrait))
        found = None if picture is None else find_body(picture)
        size = (768, 768) if picture is None else (picture.width, picture.height)
        speech = media.read_speech(voice)
        made = motion.gesture_track(speech, fps, None, seed, found, size, strength)
        save(output, made, (motion.Comment(text=f"hands {voice.name} seed {seed}"),))


@motion_app.command()
def align(
    source: Track,
    portrait: Annotated[Path, argument("PORTRAIT", "the person to be moved")],
    output: Out,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="hands start at those of the portrait (poses)")
    ] = False,
    face: Annotated[int | None, typer.Option(help="which face, counted from the left", min=1)] = None,
) -> None:
    """Retarget a driver's motion to a portrait: its own face, or its own arms and hands."""
    with reporting(False):
        from echomimic import motion

        found, edits = motion.load_with_edits(source)
        edits = (*edits, motion.Comment(text=f"align {portrait.name}"))
        size, person = _person(portrait, found, face)
        if isinstance(found, LandmarkTrack):
            save(output, motion.align_motion(found, person, size), edits)
        else:
            save(output, motion.align_pose(found, person, size, from_start), edits)
            print_line(motion.propose_crop(person, size, found).text)


def _person(portrait: Path, found: Motion, face: int | None = None) -> tuple[tuple[int, int], Any]:
    """Find the person in a portrait: the size of the upright picture, and the landmarks of the face, or the body if
    `found` is a pose track.
    """
    from echomimic import media
    from echomimic.landmarks.body import find_body
    from echomimic.landmarks.face import locate_face, upright_portrait

    picture = media.read_picture(portrait)
    if isinstance(found, LandmarkTrack):
        located = locate_face(picture, Options(face=face))
        return (located.portrait.width, located.portrait.height), located.face.landmarks
    picture = upright_portrait(picture)
    return (picture.width, picture.height), find_body(picture)


def _pair(text: str, what: str, kind: type[Any]) -> Any:
    """Two numbers from `A,B`."""
    try:
        first, second = (kind(number) for number in text.split(","))
    except ValueError:
        raise MotionError(f"{what} is {text!r}; expected two numbers: 512,512") from None
    return first, second


def save(output: Path, found: Motion, edits: tuple[Edit, ...], as_json: bool = False) -> None:
    """Save a motion with its edits and print where it was saved."""
    from echomimic import motion

    motion.save_motion(output, found, edits)
    if as_json:
        print_json("saved", path=str(output), **_facts(found))
    else:
        print_line(f"{output}: {_described(found)}")


def _facts(found: Motion) -> dict[str, object]:
    kind = "landmarks" if isinstance(found, LandmarkTrack) else "pose"
    facts: dict[str, object] = {"kind": kind, "frames": len(found), "fps": found.fps, "canvas": list(found.image_size)}
    if isinstance(found, LandmarkTrack):
        seen = {"seen": float(found.valid.mean()), "curves": found.curves is not None, "parts": found.parts}
        facts |= seen
    return facts


def _described(found: Motion) -> str:
    facts = _facts(found)
    words = f"{facts['kind']}, {len(found)} frames, {len(found) / found.fps:.2f} s at {found.fps:g} a second"
    words += f", canvas {found.image_size[0]}x{found.image_size[1]}"
    if facts.get("curves"):
        words += ", with curves"
    return words + (f", parts {', '.join(found_parts)}" if (found_parts := getattr(found, "parts", None)) else "")


def _preflight(found: Motion, portrait: Path | None, voice: Path | None) -> tuple[str, ...]:
    from echomimic import media, motion

    seconds = None if voice is None else media.read_speech(voice).duration
    if portrait is None:
        return motion.preflight(found, seconds)
    size, person = _person(portrait, found)
    if isinstance(found, LandmarkTrack):
        return motion.preflight(found, seconds, size, landmarks=person)
    return motion.preflight(found, seconds, size, body=person)


def _pairs(texts: list[str]) -> list[tuple[float, float]]:
    """Pairs from texts of the form `0.4=0.8`."""
    try:
        pairs = [tuple(float(number) for number in text.split("=")) for text in texts]
        return [(first, second) for first, second in pairs]
    except ValueError:
        raise MotionError(f"{' '.join(texts)!r} are not pairs of numbers; expected them as 0.4=0.8 1.2=1.0") from None


def _metavar(field: FieldInfo) -> str | None:
    extra: Any = field.json_schema_extra
    return extra["metavar"]


def _value(field: FieldInfo, given: Any) -> Any:
    metavar = _metavar(field) or ""
    if metavar == "A,B":
        return [part.strip() for part in given.split(",") if part.strip()]
    if "=" in metavar:
        return _pairs(given)
    if metavar == "OTHER":
        return given.name
    return [path.name for path in given] if metavar == "OTHER…" else given


def _parameter(name: str, field: FieldInfo) -> Parameter:
    """A positional argument for a required field, a flag for any other."""
    metavar = _metavar(field) or ""
    kinds = {"A,B": str, "OTHER": Path, "OTHER…": list[Path]} | dict.fromkeys(("CURVE", "EASE", "EXPRESSION"), str)
    kind: Any = list[str] if "=" in metavar else kinds.get(metavar, float)
    if field.is_required():
        about = typer.Argument(metavar=metavar, help=field.description)
        return Parameter(name, Parameter.KEYWORD_ONLY, annotation=Annotated[kind, about])
    default = ",".join(field.default) if metavar == "A,B" else field.default
    about = typer.Option(metavar=metavar or None, help=field.description, show_default=default not in (None, ""))
    kind = float | None if default is None else kind
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, about])


def _command(model: type[Edit]) -> Callable[..., None]:
    """The command of one kind of edit: read the track, apply, save with one more edit."""
    fields = {name: field for name, field in model.model_fields.items() if name not in ("op", "handles")}

    def command(source: Path, output: Path, **given: Any) -> None:
        with reporting(False):
            from echomimic import motion

            others = [path for value in given.values() for path in (value if isinstance(value, list) else [value])]
            files = iter([path for path in others if isinstance(path, Path)])
            values = {name: _value(field, given[name]) for name, field in fields.items()}
            edit = read_edit({"op": model.model_fields["op"].default, **values})
            _edit(source, output, (edit,), lambda _: motion.load_motion(next(files)))

    parameters = [
        Parameter("source", Parameter.KEYWORD_ONLY, annotation=Track),
        *(_parameter(name, field) for name, field in fields.items()),
        Parameter("output", Parameter.KEYWORD_ONLY, annotation=Out),
    ]
    command.__doc__ = model.__doc__
    set_parameters(command, parameters)
    return command


def _edit(source: Path, output: Path, edits: tuple[Edit, ...], load: Callable[[str], Any]) -> None:
    from echomimic import motion
    from echomimic.editing import edit_motion

    motion.check_motion_path(output)
    track, before = motion.load_with_edits(source)
    save(output, edit_motion(track, edits, load), (*before, *edits))


for _op, _model in EDITS.items():
    if _op not in ("note", "layer"):
        motion_app.command(_model.command or _op)(_command(_model))


@motion_app.command()
def replay(
    source: Track,
    edited: Annotated[Path, argument("EDITED", "a saved motion with edits: see 'motion show'")],
    output: Out,
) -> None:
    """Apply the edits of another saved motion, for instance to the track of another voice."""
    with reporting(False):
        from echomimic import motion

        edits = tuple(edit for edit in motion.load_edits(edited) if edit.op != "note")
        if not edits:
            raise MotionError(f"{edited} has no edits that can be applied again; expected a motion with edits")
        _edit(source, output, edits, lambda name: motion.load_motion(edited.parent / Path(name).name))
