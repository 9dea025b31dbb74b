"""What can go wrong. An error is one line: what was got, what was expected, what to do.

EchoMimicError
├── InputError        something handed in cannot be used      (exit code 2)
│   ├── PictureError
│   ├── FaceError
│   ├── SoundError
│   ├── VideoError
│   ├── MotionError
│   └── OptionError
├── OutputError       the result cannot be written            (exit code 2)
├── WeightsError      checkpoints are missing or wrong        (exit code 2)
├── SetupError        a package or library is missing         (exit code 2)
├── DeviceError       the device cannot do it, memory included (exit code 1)
└── Cancelled         somebody asked to stop                  (exit code 130)
"""


class EchoMimicError(Exception):
    """Root of every error that this package raises on purpose."""

    exit_code = 1


class InputError(EchoMimicError):
    """Something handed in cannot be used."""

    exit_code = 2


class PictureError(InputError):
    """A picture is missing, broken, or of a size that cannot be used."""


class FaceError(InputError):
    """No usable face where one was needed."""


class SoundError(InputError):
    """A sound is missing, broken, or empty."""


class VideoError(InputError):
    """A video handed in cannot be read."""


class MotionError(InputError):
    """A motion track is missing, broken, or does not fit."""


class OptionError(InputError):
    """An option is unknown or out of its range."""


class OutputError(EchoMimicError):
    """The result cannot be written where it was asked for."""

    exit_code = 2


class WeightsError(EchoMimicError):
    """Checkpoint files are missing, partial, or of the wrong kind."""

    exit_code = 2


class SetupError(EchoMimicError):
    """A Python package or a system library is missing."""

    exit_code = 2


class DeviceError(EchoMimicError):
    """The device cannot do what was asked, for want of memory or of a feature."""


class Cancelled(EchoMimicError):  # noqa: N818 - a request, not a fault
    """Somebody asked to stop."""

    exit_code = 130
