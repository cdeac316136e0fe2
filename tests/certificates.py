"""Certificates for the tests of TLS, made by openssl in a folder of the test."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CONFIGURATION: Final = """
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[signed]
basicConstraints = CA:false
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, as files."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Certificates:
    """What a TLS server and its clients need, and what is wrong in one way each."""

    authority: Path
    """The CA of the server and of the client."""
    server: Pair
    """For 127.0.0.1, localhost and redis."""
    client: Pair
    elsewhere: Pair
    """A server's, by the same CA, for another host name."""
    other_authority: Path
    """A CA that has signed none of the above."""
    stranger: Pair
    """A client's, by that other CA."""


def make_certificates(folder: Path) -> Certificates:
    """Make all of them in this folder."""
    configuration = folder / "openssl.cnf"
    configuration.write_text(_CONFIGURATION)

    def make(name: str, section: str, *more: str | Path) -> Pair:
        pair = Pair(folder / f"{name}.crt", folder / f"{name}.key")
        command: list[str | Path] = [
            "openssl",
            "req",
            "-x509",
            "-config",
            configuration,
            "-extensions",
            section,
        ]
        command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        command += ["-subj", f"/CN={name}", "-out", pair.certificate, "-keyout", pair.key, *more]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return pair

    def sign(name: str, by: Pair, *names: str) -> Pair:
        signer = ("-CA", by.certificate, "-CAkey", by.key)
        extension = ("-addext", f"subjectAltName={','.join(names)}") if names else ()
        return make(name, "signed", *signer, *extension)

    authority, other = make("authority", "authority"), make("other-authority", "authority")
    return Certificates(
        authority=authority.certificate,
        server=sign("server", authority, "IP:127.0.0.1", "DNS:localhost", "DNS:redis"),
        client=sign("client", authority),
        elsewhere=sign("elsewhere", authority, "DNS:elsewhere.invalid"),
        other_authority=other.certificate,
        stranger=sign("stranger", other),
    )
