"""Commands from the broker: what each does, and its answer. ping, diag, self-test, restart; renew, replay."""

from collections.abc import Callable
from typing import Any

import msgspec

from agent import __version__
from agent.delivery.delivery import Delivery, Request
from agent.errors import MaskwatchError
from agent.events.state import Command, Telemetry
from agent.service.inbox import Inbox, StopAsked
from agent.settings import VisionSettings
from agent.vision.model import ClassifierManifest, DetectorManifest, Net, load_manifest
from agent.vision.runtime import CpuRuntime, check_golden

EXIT_RESTART = 75  # sysexits.h EX_TEMPFAIL; systemd/maskwatch.service starts the agent again for it


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a command came to."""

    ok: bool
    message: str = ""
    result: dict[str, Any] = {}


class Commands:
    """The commands that need nothing of the delivery thread's; the supervisor's thread calls them."""

    def __init__(
        self,
        *,
        vision: VisionSettings,
        inbox: Inbox,
        telemetry: Callable[[], Telemetry],
        diagnosis: Callable[[], dict[str, Any]],
    ) -> None:
        self._vision = vision
        self._inbox = inbox
        self._telemetry = telemetry
        self._diagnosis = diagnosis

    def answer(self, command: Command) -> Answer:
        """Do what was asked. Never raises for a bad request: the answer says what is wrong."""
        match command.command:
            case "ping":
                return Answer(ok=True, message="here", result={"version": __version__})
            case "diag":
                telemetry: dict[str, Any] = msgspec.to_builtins(self._telemetry())
                del telemetry["stages"]  # an answer is numbers and texts, one level deep
                return Answer(ok=True, result=telemetry | self._diagnosis())
            case "self-test":
                return self_test(self._vision)
            case "restart":
                self._inbox.put(StopAsked(reason="command restart", exit_code=EXIT_RESTART))
                return Answer(ok=True, message="stopping; the service manager starts it again")
            case "renew" | "replay":
                raise AssertionError("the delivery thread answers it")


def self_test(settings: VisionSettings) -> Answer:
    """Read both models from the disk anew and let them answer their golden inputs.

    With nets of its own: the vision thread's are busy, and a file damaged since the start would go unnoticed.
    """
    steps: dict[str, Any] = {}
    try:
        classifier, content = load_manifest(settings.classifier, ClassifierManifest)
        steps["classifier"] = _steps_off(content, classifier.net, settings.classifier)
        detector, content = load_manifest(settings.detector, DetectorManifest)
        steps["detector"] = _steps_off(content, detector.net, settings.detector)
    except MaskwatchError as error:
        return Answer(ok=False, message=str(error)[:200], result=steps)
    return Answer(ok=True, message="golden answers match; steps off, by model", result=steps)


def _steps_off(content: bytes, net: Net, where: str) -> int:
    return check_golden(CpuRuntime(content, net, where=where), net, where)


def renew(delivery: Delivery, request: Request) -> None:
    """Keep a new certificate of this device; the connection with it follows the answer."""
    certificate = request.command.certificate
    if certificate is msgspec.UNSET:
        delivery.reply(request, ok=False, message="renew needs a certificate")
        return
    try:
        message = delivery.renew(certificate)
    except (OSError, ValueError) as error:
        delivery.reply(request, ok=False, message=str(error)[:200])
    else:
        delivery.reply(request, ok=True, message=message)


def replay(delivery: Delivery, request: Request) -> None:
    """Send again what the outbox still holds; the answer tells the first sequence of it."""
    first = 1 if request.command.first is msgspec.UNSET else request.command.first
    found = delivery.replay(first)
    delivery.reply(request, ok=True, message="" if found else "nothing is left to send", result={"first": found})
