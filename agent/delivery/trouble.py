"""What is wrong with a connection, in words that say whose turn it is: the broker's, the network's or ours."""

import errno
import socket
import ssl

from agent.delivery.link import Refused, Trouble
from agent.settings import MqttSettings

# MQTT 5.0 section 3.2.2.2; paho gives 3.1.1's five codes by the same numbers.
_CONNACK: dict[int, tuple[Trouble, str]] = {
    132: (Trouble.PROTOCOL_VERSION, "the broker does not speak MQTT {protocol}; set mqtt.protocol"),
    133: (Trouble.CLIENT_ID, "the broker does not take the client id {client_id!r}; change device.id"),
    134: (Trouble.CREDENTIALS, "the broker knows no user {user!r} with this password; check mqtt.password_file"),
    135: (Trouble.NOT_AUTHORISED, "the broker does not let this device in; check its user, password or certificate"),
    136: (Trouble.BROKER_BUSY, "the broker is not ready; it is tried again"),
    137: (Trouble.BROKER_BUSY, "the broker is too busy; it is tried again"),
    138: (Trouble.NOT_AUTHORISED, "the broker has banned this device"),
    151: (Trouble.BROKER_BUSY, "the broker's quota is used up; it is tried again"),
    159: (Trouble.BROKER_BUSY, "the broker has too many new connections; it is tried again"),
}

# MQTT 5.0 section 3.14.2.1.
_DISCONNECT: dict[int, tuple[Trouble, str]] = {
    135: (Trouble.NOT_AUTHORISED, "the broker withdrew its permission"),
    137: (Trouble.BROKER_BUSY, "the broker is too busy"),
    128: (Trouble.CLOSED, "the broker closed the connection"),  # also paho's word for a bare close
    139: (Trouble.BROKER_BUSY, "the broker is shutting down"),
    141: (Trouble.TIMEOUT, "no sign of life from the broker"),
    142: (Trouble.TAKEN_OVER, "another client connected with our id {client_id!r}; give each device its own device.id"),
}

# X509_verify_cert_error: OpenSSL's x509_vfy.h.
_VERIFY: dict[int, tuple[Trouble, str]] = {
    9: (Trouble.TLS_NOT_YET_VALID, "the broker's certificate is not valid yet; is this board's clock right?"),
    10: (Trouble.TLS_EXPIRED, "the broker's certificate has expired; renew it on the broker, or set this clock"),
    62: (Trouble.TLS_HOST_NAME, "the broker's certificate is not for {host}; use the name that it is for"),
    64: (Trouble.TLS_HOST_NAME, "the broker's certificate is not for {host}; use the name that it is for"),
}
_VERIFY_OTHER = (Trouble.TLS_UNKNOWN_CA, "the broker's certificate is signed by nobody we know; check mqtt.ca_file")

# Alerts by which a broker refuses our certificate; with TLS 1.3 they come after the handshake. RFC 8446 section 6.2.
_ALERTS: dict[str, str] = {
    "CERTIFICATE_EXPIRED": "the broker says that this device's certificate has expired; renew it",
    "CERTIFICATE_REQUIRED": "the broker wants a certificate from this device; set mqtt.cert_file and key_file",
    "UNKNOWN_CA": "the broker does not know who signed this device's certificate; check mqtt.cert_file",
    "CERTIFICATE_REVOKED": "the broker says that this device's certificate is revoked",
    "BAD_CERTIFICATE": "the broker does not take this device's certificate",
    "CERTIFICATE_UNKNOWN": "the broker does not take this device's certificate",
    "HANDSHAKE_FAILURE": "the broker wants a certificate from this device, or another TLS; set mqtt.cert_file",
}

_NETWORK = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL}


class Speaker:
    """Makes the sentences for one broker: `host:port: what; remedy`."""

    def __init__(self, settings: MqttSettings, *, client_id: str) -> None:
        self._address = f"{settings.host}:{settings.port}"
        self._words = {
            "host": settings.host,
            "user": settings.username,
            "client_id": client_id,
            "protocol": settings.protocol,
        }

    def say(self, trouble: Trouble, sentence: str) -> Refused:
        return Refused(trouble=trouble, sentence=f"{self._address}: {sentence.format(**self._words)}")

    def of_connack(self, code: int, name: str) -> Refused:
        """The broker answered our CONNECT with a refusal."""
        return self.say(*_CONNACK.get(code, (Trouble.CLOSED, f"the broker refuses: {_plain(name)}")))

    def of_disconnect(self, code: int, name: str) -> Refused:
        """The broker, or paho in its place, ended the connection with a reason."""
        return self.say(*_DISCONNECT.get(code, (Trouble.CLOSED, f"the connection ended: {_plain(name)}")))

    def of_silence(self) -> Refused:
        """The broker hung up before it said a word."""
        return self.say(Trouble.CLOSED, "the broker hung up without an answer; is that port for TLS, and mqtt.url not?")

    def of_error(self, error: Exception) -> Refused:
        """The operating system or OpenSSL failed."""
        match error:
            case socket.gaierror() | UnicodeError():
                return self.say(Trouble.DNS, "the name is not known; check mqtt.url and the network")
            case ssl.SSLCertVerificationError(verify_code=int(code)):
                return self.say(*_VERIFY.get(code, _VERIFY_OTHER))
            case ssl.SSLEOFError():
                return self.say(
                    Trouble.CLOSED, "the broker hung up on TLS; does it want a certificate from this device?"
                )
            case ssl.SSLError():
                return self._of_tls(str(getattr(error, "reason", None) or error))
            case TimeoutError():
                return self.say(Trouble.TIMEOUT, "no answer in time; check mqtt.url, the network and the broker")
            case ConnectionRefusedError():
                return self.say(Trouble.REFUSED, "nobody listens there; start the broker, or check mqtt.url")
            case ConnectionError():
                return self.say(Trouble.CLOSED, "the broker closed the connection")
            case OSError(errno=int(number)) if number in _NETWORK:
                return self.say(Trouble.UNREACHABLE, "no way there; check the network")
            case _:
                return self.say(Trouble.UNREACHABLE, _plain(str(error)))

    def _of_tls(self, reason: str) -> Refused:
        for alert, sentence in _ALERTS.items():
            if reason.endswith(alert):
                return self.say(Trouble.TLS_CLIENT_CERTIFICATE, sentence)
        if "WRONG_VERSION_NUMBER" in reason or "RECORD_LAYER_FAILURE" in reason:
            return self.say(Trouble.TLS_OTHER, "that is no TLS; use mqtt://, or the broker's TLS port")
        return self.say(Trouble.TLS_OTHER, f"TLS failed: {_plain(reason.lower().replace('_', ' '))}")


def _plain(text: str) -> str:
    return text.replace("{", "(").replace("}", ")")
