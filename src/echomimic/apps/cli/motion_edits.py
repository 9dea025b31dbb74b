"""The edits of `echomimic motion …`: a loop over the records of `echomimic.motion.edits`, and `replay`."""

from collections.abc import Callable
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo

from echomimic.apps.cli.motion import Out, Track, motion_app, save
from echomimic.apps.cli.reporter import reporting
from echomimic.errors import MotionError
from echomimic.motion import EDITS, BaseEdit, Edit, read_edit


def _pairs(texts: list[str]) -> list[tuple[float, float]]:
    """Pairs from texts of the form `0.4=0.8`."""
    try:
        pairs = [tuple(float(number) for number in text.split("=")) for text in texts]
        return [(first, second) for first, second in pairs]
    except ValueError:
        raise MotionError(f"{' '.join(texts)!r} are no pairs of numbers; expected them as 0.4=0.8 1.2=1.0") from None


def _metavar(field: FieldInfo) -> str | None:
    extra: Any = field.json_schema_extra
    return extra["metavar"]


def _value(field: FieldInfo, given: Any) -> Any:
    """What a record holds, from what the command line gives."""
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
    kinds = {"A,B": str, "OTHER": Path, "OTHER…": list[Path], "CURVE": str}
    kind: Any = list[str] if "=" in metavar else kinds.get(metavar, float)
    if field.is_required():
        about = typer.Argument(metavar=metavar, help=field.description)
        return Parameter(name, Parameter.KEYWORD_ONLY, annotation=Annotated[kind, about])
    default = ",".join(field.default) if metavar == "A,B" else field.default
    about = typer.Option(metavar=metavar or None, help=field.description, show_default=default not in (None, ""))
    kind = float | None if default is None else kind
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, about])


def _command(model: type[BaseEdit]) -> Callable[..., None]:
    """The command of one kind of edit: read the track, apply, save with one more edit."""
    fields = {name: field for name, field in model.model_fields.items() if name != "op"}

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
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    setattr(command, "__signature__", Signature(parameters))  # noqa: B010 - not in the type of a function
    return command


def _edit(source: Path, output: Path, edits: tuple[Edit, ...], load: Callable[[str], Any]) -> None:
    from echomimic import motion
    from echomimic.editing import edit_motion

    motion.check_motion_path(output)
    track, before = motion.load_with_edits(source)
    save(output, edit_motion(track, edits, load), (*before, *edits))


for _op, _model in EDITS.items():
    if _op != "note":
        motion_app.command(_model.command or _op)(_command(_model))


@motion_app.command()
def replay(
    source: Track,
    edited: Annotated[Path, typer.Argument(metavar="EDITED", help="a saved motion with edits: see 'motion show'")],
    output: Out,
) -> None:
    """Apply the edits of another saved motion, for instance to the track of another voice."""
    with reporting(False):
        from echomimic import motion

        edits = tuple(edit for edit in motion.load_edits(edited) if edit.op != "note")
        if not edits:
            raise MotionError(f"{edited} has no edits that can be applied again; expected a motion with edits")
        _edit(source, output, edits, lambda name: motion.load_motion(edited.parent / Path(name).name))
