"""`echomimic weights` and `echomimic models`: the published checkpoints, and the networks that find faces and hands."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from echomimic.apps.cli.flags import argument, option
from echomimic.apps.cli.reporter import print_line, reporting
from echomimic.checkpoints import FILES, WeightFile, convert_file, default_folder, fetch, locate, require, search_paths
from echomimic.errors import OptionError, WeightsError
from echomimic.presets import PRESETS, find_preset

app = typer.Typer(help="List, locate, check, fetch and convert the published checkpoints.")

_Preset = Annotated[str, argument("PRESET", "v1, v1-acc, v1-landmarks, v2 …, or all", show_default=False)]
_From = Annotated[Path | None, option("DIR", "folder to search; default: ECHOMIMIC_WEIGHTS", "--weights")]
_To = Annotated[Path | None, option("DIR", "folder to write to", "--to", show_default=False)]


def _files(name: str) -> dict[WeightFile, str]:
    """The files of a preset, or of all presets, each with one preset that needs it."""
    with_files = [preset for preset in PRESETS.values() if preset.files]
    chosen = with_files if name == "all" else [find_preset(name)]
    files = {FILES[file]: preset.name for preset in reversed(chosen) for file in preset.files.values()}
    if not files:
        names = ", ".join(preset.name for preset in with_files)
        raise OptionError(f"preset {name} needs no weights; expected all or one of {names}")
    return files


@app.command("list")
def list_files(weights: _From = None) -> None:
    """List every published file, the presets that need it, and whether it is here."""
    places = search_paths(weights)
    for file in FILES.values():
        users = ", ".join(name for name, preset in PRESETS.items() if file.name in preset.files.values())
        state = "here" if locate(file, places) else "not here"
        print_line(f"{file.name:<28} {file.elements / 1e6:7.1f} M numbers  {state:<9} {users}")


@app.command()
def where(preset: _Preset = "all", weights: _From = None) -> None:
    """List the folders that are searched, and the path of each file that is found."""
    places = search_paths(weights)
    for place in places:
        print_line(f"{place}{'' if place.is_dir() else ' (does not exist yet)'}")
    for file in _files(preset):
        path = locate(file, places)
        if path is not None:
            print_line(f"  {file.name:<28} {path}")


@app.command()
def check(preset: _Preset = "all", weights: _From = None) -> None:
    """Check that every file is here, can be read, and holds exactly the tensors of its network."""
    from echomimic.diffusion.networks import check_file

    files, places, faults = _files(preset), search_paths(weights), 0
    for file, user in files.items():
        try:
            print_line(f"ok      {file.name:<28} {check_file(file, require(file, places, user))}")
        except WeightsError as error:
            faults += 1
            print_line(f"FAULT   {file.name:<28} {error}")
    if faults:
        raise WeightsError(f"{faults} of {len(files)} files are missing or wrong; each line says how to fix it")


@app.command("fetch")
def fetch_files(preset: _Preset, to: _To = None) -> None:
    """Download a preset's files from the Hugging Face hub; an interrupted download is continued."""
    with reporting(False):
        folder = to or search_paths()[0]
        fetch(_files(preset), folder, print_line)
        print_line(f"all in {folder}{'' if folder == default_folder() else f': ECHOMIMIC_WEIGHTS={folder}'}")


@app.command()
def convert(
    preset: _Preset,
    weights: _From = None,
    to: _To = None,
    dtype: Annotated[
        Literal["bfloat16", "float16", "stored"], typer.Option(help="number format of the new files")
    ] = "bfloat16",
) -> None:
    """Write a preset's files as safetensors, by default in half the size; these are preferred afterwards."""
    places = search_paths(weights)
    for file, user in _files(preset).items():
        source = require(file, places, user)
        path = convert_file(file, source, to or places[0], dtype)
        print_line(f"{path}  {source.stat().st_size / 1e6:.1f} MB -> {path.stat().st_size / 1e6:.1f} MB")


models_app = typer.Typer(help="The small networks that find faces, bodies and hands: list or fetch their files.")


@models_app.command("list")
def list_models() -> None:
    """List every network file with its size and the path that is used."""
    with reporting(False):
        from echomimic.landmarks.networks.files import FILES, find_file

        for name, file in FILES.items():
            path = find_file(name)
            print_line(f"{name:<18} {file.size / 1e6:5.1f} MB  {path or 'not here'}")


@models_app.command("fetch")
def fetch_models(
    source: Annotated[
        Path | None, argument("WHEEL", "the mediapipe 0.10.21 wheel, or a folder with it; default: download it")
    ] = None,
) -> None:
    """Download the mediapipe 0.10.21 wheel with pip or uv, and keep the network files that it holds."""
    with reporting(False):
        from echomimic.landmarks.networks.files import FILES, cache_folder, fetch_networks

        fetched = fetch_networks(source)
        where = f", {len(fetched)} of them new in {cache_folder()}" if fetched else ""
        print_line(f"all {len(FILES)} network files are here{where}")
