"""The mark in frames, the render record in tags, and signatures."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from echomimic.api import recorded_edits
from echomimic.errors import OutputError, SetupError, VideoError
from echomimic.media import read_tags, write_clip
from echomimic.motion import read_edits, save_motion
from echomimic.options import Options, make_options
from echomimic.provenance import (
    TAG,
    RenderRecord,
    check_signing,
    digest,
    find_mark,
    make_test_keys,
    mark_frames,
    new_record,
    read_credentials,
    read_record,
    sign_in_place,
)
from echomimic.provenance.mark import (
    CODED_BITS,
    PAIRS,
    TILE,
    decode_payload,
    encode_payload,
    find_mark_in,
    layout,
    tiles,
)
from echomimic.replay import compare_videos
from echomimic.types import Curves, LandmarkTrack, Picture, Portrait, PoseTrack

PAYLOAD = b"\x00\xff\x10\x80\x7f\x33"
FPS = 25.0


def textured_frames(count: int = 75, size: tuple[int, int] = (256, 256)) -> list[Picture]:
    """A still picture with texture and a moving patch."""
    random = np.random.default_rng(3)
    height, width = size
    picture = cv2.GaussianBlur(random.normal(128, 160, (height, width, 3)).astype(np.float32), (0, 0), 3)
    frames = []
    for index in range(count):
        frame = picture.astype(np.float32)
        x = 20 + index % 60
        frame[60:120, x : x + 60] += 40
        frames.append(np.clip(frame, 0, 255).astype(np.uint8))
    return frames


def marked(frames: list[Picture], payload: bytes = PAYLOAD, fps: float = FPS) -> list[Picture]:
    return list(mark_frames(iter(frames), fps, payload))


@cache
def marked_frames() -> list[Picture]:
    """Two seconds with a mark, which several tests write and none changes."""
    return marked(textured_frames(50))


def write(path: Path, frames: list[Picture], tags: dict[str, str] | None = None, fps: float = FPS) -> Path:
    write_clip(path, frames, fps, None, tags or {})
    return path


def record(**changes: object) -> RenderRecord:
    made = new_record("mesh", Options(), (256, 256), 75, FPS, portrait="a" * 64, speech="b" * 64)
    return replace(made, **changes)  # type: ignore[arg-type]


def test_the_code_corrects_errors() -> None:
    random = np.random.default_rng(0)
    sent = encode_payload(PAYLOAD)
    assert len(sent) == CODED_BITS and set(sent) == {-1.0, 1.0}
    wrong = sent + random.normal(0, 0.75, CODED_BITS)  # one bit in ten has the wrong sign
    assert (np.sign(wrong) != sent).sum() > 5
    assert decode_payload(wrong) == PAYLOAD
    assert decode_payload(random.normal(0, 1, CODED_BITS)) is None
    with pytest.raises(ValueError, match="5 bytes; expected 6"):
        encode_payload(b"short")


def test_tiles_are_band_limited_and_hold_the_payload() -> None:
    made = tiles(encode_payload(PAYLOAD))
    spectra = np.fft.fft2(made)
    outside = (layout().radius < 1.9) | (layout().radius > 8.1)
    assert made.shape == (PAIRS, TILE, TILE) and np.abs(spectra[:, outside]).max() < 1e-3 * np.abs(spectra).max()
    assert decode_payload(layout().received_bits(spectra)) == PAYLOAD


def test_a_mark_cannot_be_seen_and_cancels_over_time() -> None:
    frames = textured_frames(50, (128, 192))
    made = marked(frames)
    difference = np.stack(made).astype(np.float32) - np.stack(frames)
    assert 10 * np.log10(255**2 / (difference**2).mean()) > 43
    assert np.abs(difference).max() <= 12
    still = marked([frames[0]] * 50)  # one period
    assert np.abs((np.stack(still).astype(np.float32) - frames[0]).mean(0)).mean() < 0.1
    flat = np.full((64, 64, 3), 128, np.uint8)
    assert np.abs(np.stack(marked([flat] * 50)).astype(int) - 128).max() <= 1


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ""])
def test_a_mark_is_found_in_a_file(tmp_path: Path, suffix: str) -> None:
    found = find_mark(write(tmp_path / f"a{suffix}", marked_frames()))
    assert found.found and found.payload == PAYLOAD, found


def test_a_mark_survives_a_resize_a_crop_and_another_start(tmp_path: Path) -> None:
    frames = marked(textured_frames(75))
    small = [np.asarray(cv2.resize(frame, (128, 128), interpolation=cv2.INTER_AREA), np.uint8) for frame in frames]
    assert find_mark(write(tmp_path / "small.mp4", small)).payload == PAYLOAD
    cropped = [frame[12:-12, 12:-12] for frame in frames[13:]]
    assert find_mark(write(tmp_path / "crop.mp4", cropped)).payload == PAYLOAD


def test_no_mark_is_found_where_there_is_none(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    noise = [random.integers(0, 256, (96, 96, 3)).astype(np.uint8) for _ in range(60)]
    for name, frames in {"still": textured_frames(), "noise": noise}.items():
        found = find_mark(write(tmp_path / f"{name}.mp4", frames))
        assert not found.found and found.payload is None and found.score < 7, (name, found)
    assert find_mark_in([]).score == 0


def test_a_record_survives_every_format(tmp_path: Path) -> None:
    made = record()
    for name in ("a.mp4", "a.webm", "a.gif", "folder"):
        path = write(tmp_path / name, textured_frames(6, (64, 64)), {"comment": "made by x", TAG: made.to_json()})
        assert read_record(path) == made, name
        assert read_tags(path)["comment"].splitlines()[0].endswith("made by x")
    assert read_record(write(tmp_path / "b.mp4", textured_frames(3, (64, 64)))) is None
    assert record().payload() != record(preset="v1").payload()


def test_videos_are_compared_frame_by_frame(tmp_path: Path) -> None:
    frames = textured_frames(6, (64, 64))
    one = write(tmp_path / "one", frames)
    assert compare_videos(one, write(tmp_path / "same", frames)) == (None, 0.0)
    changed = [*frames[:4], (frames[4] ^ 1).astype(np.uint8), frames[5]]
    first, mean = compare_videos(one, write(tmp_path / "other", changed))
    assert first == 4 and mean == pytest.approx(1 / 6)
    assert compare_videos(one, write(tmp_path / "short", frames[:5])) == (5, None)
    assert compare_videos(one, write(tmp_path / "small", textured_frames(6, (32, 32)))) == (0, None)


def test_a_record_names_no_place(tmp_path: Path) -> None:
    text = new_record("mesh", make_options({"workers": 3}), (64, 64), 3, 25.0, portrait="c", speech="d").to_json()
    assert "/" not in text and "workers" not in text and "device" not in text


def test_a_record_holds_the_edits_of_a_motion_without_names(tmp_path: Path) -> None:
    shift = {"op": "shift_curve", "curve": "yaw", "keys": [[0.0, 0.0], [0.5, 4.0]]}
    edits = read_edits(
        [
            {"op": "note", "text": "tracked from /home/anna/film.mp4"},
            {"op": "concat", "others": ["/home/anna/b.npz"]},
            {"op": "layer", "name": "anna", "edits": [shift]},
        ]
    )
    track = LandmarkTrack(np.zeros((4, 478, 3), np.float32), (64, 64), 25.0, np.ones(4, bool), Curves.rest(4, 25.0))
    found = recorded_edits(save_motion(tmp_path / "m.npz", track, edits))
    assert [edit["op"] for edit in found] == ["concat", "layer"] and found[1]["edits"][0]["curve"] == "yaw"
    assert "anna" not in record(edits=found).to_json() and record(edits=found).key() == record().key()
    assert recorded_edits(save_motion(tmp_path / "n.npz", track, edits[2:] * 300)) == [{"op": "layer"}] * 300
    assert recorded_edits(None) == []


@pytest.mark.parametrize("change", ['"frames":75', '"preset":"mesh"', '"version"'])
def test_an_edited_record_is_refused_in_one_line(tmp_path: Path, change: str) -> None:
    text = record().to_json().replace(change, '"frames":"many"' if "frames" in change else '"other":1,"also"')
    path = write(tmp_path / "a.mp4", textured_frames(3, (64, 64)), {TAG: text})
    with pytest.raises(VideoError, match=r"damaged render record .*; expected what echomimic wrote") as raised:
        read_record(path)
    assert "\n" not in str(raised.value)


def test_digests_of_files_and_of_arrays(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert digest(tmp_path / "a").startswith("ba7816bf")
    pixels = np.zeros((4, 4, 3), np.uint8)
    assert (
        digest(Portrait(pixels))
        == digest(Portrait(pixels.copy(), name="other"))
        != digest(Portrait(np.ones_like(pixels)))
    )
    track = PoseTrack(np.zeros((2, 18, 3)), np.zeros((2, 2, 21, 3)), np.zeros((2, 68, 3)), 25.0)
    assert digest(track) != digest(replace(track, fps=24.0))


def test_a_signature_shows_every_change(tmp_path: Path) -> None:
    pytest.importorskip("c2pa")
    keys = make_test_keys(tmp_path / "keys")
    assert keys.key.stat().st_mode & 0o077 == 0
    path = write(tmp_path / "a.mp4", textured_frames(10, (64, 64)), {TAG: record().to_json()})
    assert read_credentials(path) is None
    sign_in_place(path, keys, record())
    found = read_credentials(path)
    assert found is not None and found.intact and found.ai_generated and not found.trusted
    assert found.generator.startswith("echomimic") and read_record(path) == record()
    assert [entry.name for entry in tmp_path.glob("a*")] == ["a.mp4"]
    data = bytearray(path.read_bytes())
    data[-200] ^= 1
    path.write_bytes(data)
    changed = read_credentials(path)
    assert changed is not None and not changed.intact and changed.problems


def test_keys_that_cannot_sign_are_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("c2pa")
    keys, other = make_test_keys(tmp_path), make_test_keys(tmp_path / "other")
    monkeypatch.setattr("echomimic.provenance.signing.DAYS", -0.5)
    expired = make_test_keys(tmp_path / "expired")
    check_signing(Path("a.mp4"), keys)
    swapped = replace(keys, certificates=keys.key, key=keys.certificates)
    for output, given, words in (
        ("a.webm", keys, r"cannot hold a signature; expected a name that ends in \.mp4, \.gif"),
        ("a.mp4", swapped, "not a PEM private key without a password"),
        ("a.mp4", replace(keys, certificates=keys.key), "is not a PEM certificate chain"),
        ("a.mp4", replace(keys, key=other.key), "is not the key of the first certificate"),
        ("a.mp4", expired, "expected one that is valid today: renew it"),
        ("a.mp4", replace(keys, key=tmp_path / "none.pem"), "cannot be read"),
    ):
        with pytest.raises(OutputError, match=words) as raised:
            check_signing(Path(output), given)
        assert "\n" not in str(raised.value)
    with pytest.raises(OutputError, match="exists; expected a folder without keys"):
        make_test_keys(tmp_path)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "c2pa", None)
    with pytest.raises(SetupError, match=r"c2pa-python is missing, .*provenance"):
        read_credentials(tmp_path / "a.mp4")
