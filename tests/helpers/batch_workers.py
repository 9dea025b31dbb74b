"""A worker of batches that makes no clip, in a module of its own that a new process imports quickly."""

import os
import signal
from pathlib import Path

from echomimic.apps.batch import BatchRow, BatchWorker, RowResult
from echomimic.errors import InputError


class StubWorker(BatchWorker):
    """Makes no clip; fails on portraits whose name begins with "bad", and dies on those that begin with "deadly"."""

    def make(self, row: BatchRow) -> RowResult:
        name = Path(row.portrait).name
        if name.startswith("deadly"):
            os.kill(os.getpid(), signal.SIGKILL)
        if name.startswith("bad"):
            raise InputError("no face")
        if name.startswith("odd"):
            raise ValueError("a fault\nof two lines")
        return RowResult(row.number, row.output, "made", preset="mesh", frames=50, seconds=2.0)
