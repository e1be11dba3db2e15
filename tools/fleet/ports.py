"""When a server that was just started may be counted on."""

import socket

_NO_PACKET = bytes(16)  # begins neither a TLS record nor an MQTT packet, so the broker hangs up
_TIMEOUT_S = 1.0


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Tell whether a port takes connections."""
    try:
        socket.create_connection((host, port), timeout=_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def mosquitto_answers(port: int, host: str = "127.0.0.1") -> bool:
    """Tell whether a mosquitto, with TLS or without, has read what we sent to its port, and hung up.

    That it listens is not enough: it opens its port, then takes over the signals, and only then sets the flag that
    SIGTERM clears. One that comes before ends it without saving, or is lost, and the broker runs on.
    """
    try:
        with socket.create_connection((host, port), timeout=_TIMEOUT_S) as link:
            link.sendall(_NO_PACKET)
            link.recv(1)
    except (ConnectionResetError, BrokenPipeError):  # it hung up with some of our bytes unread
        return True
    except OSError:
        return False
    return True
