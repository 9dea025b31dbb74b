"""Predict a motion, edit it and render it: python examples/edit_motion.py [PORTRAIT VOICE [OUT]]."""

import sys

import echomimic
from echomimic import motion
from echomimic.data import data_path


def main(portrait: str = "", voice: str = "", output: str = "edited.mp4") -> None:
    """A calmer mouth, a head that turns slowly, and a smile in the second second."""
    picture, sound = portrait or data_path("astronaut.png"), voice or data_path("demo_voice.flac")
    track = echomimic.predict(picture, sound, size=512)
    assert isinstance(track, echomimic.LandmarkTrack)
    track = motion.scale_curve(track, "jaw", 0.7)
    track = motion.draw_curve(track, "yaw", [(0.0, -8.0), (len(track) / track.fps, 8.0)])
    track = motion.draw_curve(track, "smile", [(1.0, 0.0), (1.5, 0.6), (2.0, 0.0)])
    motion.save_motion(output.rpartition(".")[0] + ".npz", track)
    echomimic.animate(picture, sound, track, output=output, size=512)


if __name__ == "__main__":
    main(*sys.argv[1:])
