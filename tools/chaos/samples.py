"""What processes use over time, and whether it grows: the pure part of the soak."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import psutil


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What a process uses at an instant. at_s: since the beginning. disk_kb: blocks of its folder, or of its file."""

    at_s: float
    rss_mb: float
    descriptors: int
    threads: int
    disk_kb: float


class Trend(msgspec.Struct, frozen=True, kw_only=True):
    """A straight line through a series: its value at the first and at the last sample, and what an hour adds."""

    first: float
    last: float
    per_hour: float
    largest: float


def sample(pid: int, folder: Path, at_s: float) -> Sample | None:
    """Look at a process; None when it is gone."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            rss_mb, threads = process.memory_info().rss / 1e6, process.num_threads()
            descriptors = process.num_fds()
    except psutil.NoSuchProcess:
        return None
    return Sample(at_s=at_s, rss_mb=rss_mb, descriptors=descriptors, threads=threads, disk_kb=_blocks_kb(folder))


def trend(samples: Sequence[Sample], name: str, *, after_s: float) -> Trend:
    """Fit a line by least squares through one of the figures, from `after_s` on: a process fills its caches first."""
    chosen = [one for one in samples if one.at_s >= after_s] or list(samples)
    at_h = np.array([one.at_s for one in chosen]) / 3600
    values = np.array([float(getattr(one, name)) for one in chosen])
    if len(chosen) < 2:
        return Trend(first=float(values[0]), last=float(values[0]), per_hour=0.0, largest=float(values[0]))
    slope, start = np.polyfit(at_h, values, 1)
    return Trend(
        first=round(float(start + slope * at_h[0]), 3),
        last=round(float(start + slope * at_h[-1]), 3),
        per_hour=round(float(slope), 3),
        largest=round(float(values.max()), 3),
    )


def _blocks_kb(folder: Path) -> float:
    files = [folder] if folder.is_file() else list(folder.glob("*")) if folder.is_dir() else []
    total = 0
    for file in files:
        try:
            total += file.stat().st_blocks
        except FileNotFoundError:
            continue
    return total / 2
