"""The lab's certificate authority: API server, its users, libvirt hosts and QEMU migration."""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID = datetime.timedelta(days=3650)

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


def _name(common_name: str, organizations: Sequence[str]) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, o) for o in organizations]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read, never readable by others even for a moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def _pem(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


class Authority:
    """Signs certificates; its key and certificate lie in FOLDER as ca.key and ca.pem."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificate_path = folder / "ca.pem"
        key_path = folder / "ca.key"
        if key_path.exists() and self.certificate_path.exists():
            loaded = serialization.load_pem_private_key(key_path.read_bytes(), None)
            assert isinstance(loaded, Key)
            self._key = loaded
            self._certificate = x509.load_pem_x509_certificate(self.certificate_path.read_bytes())
            return
        # RSA, as kubeadm's: the API server verifies each request's certificate anew, and that is
        # a tenth of its work when the signature is an elliptic curve's.
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = _name("respawn lab", ["respawn-lab"])
        self._certificate = (
            self._builder(name, self._key.public_key())
            .issuer_name(name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(authority=True), critical=True)
            .add_extension(self._own_key_id(), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        write_private(key_path, _pem(self._key))
        self.certificate_path.write_bytes(
            self._certificate.public_bytes(serialization.Encoding.PEM)
        )

    @staticmethod
    def _builder(name: x509.Name, key: PublicKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + VALID)
        )

    def _own_key_id(self) -> x509.SubjectKeyIdentifier:
        return x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())

    def issue(
        self,
        name: str,
        *,
        common_name: str | None = None,
        organizations: Sequence[str] = (),
        addresses: Sequence[str] = (),
        hostnames: Sequence[str] = (),
    ) -> tuple[Path, Path]:
        """Certificate and key FOLDER/NAME.pem, NAME.key, good for both server and client."""
        certificate_path = self.folder / f"{name}.pem"
        key_path = self.folder / f"{name}.key"
        if certificate_path.exists() and key_path.exists():
            return certificate_path, key_path
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            self._builder(_name(common_name or name, organizations), key.public_key())
            .issuer_name(self._certificate.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(authority=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
                ),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self._own_key_id()),
                critical=False,
            )
        )
        alternatives: list[x509.GeneralName] = [x509.DNSName(h) for h in hostnames]
        alternatives += [x509.IPAddress(ipaddress.ip_address(a)) for a in addresses]
        if alternatives:
            builder = builder.add_extension(
                x509.SubjectAlternativeName(alternatives), critical=False
            )
        signed = builder.sign(self._key, hashes.SHA256())
        write_private(key_path, _pem(key))
        certificate_path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        return certificate_path, key_path


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def service_account_keys(folder: Path) -> tuple[Path, Path]:
    """Private and public key with which the API server signs service account tokens."""
    private, public = folder / "service-account.key", folder / "service-account.pub"
    if not private.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        write_private(private, _pem(key))
        public.write_bytes(
            key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
    return private, public
