"""The protocols of engines: an engine prepares a run, and the prepared run yields its frames."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from echomimic.checkpoints import LoraFile
from echomimic.notes import Note
from echomimic.options import Options
from echomimic.presets import Preset
from echomimic.types import Motion, Picture, Portrait, Progress, Speech

if TYPE_CHECKING:
    from echomimic.landmarks.crop import Crop
    from echomimic.work import WorkFolder


@dataclass(frozen=True)
class Part:
    """A part of a clip: the frames from `first` (included) to `last` (excluded; None: the end).

    `work` is where an engine may keep what it has computed, to resume from in another run. If its `span` is set, frames
    outside of it stay as they are in the finished video that is kept there.
    """

    first: int = 0
    last: int | None = None
    work: "WorkFolder | None" = None

    def end(self, frames: int) -> int:
        """The frame after the last one, in a clip of `frames`."""
        return frames if self.last is None else min(self.last, frames)


WHOLE = Part()


@runtime_checkable
class Render(Protocol):
    """A prepared run: everything about the video is known, and nothing expensive has been computed yet."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the video."""

    @property
    def num_frames(self) -> int:
        """Number of frames of the clip."""

    @property
    def fps(self) -> float:
        """Frames per second."""

    @property
    def crop(self) -> "Crop":
        """The part of the portrait that the engine animates."""

    @property
    def motion(self) -> Motion:
        """The motion that is rendered, one entry per frame; computed on first use.

        Rendering this motion with the same portrait, voice and options gives the same frames.
        """

    @property
    def memory_mb(self) -> int:
        """Estimated peak memory in megabytes: of the device for a network, else of the process."""

    @property
    def warnings(self) -> tuple[Note, ...]:
        """The notes that were made while preparing."""

    def frames(self, progress: Progress | None = None, part: Part = WHOLE) -> Iterator[Picture]:
        """Yield (H, W, 3) uint8 RGB frames of a part one by one, as soon as each exists.

        They are the same, to the bit, as in the whole clip. `progress` may raise `Cancelled` to stop.
        """


@runtime_checkable
class Engine(Protocol):
    """Renders videos for one preset; keeps what it has loaded for further runs."""

    @property
    def preset(self) -> Preset:
        """The preset that this engine renders."""

    def prepare(
        self, portrait: Portrait, speech: Speech, motion: Motion | None, options: Options, *, align: bool = False
    ) -> Render:
        """Find the face and fit the motion to it; `align` fits even a motion that is already in place.

        Raises FaceError, MotionError, DeviceError.
        """


def lora_of(engine: Engine) -> LoraFile | None:
    """The LoRA that an engine has merged into its networks, if any."""
    found: LoraFile | None = getattr(engine, "lora", None)
    return found


Tap = Callable[[Render, Progress | None, Part], Iterator[Picture]]
"""Yields the frames of a part of a render, and may do something before, after and with each of them."""


class TappedEngine:
    """An engine whose frames pass through `tap`; with `align` every motion is aligned."""

    def __init__(self, engine: Engine, tap: Tap, *, align: bool = False) -> None:
        self._engine, self._tap, self._align = engine, tap, align

    @property
    def preset(self) -> Preset:
        """The preset of the engine."""
        return self._engine.preset

    @property
    def lora(self) -> LoraFile | None:
        """The LoRA of the engine, if it has one."""
        return lora_of(self._engine)

    def prepare(
        self, portrait: Portrait, speech: Speech, motion: Motion | None, options: Options, *, align: bool = False
    ) -> Render:
        """Prepare the engine's run."""
        render = self._engine.prepare(portrait, speech, motion, options, align=align or self._align)
        return cast(Render, _TappedRender(render, self._tap))


class _TappedRender:
    def __init__(self, render: Render, tap: Tap) -> None:
        self._render, self._tap = render, tap

    def __getattr__(self, name: str) -> Any:
        return getattr(self._render, name)

    def frames(self, progress: Progress | None = None, part: Part = WHOLE) -> Iterator[Picture]:
        return self._tap(self._render, progress, part)
