"""The rights of recordings: licence, consent and subject of each video, read from `rights.toml` beside the videos.

The file has `[defaults]` and an entry for each file (or pattern of names) that differs:

    [defaults]
    licence = "CC-BY-4.0"
    consent = "written"
    [files."anna_*.mp4"]
    subject = "anna"
"""

import sys
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from echomimic.errors import InputError, OptionError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE_NAME = "rights.toml"
Consent = Literal["written", "public-figure-licence", "none-stated"]
_CONFIG = ConfigDict(extra="forbid")
_ABOUT = ("url", "language")
"""Keys of `rights.toml` that describe the recording rather than its rights."""
EXPECTED = (
    f"{FILE_NAME} beside the videos with licence and consent (written, public-figure-licence or none-stated) under "
    "[defaults] or [files.NAME]"
)


@dataclass(frozen=True, config=_CONFIG)
class Rights:
    """The rights of a recording: its licence, the consent of the person shown, and who that person is.

    `subject` is any name that is the same for all recordings of one person. `commercial` says whether commercial use
    is allowed, `biometric_ok` whether the person agreed to the processing of the face and the voice.
    """

    licence: Annotated[str, Field(min_length=1)]
    consent: Consent
    subject: str = ""
    commercial: bool = False
    biometric_ok: bool = False
    note: str = ""


@dataclass(frozen=True, config=_CONFIG)
class Recording:
    """The rights of a video file, with its source address and the spoken language, if stated."""

    rights: Rights
    url: str = ""
    language: str = ""


@dataclass(frozen=True)
class RightsFile:
    """The content of a `rights.toml`: default values, and values by file name or pattern in the order of the file."""

    path: Path
    defaults: Mapping[str, Any]
    files: Mapping[str, Mapping[str, Any]]

    def of(self, name: str) -> Recording:
        """The rights of a file name; later entries that match win. Raises InputError if licence or consent is missing.

        The subject is the name of the file without its suffix unless it is stated.
        """
        values: dict[str, Any] = {"subject": Path(name).stem, **self.defaults}
        for pattern, entry in self.files.items():
            if name == pattern or fnmatchcase(name, pattern):
                values.update(entry)
        about = {key: values.pop(key) for key in _ABOUT if key in values}
        try:
            return TypeAdapter(Recording).validate_python({"rights": values, **about})
        except ValidationError as error:
            first = error.errors()[0]
            place = str(first["loc"][-1])
            raise InputError(f"{self.path}: {name}: {place}: {first['msg']}; expected {EXPECTED}") from None


def read_rights(path: Path) -> RightsFile:
    """Read a `rights.toml`. Raises InputError in one line if it is missing, no TOML, or has unknown keys."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); expected {EXPECTED}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML ({error}); expected {EXPECTED}") from None
    unknown = sorted(set(values) - {"defaults", "files"})
    if unknown:
        raise InputError(f"{path}: unknown key {unknown[0]!r}; expected {EXPECTED}")
    defaults, files = values.get("defaults", {}), values.get("files", {})
    if not isinstance(defaults, dict) or not isinstance(files, dict):
        raise InputError(f"{path}: defaults and files are not tables; expected {EXPECTED}")
    for name, entry in {"defaults": defaults, **files}.items():
        if not isinstance(entry, dict):
            raise InputError(f"{path}: the entry {name!r} is not a table; expected {EXPECTED}")
    return RightsFile(path, defaults, files)


def require_written_consent(rights: Sequence[Rights], use: str) -> None:
    """Raise OptionError unless every person shown has consented in writing; `use` is the purpose that needs it."""
    lacking = next((entry for entry in rights if entry.consent != "written"), None)
    if lacking is not None:
        raise OptionError(
            f"{use} needs written consent, and {lacking.subject or 'a subject'} has consent = {lacking.consent!r}; "
            f'expected consent = "written" in {FILE_NAME}: obtain it, then prepare again'
        )
