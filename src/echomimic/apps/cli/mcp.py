"""`echomimic mcp`: tools for assistants over the Model Context Protocol."""

from pathlib import Path
from typing import Annotated

import typer

from echomimic.errors import OptionError, SetupError
from echomimic.installation import missing_package


def mcp(
    allow: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="a folder to read and write; default: the current one; repeatable"),
    ] = None,
) -> None:
    """Serve tools for an assistant on stdin and stdout: animate, plan, track, edit_motion, evaluate, verify."""
    folders = allow or [Path()]
    for folder in folders:
        if not folder.is_dir():
            raise OptionError(f"`allow` {folder} is no folder; expected one that exists")
    try:
        from echomimic.apps.mcp import make_server
    except ImportError as error:
        raise SetupError(missing_package(error.name, "mcp", "the server of tools needs")) from None
    make_server(folders).run("stdio")
