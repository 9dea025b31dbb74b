"""Follows one video while it is made: how far it is, how fast, a recent frame; and stops it."""

import time
from collections.abc import Callable

from echomimic.apps.cli.reporter import RateEstimator
from echomimic.apps.jobs.previews import LONGEST_SIDE, Previews
from echomimic.apps.web.look import to_jpeg
from echomimic.types import Picture

_LOOK_EVERY = 0.4
_MAKE_EVERY = 1.0
_SHARE = 0.05
"""How much of the time may go into frames that are decoded only to be looked at."""


class Watch:
    """A `Previewing` progress. `check` raises where the video is to be stopped."""

    def __init__(self, check: Callable[[], None], previews: Previews) -> None:
        self._check, self._previews, self._pace = check, previews, RateEstimator()
        self._looked = time.monotonic()
        self._due = 0.0
        self.done = self.total = 0
        self.speed = self.left = 0.0
        self.picture: bytes | None = None
        """A recent frame as a small JPEG."""

    def __call__(self, done: int, total: int) -> None:
        """So much is done."""
        self._check()
        self.done, self.total = done, total
        self.speed, self.left = self._pace(done, total)
        now = time.monotonic()
        if now - self._looked > _LOOK_EVERY:
            self._looked = now
            self.picture = self._previews.latest() or self.picture

    def preview(self, make: Callable[[], Picture]) -> None:
        """Something new can be seen: decoded where it is due."""
        self._check()
        began = time.monotonic()
        if began < self._due:
            return
        self.picture = to_jpeg(make(), LONGEST_SIDE)
        now = time.monotonic()
        self._due = now + max(_MAKE_EVERY, (now - began) / _SHARE)
