"""Makes the nets that the settings name, on the accelerator that they name, or says why not on that one."""

from typing import Generic, Literal, TypeVar

from agent.vision.accelerator import Place, SafeRuntime, place
from agent.vision.classifier import MaskClassifier
from agent.vision.detector import FaceDetector
from agent.vision.model import ClassifierManifest, DetectorManifest, load_manifest, manifest_path

Wanted = Literal["auto", "cpu", "edgetpu"]
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

    def close(self) -> None:
        """Let the accelerator go."""
        self._runtime.close()


def load_detector(name: str, accelerator: Wanted) -> Loaded[FaceDetector]:
    """Load a detector. name: of models/, or a manifest's path.

    An Edge TPU serves one process: load the detector first, it has a hundred times the classifier's work.
    Raises ModelError if the model is missing, damaged, not what its manifest says, or wrong on the CPU.
    """
    manifest, content = load_manifest(name, DetectorManifest)
    runtime = place(manifest.net, content, manifest_path(name), accelerator)
    return Loaded(FaceDetector(manifest, runtime), runtime)


def load_classifier(name: str, accelerator: Wanted) -> Loaded[MaskClassifier]:
    """Load a classifier; name, accelerator and errors as in `load_detector`."""
    manifest, content = load_manifest(name, ClassifierManifest)
    runtime = place(manifest.net, content, manifest_path(name), accelerator)
    return Loaded(MaskClassifier(manifest, runtime), runtime)
