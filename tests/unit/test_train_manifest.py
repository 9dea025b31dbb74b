"""The manifest of a data set and the rights of its recordings."""

import io
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from echomimic.checkpoints import checksum
from echomimic.errors import InputError, OptionError
from echomimic.train.diffusion.manifest import (
    Checksums,
    Row,
    Source,
    SyncScore,
    append_rows,
    check_files,
    format_row,
    hours_by_rights,
    read_manifest,
    row_files,
    write_rows,
)
from echomimic.train.diffusion.rights import Rights, read_rights, require_written_consent

RIGHTS = Rights("CC-BY-4.0", "written", "anna")


def make_row(folder: Path, name: str, **values: Any) -> Row:
    """A row whose files exist."""
    place = folder / "clips" / name[:2]
    place.mkdir(parents=True, exist_ok=True)
    paths = {}
    for field, suffix in (("clip", ".mp4"), ("sound", ".flac"), ("track", ".npz")):
        paths[field] = place / f"{name}{suffix}"
        paths[field].write_bytes(f"{field} of {name}".encode())
    relative: Any = {field: str(path.relative_to(folder)) for field, path in paths.items()}
    made = Row(
        id=name,
        kind="face",
        source=Source("a.mp4", "00", start=1.5, stop=4.5),
        rights=RIGHTS,
        settings="s",
        frames=72,
        size=(64, 64),
        sync=SyncScore(1, 0.6, 0.4),
        checksums=Checksums(**{field: checksum(path) for field, path in paths.items()}),
        **relative,
    )
    return replace(made, **values)


def test_rows_survive_writing_and_appending(tmp_path: Path) -> None:
    rows = [make_row(tmp_path, "aa01"), make_row(tmp_path, "bb02", dropped="yaw", detail="41 degrees")]
    write_rows(tmp_path / "manifest.jsonl", rows[:1])
    append_rows(tmp_path / "manifest.jsonl", rows[1:])
    assert read_manifest(tmp_path, dropped=True) == rows
    assert read_manifest(tmp_path, "face") == rows[:1]
    assert rows[0].seconds == 3
    assert hours_by_rights(rows) == {("CC-BY-4.0", "written"): pytest.approx(6 / 3600)}


def test_a_broken_manifest_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    for text, words in (
        (None, "cannot be read"),
        ("", "no clip to train on"),
        ("{\n", "manifest.jsonl:1"),
        (format_row(make_row(tmp_path, "aa")).replace('"frames"', '"frame"'), "frame"),
        (format_row(make_row(tmp_path, "aa", dropped="cut")), "(1 dropped)"),
    ):
        if text is not None:
            path.write_text(text)
        with pytest.raises(InputError) as caught:
            read_manifest(tmp_path)
        assert words in str(caught.value) and "\n" not in str(caught.value)


def test_mixed_kinds_are_refused_where_one_is_asked_for(tmp_path: Path) -> None:
    rows = [make_row(tmp_path, "aa"), make_row(tmp_path, "bb", kind="half")]
    write_rows(tmp_path / "manifest.jsonl", rows)
    assert read_manifest(tmp_path) == rows
    with pytest.raises(InputError, match="mixes kinds: clip bb is 'half'"):
        read_manifest(tmp_path, "face")


def test_a_file_that_is_gone_or_changed_is_named(tmp_path: Path) -> None:
    row = make_row(tmp_path, "aa01")
    assert check_files(tmp_path, row).sound == tmp_path / "clips/aa/aa01.flac"
    (tmp_path / row.sound).write_bytes(b"other")
    with pytest.raises(InputError, match=r"aa01\.flac .*has changed"):
        check_files(tmp_path, row)
    (tmp_path / row.sound).unlink()
    with pytest.raises(InputError, match=r"aa01\.flac .*cannot be read"):
        check_files(tmp_path, row)


def test_files_in_a_shard_are_unpacked_once(tmp_path: Path) -> None:
    row = make_row(tmp_path, "aa01")
    (tmp_path / "shards").mkdir()
    with tarfile.open(tmp_path / "shards/000000.tar", "w") as tar:
        for path in sorted((tmp_path / "clips/aa").iterdir()):
            info = tarfile.TarInfo(path.name)
            info.size = path.stat().st_size
            tar.addfile(info, io.BytesIO(path.read_bytes()))
    packed = replace(row, shard="shards/000000.tar", clip="", sound="", track="")
    files = check_files(tmp_path, packed)
    assert files.clip.read_text() == "clip of aa01"
    (tmp_path / "shards/000000.tar").unlink()
    assert row_files(tmp_path, packed) == files
    with pytest.raises(InputError, match=r"000000\.tar cannot be read"):
        row_files(tmp_path, replace(packed, id="bb01"))


def test_rights_have_defaults_and_entries_by_name(tmp_path: Path) -> None:
    path = tmp_path / "rights.toml"
    path.write_text(
        '[defaults]\nlicence = "CC0-1.0"\nconsent = "none-stated"\n'
        '[files."b*.mp4"]\nconsent = "written"\nsubject = "bob"\nlanguage = "en"\n'
        '[files."b2.mp4"]\nurl = "https://example.org/b2"\n'
    )
    rights = read_rights(path)
    assert rights.of("a.mp4").rights == Rights("CC0-1.0", "none-stated", "a")
    assert rights.of("b1.mp4").rights == Rights("CC0-1.0", "written", "bob")
    assert rights.of("b2.mp4").url == "https://example.org/b2" and rights.of("b2.mp4").language == "en"
    require_written_consent([rights.of("b1.mp4").rights], "tuning to one person")
    with pytest.raises(OptionError, match="a has consent = 'none-stated'"):
        require_written_consent([rights.of("a.mp4").rights], "tuning to one person")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read"),
        ("[defaults", "not TOML"),
        ("[default]\n", "unknown key 'default'"),
        ("[defaults]\nlicence = 'CC0'\n", "consent"),
        ("[defaults]\nlicence = ''\nconsent = 'written'\n", "licence"),
        ("[defaults]\nlicence = 'x'\nconsent = 'yes'\n", "consent"),
        ("[defaults]\nlicense = 'x'\nconsent = 'written'\n", "licence"),
        ("[files]\na = 3\n", "'a' is not a table"),
    ],
)
def test_unusable_rights_are_refused_in_one_line(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "rights.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_rights(path).of("a.mp4")
    assert words in str(caught.value) and "\n" not in str(caught.value)
