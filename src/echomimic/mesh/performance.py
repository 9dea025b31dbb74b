"""The whole performance of a face: the mouth from the voice, everything else from a seed and the voice's rhythm."""

from echomimic.media import sound_blocks
from echomimic.mesh.articulation import hear, with_mouth
from echomimic.mesh.idle import Cues, find_cues, idle_motion
from echomimic.mesh.lips import HEARD_RATE, shape_mouth, speaking, to_frames
from echomimic.mesh.logmel import RATE
from echomimic.options import Options
from echomimic.types import Curves, Speech


def perform(speech: Speech, options: Options, frames: int) -> Curves:
    """Curves of `frames` frames at `options.fps`: all 18 columns; the mouth rests where the voice has ended.

    The same voice, options and count give the same curves. The voice is decoded once, as a stream.
    """
    heard = hear(sound_blocks(speech, RATE))
    voice = speaking(heard).astype("float32")
    cues = Cues(to_frames(voice, frames, options.fps), *find_cues(voice, heard.loudness, HEARD_RATE))
    idle = idle_motion(frames, options.fps, options.seed, options.motion_strength, options.blink_rate, cues)
    curves = Curves.rest(frames, options.fps).replace(**idle)
    return with_mouth(curves, shape_mouth(heard, frames, options.fps, options.mouth_strength))
