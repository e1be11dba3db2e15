"""Makes the nets that the settings name, on the accelerator that they name, or says why not on that one."""

from typing import Generic, TypeVar

from agent.clock import Clock, SystemClock
from agent.vision.accelerator import Place, SafeRuntime, Wanted, place
from agent.vision.classifier import MaskClassifier
from agent.vision.detector import FaceDetector
from agent.vision.model import ClassifierManifest, DetectorManifest, load_manifest, manifest_path, other_sizes
from agent.vision.runtime import CpuRuntime

_CLOCK = SystemClock()
N = TypeVar("N", MaskClassifier, FaceDetector)


class Loaded(Generic[N]):
    """A net that is ready. manifest: every number that belongs to it, its sha256 too."""

    def __init__(self, net: N, runtime: SafeRuntime) -> None:
        self.net: N = net
        self._runtime = runtime

    @property
    def accelerator(self) -> Place:
        """Tell what it runs on now; an Edge TPU that is lost on the way becomes the CPU."""
        return self._runtime.place

    @property
    def why(self) -> str:
        """Tell in one line why it runs on that."""
        return self._runtime.why

    @property
    def lost(self) -> int:
        """Tell how often the Edge TPU was in use and then lost."""
        return self._runtime.lost

    def settle(self, timeout_s: float) -> Place:
        """Wait until an Edge TPU that is starting has come up, or will not; tell what the net runs on then."""
        return self._runtime.settle(timeout_s)

    def close(self) -> None:
        """Let the accelerator go."""
        self._runtime.close()


def load_detector(name: str, accelerator: Wanted, clock: Clock = _CLOCK) -> Loaded[FaceDetector]:
    """Load a detector. name: of models/, or a manifest's path.

    It runs on the CPU at first: an Edge TPU takes over when it has come up, see agent.vision.accelerator.
    Raises ModelError if the model is missing, damaged, not what its manifest says, or wrong on the CPU.
    """
    manifest, content = load_manifest(name, DetectorManifest)
    runtime = place(manifest.net, content, manifest_path(name), accelerator, clock=clock)
    return Loaded(FaceDetector(manifest, runtime, runtime.vouch), runtime)


def load_other_sizes(name: str, manifest: DetectorManifest) -> list[FaceDetector]:
    """Load the same detector at the other input sizes that lie beside it, on the CPU; see `model.other_sizes`.

    Raises ModelError if one of them is damaged, not what its manifest says, or wrong on the CPU.
    """
    nets = []
    for other in other_sizes(name, manifest):
        described, content = load_manifest(other, DetectorManifest)
        cpu = CpuRuntime(content, described.net, where=str(manifest_path(other).with_name(described.net.file)))
        nets.append(FaceDetector(described, cpu))
    return nets


def load_classifier(name: str, accelerator: Wanted) -> Loaded[MaskClassifier]:
    """Load a classifier, on the CPU in any case; name and errors as in `load_detector`.

    One process has an Edge TPU to itself, and the detector has a hundred times the classifier's work.
    """
    manifest, content = load_manifest(name, ClassifierManifest)
    cpu = CpuRuntime(content, manifest.net, where=str(manifest_path(name).with_name(manifest.net.file)))
    why = "configured" if accelerator == "cpu" else "an Edge TPU serves one net, and that is the detector"
    runtime = SafeRuntime(cpu, None, why)
    return Loaded(MaskClassifier(manifest, runtime), runtime)
