"""How this package was installed, and the command that adds one of its extras."""

import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlparse

_NAME = "echomimic"


def python() -> str:
    """This Python interpreter as one word of a shell command."""
    return f'"{sys.executable}"' if " " in sys.executable else sys.executable or "python"


def install_command(extra: str = "") -> str:
    """The command that installs this package again, with an extra if one is named.

    It names the place that the package was installed from: its folder, repository or archive. A package called
    echomimic on a package index is not this one, so without a known place the packages of the extra are named instead.
    """
    source = _source()
    wanted = f"[{extra}]" if extra else ""
    if source is None:
        return _pip(" ".join(f"'{package}'" for package in _requirements(extra)) or "pip")
    kind, place = source
    if kind == "editable":
        return _pip(f"-e '{place}{wanted}'")
    return _pip(f"'{place}{wanted}'" if kind == "folder" else f"'{_NAME}{wanted} @ {place}'")


def missing_package(name: str | None, extra: str, purpose: str = "") -> str:
    """The message for a package that an extra brings and that is not installed."""
    return f"the package {name} is missing{purpose and ', which '}{purpose}; install it: {install_command(extra)}"


@contextmanager
def quiet_import() -> Iterator[None]:
    """Hide what packages log during import: torchao, which diffusers also imports, warns of missing devices."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _pip(arguments: str) -> str:
    return f"{python()} -m pip install {arguments}"


def _source() -> tuple[str, str] | None:
    """The kind of the place that the package was installed from, and the place (see PEP 610)."""
    checkout = Path(__file__).resolve().parents[2]
    found = _distribution()
    record = json.loads((found and found.read_text("direct_url.json")) or "{}")
    url = record.get("url", "")
    if "dir_info" in record:
        folder = unquote(urlparse(url).path)
        return "editable" if record["dir_info"].get("editable") else "folder", folder
    if "vcs_info" in record:
        return "url", f"{record['vcs_info']['vcs']}+{url}"
    if url:
        return "url", url
    return ("editable", str(checkout)) if (checkout / "pyproject.toml").is_file() else None


def _distribution() -> Distribution | None:
    try:
        return distribution(_NAME)
    except PackageNotFoundError:
        return None


def _requirements(extra: str) -> list[str]:
    """The requirements that an extra adds, or those of the core, without markers."""
    found = _distribution()
    marker = re.compile(rf"""extra == ['"]{re.escape(extra)}['"]""")
    rows = (row.partition(";") for row in (found.requires if found else None) or [])
    names = [name.strip() for name, _, rest in rows if (marker.search(rest) if extra else "extra" not in rest)]
    own = [name for name in names if name.startswith(f"{_NAME}[")]
    further = [
        name for extras in own for part in extras[len(_NAME) + 1 : -1].split(",") for name in _requirements(part)
    ]
    return [name for name in names if name not in own] + further
