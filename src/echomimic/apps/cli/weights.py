"""`echomimic weights`: which checkpoints there are, which are here, and how they get here."""

from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from echomimic.apps.cli.reporter import print_line, reporting
from echomimic.checkpoints import FILES, WeightFile, convert_file, default_folder, fetch, locate, require, search_paths
from echomimic.errors import OptionError, WeightsError
from echomimic.presets import PRESETS, find_preset

app = typer.Typer(help="The published checkpoints: list, check, fetch, convert, or say where they are.")

_Preset = Annotated[
    str, typer.Argument(metavar="PRESET", help="v1, v1-acc, v1-landmarks, v2 …, or all", show_default=False)
]
_From = Annotated[
    Path | None, typer.Option("--weights", metavar="DIR", help="the folder to look in; default: ECHOMIMIC_WEIGHTS")
]
_To = Annotated[Path | None, typer.Option("--to", metavar="DIR", help="where files go", show_default=False)]


def _files(name: str) -> dict[WeightFile, str]:
    """The files of a preset, or of all of them, each with a preset that needs it."""
    chosen = [preset for preset in PRESETS.values() if preset.files] if name == "all" else [find_preset(name)]
    files = {FILES[file]: preset.name for preset in reversed(chosen) for file in preset.files.values()}
    if not files:
        raise OptionError(f"preset {name} needs no weights; expected all or one of {', '.join(_with_files())}")
    return files


def _with_files() -> list[str]:
    return [preset.name for preset in PRESETS.values() if preset.files]


@app.command("list")
def list_files(weights: _From = None) -> None:
    """Every published file, the presets that need it, and whether it is here."""
    with reporting(False):
        places = search_paths(weights)
        for file in FILES.values():
            users = ", ".join(name for name, preset in PRESETS.items() if file.name in preset.files.values())
            state = "here" if locate(file, places) else "not here"
            print_line(f"{file.name:<28} {file.elements / 1e6:7.1f} M numbers  {state:<9} {users}")


@app.command()
def where(preset: _Preset = "all", weights: _From = None) -> None:
    """The folders that are searched, and the path of each file that is there."""
    with reporting(False):
        places = search_paths(weights)
        for place in places:
            print_line(f"{place}{'' if place.is_dir() else ' (not there yet)'}")
        for file in _files(preset):
            path = locate(file, places)
            if path is not None:
                print_line(f"  {file.name:<28} {path}")


@app.command()
def check(preset: _Preset = "all", weights: _From = None) -> None:
    """Whether every file is here, can be read, and holds exactly the tensors that its network has."""
    with reporting(False):
        from echomimic.diffusion.models import check_file

        failed = 0
        places = search_paths(weights)
        for file, user in _files(preset).items():
            try:
                print_line(f"ok      {file.name:<28} {check_file(file, require(file, places, user))}")
            except WeightsError as error:
                failed += 1
                print_line(f"FAULT   {file.name:<28} {error}")
        if failed:
            raise WeightsError(
                f"{failed} of {len(_files(preset))} files are missing or wrong; each line says what mends it"
            )


@app.command("fetch")
def fetch_files(preset: _Preset, to: _To = None) -> None:
    """Fetch a preset's files from the Hugging Face hub, going on where an earlier attempt stopped."""
    with reporting(False):
        folder = to or search_paths()[0]
        fetch(_files(preset), folder, print_line)
        print_line(f"all in {folder}{'' if folder == default_folder() else f': ECHOMIMIC_WEIGHTS={folder}'}")


@app.command()
def convert(
    preset: _Preset,
    weights: _From = None,
    to: _To = None,
    dtype: Annotated[str, typer.Option(help="bfloat16, float16, or stored")] = "bfloat16",
) -> None:
    """Write a preset's files as safetensors, by default in half the size; they are then preferred."""
    with reporting(False):
        if dtype not in ("bfloat16", "float16", "stored"):
            raise OptionError(f"dtype is {dtype!r}; expected bfloat16, float16 or stored")
        places = search_paths(weights)
        for file, user in _files(preset).items():
            source = require(file, places, user)
            path = convert_file(file, source, to or places[0], cast(Literal["bfloat16", "float16", "stored"], dtype))
            print_line(f"{path}  {source.stat().st_size / 1e6:.1f} MB -> {path.stat().st_size / 1e6:.1f} MB")
