"""Words and phones of a transcript are found in a voice; subtitles are read; bad transcripts are refused."""

from ctypes.util import find_library
from itertools import pairwise

import numpy as np
import pytest

from echomimic.data import demo_voice
from echomimic.errors import SoundError
from echomimic.media import read_speech
from echomimic.mesh.alignment import align_words, find_stretches, read_srt, warp

SAID = "Hello! I am only a photograph, but now I can speak. My lips follow the voice, and you may edit every movement."


def test_a_path_follows_a_reference_that_is_slower_in_part() -> None:
    random = np.random.default_rng(0)
    reference = random.normal(size=(40, 6)).astype(np.float32)
    wanted = np.concatenate([reference[:20], np.repeat(reference[20:], 2, axis=0)])
    times = warp(reference, wanted) * 50
    assert times[:20] == pytest.approx(np.arange(20), abs=0.6)
    assert times[20:] == pytest.approx(20.5 + 2 * np.arange(20), abs=0.6)


@pytest.mark.skipif(find_library("espeak-ng") is None, reason="espeak-ng is not installed")
def test_the_words_of_the_demo_are_where_flite_says_them() -> None:
    speech = read_speech(demo_voice())
    words = align_words(speech, SAID)
    assert len(words) > 15
    starts = {word.text: word.start for word in words}
    closed = [each for each in find_stretches(speech) if each.kind == "closed"]
    near = min(abs(each.start - starts["movement"]) for each in closed)
    assert near < 0.08  # the m of movement
    assert all(a.end <= b.start + 1e-6 for a, b in pairwise(words))
    with pytest.raises(SoundError, match="0 characters"):
        align_words(speech, " \n")


def test_subtitles_are_read_with_their_times() -> None:
    text = "1\n00:00:01,000 --> 00:00:02,500\nHello\n<i>there</i>\n\n2\n00:01:03.250 --> 00:01:04.000 line:0\nBye\n"
    assert read_srt(text) == [(1.0, 2.5, "Hello there"), (63.25, 64.0, "Bye")]
    assert read_srt("Hello there") == []
