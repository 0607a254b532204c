"""A certification authority for tests, made with openssl.  Keys are small and live for days."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, PEM."""

    certificate: Path
    key: Path


class Authority:
    """Issues certificates for 127.0.0.1.

    Parameters
    ----------
    folder : Path
    name : str
        Its common name, and that of its files.
    """

    def __init__(self, folder: Path, name: str = "ca") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.pair = Pair(folder / f"{name}.crt", folder / f"{name}.key")
        _openssl(
            *("req", "-x509", *_new_key(self.pair.key), "-days", "30", "-subj", f"/CN={name}"),
            *("-out", self.pair.certificate),
        )

    @property
    def certificate(self) -> Path:
        return self.pair.certificate

    def issue(
        self,
        name: str,
        *,
        days: int = 30,
        passphrase: str | None = None,
        host: str = "IP:127.0.0.1,DNS:localhost",
        rsa_bits: int | None = None,
    ) -> Pair:
        """Issue a certificate; another one of the same name replaces it."""
        pair = Pair(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        request, extensions = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        new_key = _new_key(pair.key, passphrase) if rsa_bits is None else _rsa(pair.key, rsa_bits)
        _openssl("req", *new_key, "-subj", f"/CN={name}", "-out", request)
        extensions.write_text(f"subjectAltName={host}\n")
        _openssl(
            *("x509", "-req", "-in", request, "-days", days, "-out", pair.certificate),
            *("-CA", self.pair.certificate, "-CAkey", self.pair.key, "-CAcreateserial"),
            *("-extfile", extensions),
        )
        return pair

    def revoke(self, *pairs: Pair, days: int = 30) -> Path:
        """Write the list of revoked certificates, with these added; return it."""
        index, settings = self._folder / "index.txt", self._folder / "ca.cnf"
        index.touch()
        settings.write_text(
            f"[ca]\ndefault_ca = this\n[this]\ndatabase = {index}\ndefault_md = sha256\n"
            f"certificate = {self.pair.certificate}\nprivate_key = {self.pair.key}\n"
        )
        for each in pairs:
            _openssl("ca", "-config", settings, "-revoke", each.certificate)
        found = self._folder / "revoked.crl"
        _openssl("ca", "-config", settings, "-gencrl", "-crldays", days, "-out", found)
        return found


def _new_key(key: Path, passphrase: str | None = None) -> tuple[object, ...]:
    guard = ("-nodes",) if passphrase is None else ("-passout", f"pass:{passphrase}")
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", *guard, "-keyout", key)


def _rsa(key: Path, bits: int) -> tuple[object, ...]:
    return ("-newkey", f"rsa:{bits}", "-nodes", "-keyout", key)


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=30)
