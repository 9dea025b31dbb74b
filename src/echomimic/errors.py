"""The errors of this package. A message is one line: what was wrong, what is accepted, what to do.

Every error has a stable code: the default of its class, or a narrower one; docs/messages.md lists them all.

EchoMimicError
├── InputError        an input cannot be used                 (exit code 2)
│   ├── PictureError
│   ├── FaceError
│   ├── SoundError
│   ├── VideoError
│   ├── MotionError
│   └── OptionError
├── OutputError       the result cannot be written            (exit code 2)
├── WeightsError      checkpoints are missing or wrong        (exit code 2)
├── SetupError        a package or library is missing         (exit code 2)
├── DeviceError       memory or a device feature is lacking   (exit code 1)
├── StreamError       a live stream is full or closed         (exit code 1)
└── Cancelled         the user asked to stop                  (exit code 130)
"""


class EchoMimicError(Exception):
    """Base class of the errors that this package raises on purpose; `code` names the kind of problem."""

    exit_code = 1
    code = "failed"

    def __init__(self, message: str = "", *, code: str | None = None) -> None:
        super().__init__(message)
        if code:
            self.code = code


class InputError(EchoMimicError):
    """An input cannot be used."""

    exit_code = 2
    code = "input_unusable"


class PictureError(InputError):
    """A picture is missing, broken or of an unusable size."""

    code = "picture_unusable"


class FaceError(InputError):
    """A portrait or video shows no usable face."""

    code = "face_not_found"


class SoundError(InputError):
    """A sound is missing, broken or empty."""

    code = "sound_unusable"


class VideoError(InputError):
    """A video cannot be read."""

    code = "video_unusable"


class MotionError(InputError):
    """A motion track is missing, broken or of the wrong kind."""

    code = "motion_unusable"


class OptionError(InputError):
    """An option is unknown or outside its range."""

    code = "option_invalid"


class OutputError(EchoMimicError):
    """The result cannot be written to the given place."""

    exit_code = 2
    code = "output_not_writable"


class WeightsError(EchoMimicError):
    """Checkpoint files are missing, partial, or of the wrong kind."""

    exit_code = 2
    code = "weights_missing"


class SetupError(EchoMimicError):
    """A Python package or a system library is missing."""

    exit_code = 2
    code = "package_missing"


class DeviceError(EchoMimicError):
    """The device lacks the memory or a feature for the task."""

    code = "device_failed"


class StreamError(EchoMimicError):
    """A live stream is closed, or holds all the sound that it can."""

    code = "stream_closed"


class Cancelled(EchoMimicError):  # noqa: N818 - a request, not a fault
    """The user asked to stop."""

    exit_code = 130
    code = "cancelled"
