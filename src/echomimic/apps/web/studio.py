"""What the page and the editor share: the queue, the portraits that were looked at, the sessions of the editor."""

import asyncio
import json
import sys
from dataclasses import dataclass, field

from echomimic.apps.doctor import PresetStatus
from echomimic.apps.web.jobs import Jobs
from echomimic.apps.web.look import Looker
from echomimic.apps.web.settings import Settings


@dataclass
class Studio:
    """Everything that lives as long as the server."""

    settings: Settings
    jobs: Jobs = field(init=False)
    looker: Looker = field(default_factory=Looker)
    _presets: tuple[PresetStatus, ...] = ()

    def __post_init__(self) -> None:
        self.jobs = Jobs(self.settings)

    async def presets(self) -> tuple[PresetStatus, ...]:
        """Which presets can run here, found out in another process: it loads all that diffusion needs.

        What is ready stays ready; what is not is looked at again, for the user may have run what mends it.
        """
        if not all(each.ready for each in self._presets) or not self._presets:
            asked = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "echomimic", "doctor", "--json"),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            said, _ = await asked.communicate()
            found = json.loads(said)["presets"]
            self._presets = tuple(PresetStatus(each["preset"], each["ready"], tuple(each["fix"])) for each in found)
        return self._presets

    def close(self) -> None:
        """Stop what runs."""
        self.jobs.close()


def load_libraries() -> None:
    """Import what a video needs, in one thread and before anybody asks: two that import at once can trip each other."""
    import cv2  # noqa: F401

    from echomimic import api  # noqa: F401
    from echomimic.apps.demo import demo_portrait  # noqa: F401
    from echomimic.landmarks.detectors import load_detectors
    from echomimic.mesh.engine import MeshEngine  # noqa: F401

    load_detectors()


def warm_up() -> None:
    """Render a frame of the example, so that the first user does not wait for what is made only once."""
    from echomimic.apps.demo import demo_portrait, demo_voice
    from echomimic.media import read_picture, read_speech
    from echomimic.mesh.engine import MeshEngine
    from echomimic.options import Options

    options = Options(size=128, frames=1)
    portrait, speech = read_picture(demo_portrait()), read_speech(demo_voice())
    _ = MeshEngine().prepare(portrait, speech, None, options).motion
