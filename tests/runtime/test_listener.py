"""What a server listens on is checked before anything is loaded."""

import shutil
import socket
import subprocess

import pytest

from radixlang.errors import ConfigError
from radixlang.runtime.config import ServerConfig
from radixlang.runtime.listener import listen


def made(folder, *options):
    """A key and a certificate of its own."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-days", "2", "-subj", "/CN=localhost", *options]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return str(certificate), str(key)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_passphrase(tmp_path) -> None:
    certificate, key = made(tmp_path, "-passout", "pass:secret")
    with pytest.raises(ConfigError, match="encrypted") as caught:
        listen(ServerConfig(port=0, ssl_certfile=certificate, ssl_keyfile=key))
    assert caught.value.param == "ssl_keyfile"
    certificate, key = made(tmp_path, "-nodes")
    listen(ServerConfig(port=0, ssl_certfile=certificate, ssl_keyfile=key)).close()


def test_a_port_in_use_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError) as caught:
        listen(ServerConfig(port=taken.getsockname()[1]))
    assert caught.value.param == "port"
