"""Workers of `train prepare` that fail, in a module of their own that a new process imports quickly."""

import os
import signal
from pathlib import Path

from echomimic.errors import OutputError
from echomimic.train.diffusion.manifest import Row, Source
from echomimic.train.diffusion.prepare.worker import Item, Prepare


class DyingPrepare(Prepare):
    """Does nothing but die on videos whose name begins with "dies"; with "once" only the first time."""

    def work(self, item: Item) -> list[Row]:
        path = Path(item.path)
        mark = path.with_suffix(".died")
        if path.name.startswith("dies") and not ("once" in path.name and mark.exists()):
            mark.touch()
            (self._folder / ".echomimic-part-0.mp4").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return [Row("00", "face", Source(path.name, path.read_text()), item.recording.rights, "s", dropped="no_face")]


class FullPrepare(Prepare):
    """Finds no room on the disk."""

    def work(self, item: Item) -> list[Row]:
        raise OutputError("the result could not be written (the disk is full); make room or choose another place")
