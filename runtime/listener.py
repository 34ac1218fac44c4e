"""The socket that a server listens on; bound before anything is loaded, so that a port in use is told at once."""

from __future__ import annotations

import socket

from ..errors import ConfigError
from .config import ServerConfig


def listen(config: ServerConfig) -> socket.socket:
    """The listening socket. Raises ConfigError when the address is taken or not ours, or the certificate bad."""
    if config.ssl_certfile is not None:
        _check_certificate(config.ssl_certfile, config.ssl_keyfile)
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((config.host, config.port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise ConfigError(f"cannot listen on {config.host}:{config.port}: {error.strerror}", param="port") from None
    listener.setblocking(False)
    return listener


def _check_certificate(certificate: str, key: str | None) -> None:
    import ssl  # most servers speak plain HTTP

    def no_password() -> str:  # else OpenSSL would ask the terminal
        told = f"the key in {key or certificate} is encrypted; give one without a passphrase"
        raise ConfigError(told, param="ssl_keyfile" if key else "ssl_certfile")

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, no_password)
    except OSError as error:  # also ssl.SSLError
        told = f"--ssl-certfile {certificate}" + (f", --ssl-keyfile {key}" if key else "")
        raise ConfigError(f"{told}: {error.strerror or error}", param="ssl_certfile") from None
