"""Read and write pictures, sound and video."""

from echomimic.media.output import atomic_path, check_not_input, check_output, make_folder, write_file, writing
from echomimic.media.picture import read_frames, read_picture
from echomimic.media.sound import read_speech, sound_blocks, speech_from_samples
from echomimic.media.tags import read_tags
from echomimic.media.video import Video, read_video
from echomimic.media.writer import write_clip

__all__ = [
    "Video",
    "atomic_path",
    "check_not_input",
    "check_output",
    "make_folder",
    "read_frames",
    "read_picture",
    "read_speech",
    "read_tags",
    "read_video",
    "sound_blocks",
    "speech_from_samples",
    "write_clip",
    "write_file",
    "writing",
]
