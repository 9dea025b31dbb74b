"""The data types of the package: frozen dataclasses over numpy arrays. Pictures are RGB uint8."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, final, runtime_checkable

from echomimic.errors import MotionError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Picture = npt.NDArray[np.uint8]
    """(H, W, 3) RGB."""
    Floats = npt.NDArray[np.floating[Any]]
else:  # numpy is imported on first use: an idle server needs 15 MB less without it
    Picture = Floats = Any

Progress = Callable[[int, int], None]
"""Called as `progress(done, total)`; raising from it cancels."""


@runtime_checkable
class Previewing(Protocol):
    """A `Progress` that also accepts previews before the first frame is finished."""

    def __call__(self, done: int, total: int) -> None:
        """Report that `done` of `total` is done; raising cancels."""

    def preview(self, make: Callable[[], Picture]) -> None:
        """Offer a preview: `make` computes it, (H, W, 3) uint8 RGB.

        That takes time, so call it only if a preview is due.
        """


@dataclass(frozen=True)
class Portrait:
    """A still picture of a person: `pixels` (H, W, 3) uint8 RGB, `alpha` (H, W) uint8 if the file has it."""

    pixels: Picture
    alpha: "npt.NDArray[np.uint8] | None" = None
    name: str = "portrait"

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[0])


@dataclass(frozen=True)
class Speech:
    """A voice: a file that is decoded as it is needed (`path`), or `samples` in memory.

    `samples` are (N,) or (N, channels) float32 in -1..1 at `rate` Hz; `duration` is in seconds, counted while
    decoding rather than taken from a header. `track` is the number of the sound track in the file, from 0.
    """

    duration: float
    rate: int
    channels: int = 1
    path: Path | None = None
    samples: Floats | None = None
    silent: bool = False
    name: str = "speech"
    track: int = 0

    def frames(self, fps: float) -> int:
        """Number of video frames at `fps` that cover the voice: at least one."""
        return max(1, round(self.duration * fps))


@dataclass(frozen=True)
class Curve:
    """A motion curve (a blendshape weight or an angle): its unit, range, rest value and effect."""

    name: str
    unit: str
    low: float
    high: float
    help: str
    rest: float = 0.0


CURVES: tuple[Curve, ...] = (
    Curve("jaw", "fraction", 0.0, 1.0, "jaw drop: 0 shut, 1 as wide as a shouted 'ah'"),
    Curve("spread", "fraction", -1.0, 1.0, "lip corners: -1 rounded as in 'oo', +1 spread as in 'ee'"),
    Curve("upper_lip", "fraction", 0.0, 1.0, "upper lip raised off the teeth"),
    Curve("tuck", "fraction", 0.0, 1.0, "lower lip tucked under the upper teeth, as for f and v"),
    Curve("closure", "fraction", 0.0, 1.0, "lips pressed together, as for p, b and m; 1 always closes them"),
    Curve("tongue", "fraction", 0.0, 1.0, "tongue tip raised to the upper teeth, as for l, t, d, n and th"),
    Curve("smile", "fraction", -1.0, 1.0, "lip corners up (+) or down (-)"),
    Curve("blink", "fraction", 0.0, 1.0, "eyelids: 0 as in the portrait, 1 shut"),
    Curve("brow", "fraction", -1.0, 1.0, "brows raised (+) or lowered (-)"),
    Curve("gaze_x", "degrees", -25.0, 25.0, "eyes towards the right (+) or left (-) of the picture"),
    Curve("gaze_y", "degrees", -20.0, 20.0, "eyes down (+) or up (-)"),
    Curve("yaw", "degrees", -30.0, 30.0, "head turned towards the right (+) or left (-) of the picture"),
    Curve("pitch", "degrees", -25.0, 25.0, "head bent down (+) or up (-)"),
    Curve("roll", "degrees", -25.0, 25.0, "head tilted clockwise (+) as the picture is seen"),
    Curve("shift_x", "face widths", -0.3, 0.3, "head moved towards the right (+) of the picture"),
    Curve("shift_y", "face widths", -0.3, 0.3, "head moved down (+)"),
    Curve("breath", "fraction", -1.0, 1.0, "chest raised by breathing (+)"),
    Curve("sway", "fraction", -1.0, 1.0, "shoulders swayed towards the right (+) of the picture"),
)
CURVE_NAMES: tuple[str, ...] = tuple(curve.name for curve in CURVES)
MOUTH_CURVES: tuple[str, ...] = CURVE_NAMES[:6]


def _curve_index(name: str) -> int:
    if name not in CURVE_NAMES:
        raise MotionError(f"unknown curve {name!r}; expected one of {', '.join(CURVE_NAMES)}", code="curve_unknown")
    return CURVE_NAMES.index(name)


@dataclass(frozen=True)
class Curves:
    """Motion curves: `values` (T, 18) float32, a column for each of `CURVES`, at `fps` frames a second."""

    values: Floats
    fps: float

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != len(CURVES):
            raise MotionError(
                f"curves of shape {self.values.shape}; expected (frames, {len(CURVES)}): one column for each of "
                f"{', '.join(CURVE_NAMES)}"
            )
        if not 0 < self.fps < float("inf"):
            raise MotionError(f"curves at {self.fps} frames a second; expected a number above 0, such as 25")

    @classmethod
    def rest(cls, frames: int, fps: float) -> "Curves":
        """Curves of a still face."""
        import numpy as np

        return cls(np.tile(np.array([curve.rest for curve in CURVES], np.float32), (frames, 1)), fps)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, name: str) -> Floats:
        """The curve called `name`: a view of shape (T,)."""
        return self.values[:, _curve_index(name)]

    def replace(self, **curves: "npt.ArrayLike") -> "Curves":
        """A copy with some curves replaced and every value clipped to its range. Raises MotionError."""
        import numpy as np

        values = self.values.copy()
        for name, column in curves.items():
            index = _curve_index(name)
            try:
                values[:, index] = column
            except (TypeError, ValueError):
                raise MotionError(
                    f"curve {name} cannot be replaced by what is given; expected a number, or {len(self)} numbers"
                ) from None
        low, high = (np.array([getattr(curve, end) for curve in CURVES], np.float32) for end in ("low", "high"))
        return Curves(np.clip(values, low, high), self.fps)


@final
@dataclass(frozen=True)
class LandmarkTrack:
    """A moving face: `points` (T, 478, 3) float32 in pixels of an `image_size` (width, height), `valid` (T,) bool.

    Point order is mediapipe's face mesh with iris; z is in pixels too, smaller towards the viewer. `curves` are
    what the mesh engine renders; without them it derives them from the points. `parts` are the parts that the track
    drives (of "eyes", "brows", "mouth", "pupils", "nose", "head") while the voice drives the others; None means the
    default of the engine.
    """

    points: Floats
    image_size: tuple[int, int]
    fps: float
    valid: "npt.NDArray[np.bool_]"
    curves: Curves | None = None
    parts: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.points)


@final
@dataclass(frozen=True)
class PoseTrack:
    """A moving upper body, normalized to the picture (x by its width, y by its height), with scores 0..1.

    `body` (T, 18, 3) in OpenPose order, `hands` (T, 2, 21, 3) left then right, `face` (T, 68, 3): x, y, score.
    """

    body: Floats
    hands: Floats
    face: Floats
    fps: float
    image_size: tuple[int, int] = (768, 768)

    def __len__(self) -> int:
        return len(self.hands)


Motion = LandmarkTrack | PoseTrack


@dataclass(frozen=True)
class Plan:
    """A description of a prepared run; nothing has been rendered or written."""

    preset: str
    why: str
    frames: int
    fps: float
    seconds: float
    width: int
    height: int
    memory_mb: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Clip:
    """A finished video file and how it was made."""

    path: Path
    preset: str
    frames: int
    fps: float
    width: int
    height: int
    seconds: float
    seed: int
    took: float
    motion: Path | None = None
    notes: tuple[str, ...] = field(default=())
