"""Commands from the broker: what each does, and its answer. ping, diag, self-test, restart, renew; replay."""

import contextlib
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from agent import __version__
from agent.clock import Clock
from agent.delivery.delivery import Delivery, Request
from agent.errors import MaskwatchError
from agent.events.state import Command, Telemetry
from agent.service.health import certificate_end_ns
from agent.service.inbox import Inbox, StopAsked
from agent.settings import MqttSettings, Settings, VisionSettings
from agent.vision.model import ClassifierManifest, DetectorManifest, Net, load_manifest
from agent.vision.runtime import CpuRuntime, check_golden

EXIT_RESTART = 75  # sysexits.h EX_TEMPFAIL; systemd/maskwatch.service starts the agent again for it


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a command came to."""

    ok: bool
    message: str = ""
    result: dict[str, Any] = {}


class Commands:
    """The commands that need no outbox; the supervisor's thread calls them."""

    def __init__(
        self,
        *,
        settings: Settings,
        clock: Clock,
        inbox: Inbox,
        telemetry: Callable[[], Telemetry],
        diagnosis: Callable[[], dict[str, Any]],
    ) -> None:
        self._settings = settings
        self._clock = clock
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
                return self_test(self._settings.vision)
            case "restart":
                self._inbox.put(StopAsked(reason="command restart", exit_code=EXIT_RESTART))
                return Answer(ok=True, message="stopping; the service manager starts it again")
            case "renew":
                return renew(command, self._settings.mqtt, self._clock)
            case "replay":
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


def renew(command: Command, settings: MqttSettings, clock: Clock) -> Answer:
    """Put a new device certificate in the place of the old one, which stays beside it as `.old`.

    Only one that belongs to the key and is not expired; used from the next start on.
    """
    if command.certificate is msgspec.UNSET:
        return Answer(ok=False, message="renew needs a certificate")
    if not settings.cert_file:
        return Answer(ok=False, message="this device has no certificate: mqtt.cert_file is not set")
    place = Path(settings.cert_file)
    new = place.with_name(place.name + ".new")
    try:
        end_ns = certificate_end_ns(command.certificate)
        if clock.trusted() and end_ns <= clock.wall_ns():
            return Answer(ok=False, message="the new certificate is expired")
        _write(new, command.certificate)
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(new, settings.key_file)
        old = place.with_name(place.name + ".old")
        with contextlib.suppress(FileNotFoundError):
            old.unlink()
        with contextlib.suppress(FileNotFoundError):
            os.link(place, old)
        new.replace(place)
    except ssl.SSLError:
        return Answer(ok=False, message="the new certificate does not belong to this device's key")
    except (OSError, ValueError) as error:
        return Answer(ok=False, message=f"{settings.cert_file}: {error}"[:200])
    finally:
        with contextlib.suppress(OSError):
            new.unlink()
    return Answer(ok=True, message="renewed; restart to use it")


def replay(delivery: Delivery, request: Request) -> None:
    """Send again what the outbox still holds; the answer tells the first sequence of it."""
    first = 1 if request.command.first is msgspec.UNSET else request.command.first
    found = delivery.replay(first)
    delivery.reply(request, ok=True, message="" if found else "nothing is left to send", result={"first": found})


def _write(file: Path, text: str) -> None:
    """Write and flush to the disk: after the rename there must be a whole certificate, power cut or not."""
    with file.open("w", encoding="ascii") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
