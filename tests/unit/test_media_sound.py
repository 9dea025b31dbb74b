"""Reading sound: every kind of file and rate, true length and loudness, errors and notes for bad files."""

from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from echomimic.errors import SoundError
from echomimic.media import read_speech, sound_blocks, speech_from_samples
from echomimic.media.sound import Chunk, fold, mix, speech_chunks
from echomimic.notes import collect_notes
from echomimic.types import Speech
from helpers.media_samples import encoded, picture, tone, write_sound, write_video, write_wav


def decoded(speech: Speech, rate: int = 16000) -> np.ndarray:
    return np.concatenate(list(sound_blocks(speech, rate)))


def loudness(samples: np.ndarray) -> float:
    """The amplitude of a sine, from the middle half."""
    quarter = len(samples) // 4
    return float(np.sqrt(2 * np.mean(samples[quarter:-quarter] ** 2)))


@pytest.mark.parametrize("kind", ["u8", "s16", "s24", "s32", "f32", "f64"])
def test_every_sample_format_has_the_same_loudness(tmp_path: Path, kind: str) -> None:
    speech = read_speech(write_wav(tmp_path / "a.wav", tone(), kind=kind))
    assert (speech.rate, speech.channels, speech.duration) == (16000, 1, 1.0)
    assert loudness(decoded(speech)) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("suffix", [".mp3", ".m4a", ".flac", ".ogg", ".opus", ".webm"])
@pytest.mark.parametrize("channels", [1, 2])
def test_compressed_files_keep_length_place_and_loudness(tmp_path: Path, suffix: str, channels: int) -> None:
    samples = tone(1.5, 48000, channels)
    samples[:24000] = 0  # the tone starts at 0.5 s
    speech = read_speech(write_sound(tmp_path / f"a{suffix}", samples))
    assert speech.duration == pytest.approx(1.5, abs=0.06)
    assert (speech.rate, speech.channels) == (48000, channels)
    mono = decoded(speech)
    assert len(mono) == pytest.approx(speech.duration * 16000, abs=20)
    assert np.flatnonzero(np.abs(mono) > 0.2)[0] / 16000 == pytest.approx(0.5, abs=0.02)
    assert loudness(mono[8000:24000]) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 96000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_equal_channels_are_as_loud_as_one(tmp_path: Path, rate: int, channels: int) -> None:
    mono = decoded(read_speech(write_wav(tmp_path / "a.wav", tone(1.0, rate, channels), rate)))
    assert mono.dtype == np.float32
    assert mono.ndim == 1
    assert len(mono) == pytest.approx(16000, abs=20)
    assert loudness(mono) == pytest.approx(0.5, abs=0.01)


def test_the_voice_in_the_centre_of_surround_sound_is_heard_and_the_bass_is_not() -> None:
    names = ("FL", "FR", "FC", "LFE", "BL", "BR")
    centre, bass = np.zeros((4, 6), np.float32), np.zeros((4, 6), np.float32)
    centre[:, 2], bass[:, 3] = 1, 1
    assert mix(Chunk(centre, 48000, names)) == pytest.approx(0.5)
    assert mix(Chunk(bass, 48000, names)) == pytest.approx(0.0)


def test_folding_keeps_fitting_channels_and_repeats_the_mix_otherwise() -> None:
    stereo = Chunk(np.array([[0.2, 0.4]], np.float32), 48000)
    assert fold(stereo, 2) is stereo.samples
    assert fold(stereo, 6) == pytest.approx(0.3)


def test_the_sound_track_of_a_video_starts_where_it_plays(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", 50, sound=tone(1.0, 48000, 2), sound_start=0.5)
    speech = read_speech(path)
    assert speech.duration == pytest.approx(1.5, abs=0.05)
    assert np.flatnonzero(np.abs(decoded(speech)) > 0.2)[0] / 16000 == pytest.approx(0.5, abs=0.02)


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.flac", tone(1.0, 48000)).rename(tmp_path / "a.wav")
    assert read_speech(tmp_path / "a.wav").duration == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("name", ["with space.wav", "Stimme für 声音.wav", "a:b.wav", "100%d.wav", "-o.wav"])
def test_files_with_odd_names_are_accepted(tmp_path: Path, name: str) -> None:
    assert read_speech(write_wav(tmp_path / name, tone())).name == Path(name).stem


def test_long_sound_comes_in_blocks_of_some_ten_seconds(tmp_path: Path) -> None:
    blocks = list(sound_blocks(read_speech(write_wav(tmp_path / "a.wav", tone(35.0)))))
    assert [round(len(block) / 16000) for block in blocks[:-1]] == [10, 10, 10]
    assert sum(map(len, blocks)) == 35 * 16000


def test_blocks_join_without_a_click(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", tone(25.0, 44100), 44100)
    mono = decoded(read_speech(path))
    assert np.abs(np.diff(mono))[200:-200].max() < 1.1 * 0.5 * 2 * np.pi * 220 / 16000


def test_memory_stays_flat_over_a_long_sound(tmp_path: Path) -> None:
    import tracemalloc

    short = write_wav(tmp_path / "short.wav", tone(30.0))
    long = write_wav(tmp_path / "long.wav", tone(120.0))
    peaks = []
    for path in (short, short, long):
        tracemalloc.start()
        speech = read_speech(path)
        assert sum(len(block) for block in sound_blocks(speech)) == round(speech.duration * 16000)
        assert speech.samples is None
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.1 * peaks[1]


def test_silence_is_noted(tmp_path: Path) -> None:
    with collect_notes() as notes:
        speech = read_speech(write_wav(tmp_path / "quiet.wav", np.zeros((8000, 2), np.float32)))
    assert speech.silent
    assert notes == ["quiet.wav is silent: the face will move idly, without speaking"]


def test_channels_that_cancel_each_other_are_noted(tmp_path: Path) -> None:
    samples = tone(1.0, 16000, 2) * np.array([1, -1], np.float32)
    with collect_notes() as notes:
        assert read_speech(write_wav(tmp_path / "wide.wav", samples)).silent
    assert "cancel" in notes[0]


def test_a_cut_off_file_is_used_as_far_as_it_goes(tmp_path: Path) -> None:
    whole = write_sound(
        tmp_path / "a.flac", tone(4.0, 48000) + 0.1 * np.random.default_rng(0).random((192000, 1), np.float32)
    )
    data = whole.read_bytes()
    cut = tmp_path / "cut.flac"
    cut.write_bytes(data[: len(data) // 2])
    with collect_notes() as notes:
        speech = read_speech(cut)
    assert 1.5 < speech.duration < 2.5
    assert len(notes) == 1
    assert "promises 4.0 s" in notes[0]
    assert len(decoded(speech)) == pytest.approx(speech.duration * 16000, abs=20)


def test_damage_in_the_middle_is_noted_and_left_out(tmp_path: Path) -> None:
    data = bytearray(write_sound(tmp_path / "a.mp3", tone(4.0, 48000, 2)).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 6000] = np.random.default_rng(1).integers(0, 256, 6000, np.uint8).tobytes()
    (tmp_path / "b.mp3").write_bytes(data)
    with collect_notes() as notes:
        speech = read_speech(tmp_path / "b.mp3")
    assert 3.0 < speech.duration < 4.2
    assert len(notes) <= 1
    assert np.isfinite(decoded(speech)).all()


def _text(path: Path) -> None:
    path.write_text("I am no sound. Ich auch nicht: äöü.\n" * 50, encoding="utf-8")


def _playlist(path: Path) -> None:
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:9/a.ts\n")


def _picture(path: Path) -> None:
    Image.fromarray(picture()).save(path, "PNG")


def _cut(path: Path) -> None:
    whole = write_sound(path.with_suffix(".m4a"), tone(1.0, 48000)).read_bytes()
    path.write_bytes(whole[: len(whole) // 3])


def _mute_video(path: Path) -> None:
    write_video(path.with_suffix(".mp4")).rename(path)


BAD = {
    "missing": (lambda path: None, "does not exist"),
    "folder": (lambda path: path.mkdir(), "is a folder"),
    "empty": (lambda path: path.touch(), "is empty"),
    "text": (_text, "holds text"),
    "playlist": (_playlist, "holds text"),
    "noise": (lambda path: path.write_bytes(np.random.default_rng(0).bytes(5000)), "expected a sound"),
    "picture": (_picture, "is a picture"),
    "no sound track": (_mute_video, "without sound"),
    "cut before the sound": (_cut, "damaged"),
    "no samples": (lambda path: write_wav(path, np.zeros((0, 1), np.float32)), "no sound in it"),
    "one sample": (lambda path: write_wav(path, np.ones((1, 1), np.float32)), "no sound in it"),
    "not a number": (lambda path: write_wav(path, tone() * np.nan, kind="f32"), "not numbers"),
    "one not a number": (
        lambda path: write_wav(path, np.append(tone(), [[np.inf]], 0), kind="f32"),
        "not numbers",
    ),
    "integers as floats": (lambda path: write_wav(path, tone() * 32768, kind="f32"), "expected -1 to 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_sound_gets_one_line(tmp_path: Path, case: str, capfd: pytest.CaptureFixture[str]) -> None:
    make, words = BAD[case]
    path = tmp_path / "voice.wav"
    make(path)
    with pytest.raises(SoundError, match=words) as caught:
        read_speech(path)
    assert "\n" not in str(caught.value)
    assert "voice.wav" in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_samples_in_memory_mono_and_stereo() -> None:
    for channels in (1, 2):
        samples = tone(12.0, 24000, channels)
        speech = speech_from_samples(samples[:, 0] if channels == 1 else samples, 24000)
        assert (speech.duration, speech.rate, speech.channels, speech.path) == (12.0, 24000, channels, None)
        mono = decoded(speech)
        assert len(mono) == pytest.approx(12 * 16000, abs=20)
        assert loudness(mono) == pytest.approx(0.5, abs=0.01)


def test_a_speech_made_by_hand_streams_too() -> None:
    mono = decoded(Speech(1.0, 16000, samples=tone()[:, 0]))
    assert (mono == tone()[:, 0]).all()


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.zeros((2, 48000)), "transpose"),
        (np.zeros((3, 3, 3)), "shape"),
        (np.zeros(5), "0.02 s or more"),
        (np.full(9999, np.nan), "not numbers"),
    ],
)
def test_bad_samples_in_memory_get_one_line(samples: np.ndarray, words: str) -> None:
    with pytest.raises(SoundError, match=words):
        speech_from_samples(samples, 16000)


def test_a_speech_with_nothing_in_it_is_refused() -> None:
    with pytest.raises(SoundError, match="neither a file nor samples"):
        next(sound_blocks(Speech(1.0, 16000)))


def test_chunks_keep_channels_apart(tmp_path: Path) -> None:
    samples = tone(2.5, 44100, 2) * np.array([1.0, 0.25], np.float32)
    speech = read_speech(write_wav(tmp_path / "a.wav", samples, 44100))
    chunks = list(speech_chunks(speech, 44100, 2))
    assert np.abs(np.concatenate(chunks) - samples).max() < 1e-4
    assert all(len(earlier) <= 2 * 44100 for earlier, _ in pairwise(chunks))


@pytest.mark.shared
def test_sample_voices_are_read(shared: Path) -> None:
    for path in sorted((shared / "data" / "speech").glob("*.wav")):
        speech = read_speech(path)
        assert speech.duration > 4
        assert not speech.silent


def test_a_rate_and_channels_that_change_on_the_way_are_followed(tmp_path: Path) -> None:
    first = write_sound(tmp_path / "a.mp3", tone(1.0, 48000, 2)).read_bytes()
    second = write_sound(tmp_path / "b.mp3", tone(1.0, 44100, 1), 44100).read_bytes()
    (tmp_path / "both.mp3").write_bytes(first + second)
    with collect_notes():
        speech = read_speech(tmp_path / "both.mp3")
        mono = decoded(speech)
    assert speech.duration == pytest.approx(2.0, abs=0.15)
    assert len(mono) == pytest.approx(speech.duration * 16000, abs=40)
    for half in (mono[2000:14000], mono[20000:30000]):
        assert loudness(half) == pytest.approx(0.5, abs=0.02)


def write_tracks(path: Path, tracks: list[np.ndarray], default: int | None) -> Path:
    """A file with several sound tracks, of which number `default` is marked as the default."""
    with av.open(str(path), "w") as container:
        streams = []
        for number, samples in enumerate(tracks):
            stream = container.add_stream("aac", rate=48000)
            stream.codec_context.layout = "mono"
            stream.disposition = Disposition.default if number == default else Disposition(0)
            streams.append((stream, samples))
        for stream, samples in streams:
            container.mux(encoded(stream, samples, 48000))
    return path


@pytest.mark.parametrize("suffix", [".mka", ".mp4", ".mkv"])
@pytest.mark.parametrize(("loud", "default", "used"), [((0.5, 0.5), 1, 1), ((0.0, 0.5), 0, 1), ((0.5, 0.0), 1, 0)])
def test_the_default_track_is_used_unless_it_is_silent(
    tmp_path: Path, suffix: str, loud: tuple[float, float], default: int, used: int
) -> None:
    tracks = [tone(1.0 + number, 48000, loud=level) for number, level in enumerate(loud)]
    path = write_tracks(tmp_path / f"a{suffix}", tracks, default)
    with collect_notes() as notes:
        speech = read_speech(path)
    assert (speech.track, speech.silent) == (used, False)
    assert speech.duration == pytest.approx(1.0 + used, abs=0.1)
    assert loudness(decoded(speech)) == pytest.approx(0.5, abs=0.03)
    assert [note.code for note in notes] == ["sound_track_chosen"]
    assert notes[0].values["number"] == used + 1


def test_tracks_that_are_all_silent_are_silence(tmp_path: Path) -> None:
    with collect_notes() as notes:
        assert read_speech(write_tracks(tmp_path / "a.mka", [tone(1.0, 48000, loud=0.0)] * 2, 0)).silent
    assert [note.code for note in notes] == ["sound_track_chosen", "sound_silent"]


def id3(size: int) -> bytes:
    return b"ID3\x03\0\0" + bytes([0, 0, size >> 7 & 127, size & 127]) + bytes(size)


def bare(path: Path) -> bytes:
    """An mp3 without tags and without the frame that states its length."""
    data = path.read_bytes()
    data = data[10 + int.from_bytes(data[8:10], "big") :]
    following = data.index(data[:3], 100)
    return data[following:]


def test_an_mp3_without_a_header_or_joined_from_parts_is_whole(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    uneven = tone(6.0, 48000) * np.repeat(draw.random(60), 4800)[:, None].astype(np.float32)
    first = write_sound(tmp_path / "a.mp3", uneven)
    second = write_sound(tmp_path / "b.mp3", tone(3.0, 48000, 2))
    one, other, ending = first.read_bytes(), second.read_bytes(), b"TAG" + b"x" * 125
    cases = {
        "without header": (bare(first), 6.0),
        "joined": (one + other, 9.0),
        "joined with tags": (id3(400) + one + ending + id3(9000) + other + ending, 9.0),
        "joined without headers": (bare(first) + bare(second), 9.0),
        "joined, the second longer": (other + one, 9.0),
    }
    for name, (data, seconds) in cases.items():
        path = tmp_path / "case.mp3"
        path.write_bytes(data)
        with collect_notes() as notes:
            assert read_speech(path).duration == pytest.approx(seconds, abs=0.2), name
        assert notes == [], name


def test_an_mp3_that_is_cut_off_is_noted(tmp_path: Path) -> None:
    data = write_sound(tmp_path / "a.mp3", tone(4.0, 48000)).read_bytes()
    (tmp_path / "b.mp3").write_bytes(data[: len(data) // 2])
    with collect_notes() as notes:
        read_speech(tmp_path / "b.mp3")
    assert [note.code for note in notes] == ["sound_cut_off"]
    assert notes[0].values["promised"] == pytest.approx(4.0, abs=0.1)


def test_a_cover_picture_and_odd_tags_do_no_harm(tmp_path: Path) -> None:
    tag = b"TIT2" + (5).to_bytes(4, "big") + b"\0\0\0\xff\xfe\xe4\xf6"
    head = b"ID3\x03\0\0" + bytes([0, 0, 0, len(tag)]) + tag
    (tmp_path / "a.mp3").write_bytes(head + write_sound(tmp_path / "b.mp3", tone(1.0, 48000)).read_bytes())
    assert read_speech(tmp_path / "a.mp3").duration == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize("suffix", [".mp3", ".m4a", ".flac", ".ogg", ".webm"])
def test_a_damaged_file_gives_sound_or_one_line(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(7)
    whole = write_sound(tmp_path / f"a{suffix}", tone(0.5, 48000, 2)).read_bytes()
    path = tmp_path / f"b{suffix}"
    for _ in range(12):
        data = bytearray(whole)
        place = int(rng.integers(len(data)))
        data[place : place + 40] = rng.bytes(40)
        path.write_bytes(data[: int(rng.integers(len(data) // 2, len(data)))])
        with collect_notes():
            try:
                assert np.isfinite(decoded(read_speech(path))).all()
            except SoundError as error:
                assert "\n" not in str(error)
