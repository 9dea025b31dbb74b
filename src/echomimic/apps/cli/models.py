"""`echomimic models`: the networks that find faces, bodies and hands, and how they get here."""

from pathlib import Path
from typing import Annotated

import typer

from echomimic.apps.cli.reporter import print_line, reporting

app = typer.Typer(help="The small networks that find faces, bodies and hands: list or fetch their files.")


@app.command("list")
def list_models() -> None:
    """Every network file, its size, and the path of the one that is used."""
    with reporting(False):
        from echomimic.landmarks.networks.files import FILES, find_file

        for name, file in FILES.items():
            path = find_file(name)
            print_line(f"{name:<18} {file.size / 1e6:5.1f} MB  {path or 'not here'}")


@app.command()
def fetch(
    source: Annotated[
        Path | None,
        typer.Argument(metavar="WHEEL", help="the mediapipe 0.10.21 wheel, or a folder with it; default: download it"),
    ] = None,
) -> None:
    """Download the mediapipe 0.10.21 wheel with pip or uv, and keep the network files that it holds."""
    with reporting(False):
        from echomimic.landmarks.networks.fetch import fetch_networks
        from echomimic.landmarks.networks.files import FILES, cache_folder

        fetched = fetch_networks(source)
        where = f", {len(fetched)} of them new in {cache_folder()}" if fetched else ""
        print_line(f"all {len(FILES)} network files are here{where}")
