"""What to measure and how: everything that can change a figure, in one place that the run card repeats."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from echomimic.errors import OptionError

PLAIN = ("container", "sync", "face", "picture", "hands", "reference", "expression")
"""Groups of metrics that need no weights."""
WEIGHED = ("fid", "fvd", "lpips", "syncnet", "csim", "efid")
"""Groups that need a network which the user supplies."""
QUICK = ("container", "sync", "face", "picture", "hands")
"""What the check after `animate` measures."""
QUICK_HAND_RATE = 5.0


@dataclass(frozen=True)
class Settings:
    """`groups` of metrics; `lag` frames scanned both ways; `hand_rate` looks for hands a second; `sheet` thumbnails.

    `weights` names the file of each network. `seed` drives the bootstrap of comparisons and nothing else.
    """

    groups: tuple[str, ...] = PLAIN
    lag: int = 15
    hand_rate: float = 25.0
    sheet: int = 12
    seed: int = 0
    weights: Mapping[str, Path] = field(default_factory=dict)

    def wants(self, group: str) -> bool:
        """Whether a group is measured."""
        return group in self.groups

    def as_dict(self) -> dict[str, object]:
        """For the card and for keys of finished work; paths of weights are left out, their digests go in."""
        values = asdict(self)
        del values["weights"]
        return {**values, "groups": list(self.groups)}


def make_settings(metrics: str, weights: Mapping[str, Path] | None = None, seed: int = 0) -> Settings:
    """Settings from words such as `quick`, `default` or `sync,picture,fid`; OptionError for a word that is unknown."""
    words = [word.strip() for word in metrics.split(",") if word.strip()] or ["default"]
    sets = {"quick": QUICK, "default": PLAIN, "all": PLAIN + WEIGHED}
    unknown = [word for word in words if word not in sets and word not in PLAIN + WEIGHED]
    if unknown:
        raise OptionError(
            f"unknown metrics {unknown[0]!r}; expected quick, default, all, or some of {', '.join(PLAIN + WEIGHED)}"
        )
    chosen = {group for word in words for group in sets.get(word, (word,))}
    supplied = dict(weights or {})
    groups = tuple(group for group in PLAIN + WEIGHED if group in chosen or group in supplied)
    rate = QUICK_HAND_RATE if words == ["quick"] else 25.0
    return Settings(groups=groups, hand_rate=rate, seed=seed, weights=supplied)
