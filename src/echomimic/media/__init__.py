"""Read and write pictures, sound and video."""

from echomimic.media.output import atomic_path as atomic_path
from echomimic.media.output import check_not_input as check_not_input
from echomimic.media.output import check_output as check_output
from echomimic.media.output import make_folder as make_folder
from echomimic.media.output import write_file as write_file
from echomimic.media.output import writing as writing
from echomimic.media.picture import read_frames as read_frames
from echomimic.media.picture import read_picture as read_picture
from echomimic.media.sound import Resampler as Resampler
from echomimic.media.sound import read_speech as read_speech
from echomimic.media.sound import sound_blocks as sound_blocks
from echomimic.media.sound import speech_from_samples as speech_from_samples
from echomimic.media.tags import read_tags as read_tags
from echomimic.media.video import Video as Video
from echomimic.media.video import read_video as read_video
from echomimic.media.writer import write_clip as write_clip
