"""The files that prove who we are and who the broker is: certificates, keys, the password."""

import ssl
from collections.abc import Mapping
from pathlib import Path

from agent.errors import ConfigError, MaskwatchError, NotPermittedError
from agent.settings import MqttSettings


def find(name: str, environ: Mapping[str, str]) -> Path:
    """Give a file of the settings; a relative name is looked up in $CREDENTIALS_DIRECTORY first.

    Source: systemd.exec(5), LoadCredential=.
    """
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if directory and (Path(directory) / name).exists():  # an absolute name stays what it is
        return Path(directory) / name
    return Path(name)


class Credentials:
    """Reads the files that the settings name, each time anew: a new one counts from the next connection on."""

    def __init__(self, settings: MqttSettings, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._environ = environ

    def password(self) -> str | None:
        """Give the first line of the password file, or None where none is set.

        Raises ConfigError or NotPermittedError.
        """
        if not self._settings.password_file:
            return None
        path = self._find(self._settings.password_file)
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise _judge(error, path, "mqtt.password_file") from error
        if not lines or not lines[0]:
            raise ConfigError("its first line is empty", where=str(path), remedy="write the password there")
        return lines[0]

    def tls(self, certificate: Path | None = None) -> ssl.SSLContext | None:
        """Make what TLS needs, or None for a plain connection. certificate: to show in place of the settings'.

        Raises ConfigError or NotPermittedError.
        """
        settings = self._settings
        if not settings.tls:
            return None
        ca_file = self._find(settings.ca_file) if settings.ca_file else None
        try:
            context = ssl.create_default_context(cafile=ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise _judge(error, ca_file or Path("the system's trust store"), "mqtt.ca_file") from error
        if settings.cert_file:
            self._load_own(context, certificate or self._find(settings.cert_file), self._find(settings.key_file))
        if settings.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def _load_own(self, context: ssl.SSLContext, certificate: Path, key: Path) -> None:
        for path, setting in ((certificate, "mqtt.cert_file"), (key, "mqtt.key_file")):
            try:
                path.read_bytes()
            except OSError as error:
                raise _judge(error, path, setting) from error
        try:
            context.load_cert_chain(certificate, key, password="")  # a password keeps OpenSSL from asking the terminal
        except OSError as error:
            raise ConfigError(
                f"not a certificate with its unencrypted key ({key.name})",
                where=str(certificate),
                remedy="name the PEM files that belong together in mqtt.cert_file and mqtt.key_file",
            ) from error

    def _find(self, name: str) -> Path:
        return find(name, self._environ)


def _judge(error: OSError | UnicodeDecodeError, path: Path, setting: str) -> MaskwatchError:
    match error:
        case PermissionError():
            return NotPermittedError("no permission to read", where=str(path), remedy="give it to this user (chown)")
        case FileNotFoundError():
            return ConfigError("no such file", where=str(path), remedy=f"correct {setting}")
        case _:
            return ConfigError("not what it should be", where=str(path), remedy=f"name a PEM or text file in {setting}")
