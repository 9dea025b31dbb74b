"""Make a test certificate for signing: it shows that a file is unchanged, but nobody trusts its name."""

import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from echomimic.errors import OutputError, SetupError
from echomimic.installation import missing_package
from echomimic.media import atomic_path
from echomimic.provenance.signing import SigningKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509 import Certificate, Name

DAYS = 365
NAME = "echomimic test certificate, trusted by nobody"


def make_test_keys(folder: Path) -> SigningKey:
    """Write `certificates.pem` and `key.pem` (readable by the owner only) into `folder`, which must not hold any yet.

    Raises OutputError, SetupError.
    """
    keys = SigningKey(folder / "certificates.pem", folder / "key.pem")
    for path in (keys.certificates, keys.key):
        if path.exists():
            raise OutputError(f"{path} exists; expected a folder without keys: name another")
    certificates, private = _make_pair()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(keys.key) as part:
            part.touch(mode=0o600, exist_ok=False)
            part.write_bytes(private)
        with atomic_path(keys.certificates) as part:
            part.write_bytes(certificates)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written ({error.strerror}); name another folder") from None
    return keys


def _make_pair() -> tuple[bytes, bytes]:
    """A chain of a leaf and its root certificate, and the key of the leaf, as PEM."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID
    except ImportError:
        raise SetupError(missing_package("cryptography", "provenance", "makes keys")) from None

    def name(text: str) -> "Name":
        return x509.Name(
            [x509.NameAttribute(NameOID.ORGANIZATION_NAME, NAME), x509.NameAttribute(NameOID.COMMON_NAME, text)]
        )

    root_key, leaf_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = _certificate(name("test root"), name("test root"), root_key, root_key, authority=True)
    leaf = _certificate(name("test signer"), name("test root"), leaf_key, root_key, authority=False)
    chain = b"".join(part.public_bytes(serialization.Encoding.PEM) for part in (leaf, root))
    private = leaf_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return chain, private


def _certificate(
    subject: "Name",
    issuer: "Name",
    key: "ec.EllipticCurvePrivateKey",
    issuer_key: "ec.EllipticCurvePrivateKey",
    *,
    authority: bool,
) -> "Certificate":
    """A certificate of the profile that C2PA asks for: its key signs, for the purpose of e-mail protection."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID

    now = datetime.datetime.now(datetime.timezone.utc)
    usage = x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())
