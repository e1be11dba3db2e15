"""Everything that decides which face detector comes out of a training."""

from dataclasses import dataclass, field, replace
from typing import get_type_hints

from tools.train.views import ViewSettings


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that decides what comes out; stored in every checkpoint and metrics file."""

    width: int = 320
    """Input, pixels; a multiple of the coarsest stride. 320x256 for 640x480 cameras, 480x384 for far faces."""
    height: int = 256
    seed: int = 1
    batch: int = 32
    steps: int = 15_000
    """Length of the learning-rate schedule, unless `minutes` is up first."""
    minutes: float = 0.0
    """Wall-clock budget, resumed runs added up; 0 = none. The schedule ends with whichever is nearer its end."""
    rate: float = 3e-3
    """Peak learning rate of AdamW; warmed up linearly, then a cosine down to a hundredth."""
    warm_up: int = 300
    decay: float = 0.02
    average: float = 0.9995
    """Weight averaging: share of the old average that is kept each step, less in the first steps."""
    masked_share: float = 0.3
    """Share of pictures from sources with masks; they are few, and what the product is about."""
    empty_share: float = 0.08
    """Share of pictures without any face."""
    box_weight: float = 2.0
    side_weight: float = 0.5
    """Weight of the L1 of the sides beside GIoU, which says little while a box is degenerate."""
    processes: int = 1
    """Each learns from its part of a batch and they share what they learnt. Three of one thread make 1.2 times as many
    pictures a second as one of three, whose threads mostly wait for one another at so small a net."""
    threads: int = 2
    """Of each process."""
    loads_ahead: bool = True
    """Views are made in a process beside each one that trains."""
    checkpoint_s: float = 120.0
    views: ViewSettings = field(default_factory=ViewSettings)


SMOKE = Settings(width=96, height=64, batch=4, steps=12, warm_up=2, threads=1, loads_ahead=False, checkpoint_s=0.0)
"""The same script in seconds, on generated pictures."""


def with_changes(s: Settings, changes: list[str]) -> Settings:
    """Apply `name=value` (a field of Settings) or `views.name=value`. Raises ValueError for an unknown name."""
    for change in changes:
        name, _, value = change.partition("=")
        owner = s.views if name.startswith("views.") else s
        short = name.removeprefix("views.")
        if short == "views" or short not in get_type_hints(type(owner)):
            raise ValueError(f"--set {change}: no setting {name!r}; the settings are the fields of Settings")
        new = replace(owner, **{short: get_type_hints(type(owner))[short](value)})
        s = new if isinstance(new, Settings) else replace(s, views=new)
    return s
