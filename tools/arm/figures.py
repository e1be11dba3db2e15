"""The figures of docs/boards.json: what was compared, what was counted, with what. Instructions are whole numbers."""

import msgspec

from tools.bench.machine import Machine


class _Figure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Answered(_Figure, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far answers are from others. golden: steps off the manifest by model, tolerance: allowed.

    The rest is beside XNNPACK on the development machine, on the scene. faces: looks at true faces and at found ones;
    logit_steps: the largest difference of a logit of the former; labels_changed: looks that say another label;
    unsure_changed: looks that are unsure on one side only. found: faces accepted in so many frames; found_by_one_only
    of them; box_px: the largest difference of a side, pixels of the frame. persons: decided by the whole pipeline, as
    in the events, and persons_changed of them; None where the pipeline did not run.
    """

    suite: str
    python: str
    cpu: str
    kernels: str
    golden: dict[str, int]
    tolerance: dict[str, int]
    faces: int
    logit_steps: int
    labels_changed: int
    unsure_changed: int
    frames: int
    found: int
    found_by_one_only: int
    box_px: float
    persons: int | None
    persons_changed: int | None

    @property
    def is_kept(self) -> bool:
        """Tell whether a board says what the development machine says, within what kernels may differ by."""
        within = all(self.golden[name] <= allowed for name, allowed in self.tolerance.items())
        return within and not (self.labels_changed or self.found_by_one_only or self.persons_changed)


class Counted(_Figure, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One piece of work, done again and again. instructions: the median; of which memory, vector (dot among them)."""

    suite: str
    cpu: str
    work: str
    repetitions: int
    instructions: int
    lowest: int
    highest: int
    memory: int
    vector: int
    dot: int

    @property
    def spread(self) -> float:
        """Give the range as a part of the median."""
        return (self.highest - self.lowest) / self.instructions


class Watched(_Figure, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A clip through the pipeline. Means over its frames; nets: instructions of detector and classifier, rest: others.

    rate: frames/s. highest: the frame that took most. detections, looks: calls of the nets, a frame.
    """

    suite: str
    cpu: str
    scene: str
    rate: int
    frames: int
    nets: int
    rest: int
    highest: int
    detections: float
    looks: float


class Estimate(_Figure, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a board does, one core, (lowest, highest) of each: see tools.arm.boards.

    net_ipc: instructions a cycle in the nets. *_ms: a detection, a classified face, a JPEG picture decoded. *_per_s:
    frames with four people in view, and still ones. core_at_default, heaviest_ms: part of a core at the shipped frame
    rate, with four people, and the frame of them that takes most. goal: frames/s with people that the product asks for.
    """

    board: str
    suite: str
    net_ipc: tuple[float, float]
    detect_ms: tuple[float, float]
    classify_ms: tuple[float, float]
    jpeg_ms: tuple[float, float]
    people_per_s: tuple[float, float]
    idle_per_s: tuple[float, float]
    core_at_default: tuple[float, float]
    heaviest_ms: tuple[float, float]
    goal: int | None


class Report(_Figure, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything, with the command, the machine that emulated, the emulator, and what was installed by release."""

    command: str
    machine: Machine
    seconds: float
    emulator: str
    host_packages: dict[str, str]
    packages: dict[str, dict[str, str]]
    answered: list[Answered]
    counted: list[Counted]
    watched: list[Watched]
    estimates: list[Estimate] = []
