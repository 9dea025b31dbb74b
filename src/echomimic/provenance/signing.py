"""Sign videos with Content Credentials (C2PA), read them, and make a test certificate (extra `provenance`)."""

import datetime
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from echomimic import __version__
from echomimic.errors import OutputError, SetupError, VideoError
from echomimic.installation import missing_package
from echomimic.media import atomic_path
from echomimic.provenance.record import RenderRecord

if TYPE_CHECKING:
    from types import ModuleType

    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509 import Certificate, Name

COMPOSITE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC's digital source type of a picture that was made in part by a trained algorithm."""
SIGNED_SUFFIXES = (".mp4", ".gif")
_KEYS = "a PEM certificate chain and its PEM private key: make a test pair with echomimic keys new"
_RECORD = "org.echomimic.render"
_FORMATS = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".gif": "image/gif",
    ".png": "image/png",
}


@dataclass(frozen=True)
class SigningKey:
    """A PEM certificate chain, the leaf first, and its private key, as files."""

    certificates: Path
    key: Path


@dataclass(frozen=True)
class Credentials:
    """The statements of the Content Credentials of a file.

    `intact` is whether the content is what was signed; `trusted` whether the signer is on a trust list; `generator` the
    program that wrote it; `ai_generated` whether it is declared as made by a trained algorithm.
    """

    signer: str
    generator: str
    intact: bool
    trusted: bool
    ai_generated: bool
    problems: tuple[str, ...]


def sign_video(source: Path, target: Path, key: SigningKey, record: RenderRecord) -> None:
    """Copy `source` to `target` with a signed manifest: creation by AI, the digests of the inputs and the record.

    Raises SetupError without c2pa-python, OutputError for a key that cannot sign or a format that holds no manifest.
    """
    c2pa = _library()
    signer = _signer(c2pa, key)
    builder = c2pa.Builder.from_json(json.dumps(manifest(record)))
    try:
        with signer:
            builder.sign_file(source, target, signer)
    except c2pa.C2paError as error:
        raise OutputError(
            f"{key.certificates} cannot sign a {source.suffix} ({_reason(error)}); expected {_KEYS}"
        ) from None


def sign_in_place(path: Path, key: SigningKey, record: RenderRecord) -> None:
    """Replace an unsigned file by the signed one."""
    signed = path.with_name(f"{path.stem}-signed{path.suffix}")
    try:
        sign_video(path, signed, key, record)
        signed.replace(path)
    finally:
        signed.unlink(missing_ok=True)


def check_signing(output: Path, key: SigningKey) -> None:
    """Raise the errors of `sign_video` for the format or the key, before any work is done."""
    if output.suffix.lower() not in SIGNED_SUFFIXES:
        raise OutputError(
            f"{output} cannot hold a signature; expected a name that ends in {', '.join(SIGNED_SUFFIXES)}"
        )
    with _signer(_library(), key):
        pass


def manifest(record: RenderRecord) -> dict[str, Any]:
    """The C2PA manifest of a render."""
    ingredients = {name: getattr(record, name) for name in ("portrait", "speech", "motion") if getattr(record, name)}
    created = {
        "action": "c2pa.created",
        "digitalSourceType": COMPOSITE,
        "softwareAgent": {"name": "echomimic", "version": __version__},
    }
    return {
        "claim_generator_info": [{"name": "echomimic", "version": __version__}],
        "title": "AI-generated video of a still picture",
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [created]}},
            {"label": _RECORD, "data": {"record": record.to_json(), "sha256": ingredients}},
        ],
    }


def read_credentials(path: Path) -> Credentials | None:
    """Read the Content Credentials of a file, of any tool; None if it has none. Raises SetupError, VideoError."""
    c2pa = _library()
    kind = _FORMATS.get(path.suffix.lower())
    if kind is None:
        return None
    try:
        with path.open("rb") as file, c2pa.Reader(kind, file) as reader:
            store = json.loads(reader.json())
    except c2pa.C2paError as error:
        if "ManifestNotFound" in str(error) or "no JUMBF data" in str(error):
            return None
        raise VideoError(
            f"{path} has damaged Content Credentials ({_reason(error)}); expected an unchanged file"
        ) from None
    return _credentials(store)


def _credentials(store: dict[str, Any]) -> Credentials:
    active = store.get("manifests", {}).get(store.get("active_manifest"), {})
    signature = active.get("signature_info", {})
    state = str(store.get("validation_state", "Invalid"))
    generator: dict[str, str] = next(iter(active.get("claim_generator_info") or []), {})
    sources = [
        str(action.get("digitalSourceType", ""))
        for assertion in active.get("assertions", [])
        if str(assertion.get("label", "")).startswith("c2pa.actions")
        for action in assertion.get("data", {}).get("actions", [])
    ]
    problems = [f"{entry.get('code')}" for entry in store.get("validation_status", [])]
    return Credentials(
        signer=str(signature.get("issuer") or signature.get("common_name") or "unknown"),
        generator=f"{generator.get('name', 'unknown')} {generator.get('version', '')}".strip(),
        intact=state in ("Valid", "Trusted"),
        trusted=state == "Trusted",
        ai_generated=any("lgorithmicMedia" in source for source in sources),
        problems=tuple(problems),
    )


def _signer(c2pa: "ModuleType", key: SigningKey) -> Any:
    """A signer of the library. Raises OutputError for files that are not a certificate and key."""
    texts = []
    for path in (key.certificates, key.key):
        try:
            texts.append(path.read_text(encoding="ascii"))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not PEM text"
            raise OutputError(f"{path} cannot be read ({reason}); expected {_KEYS}") from None
    algorithm = _algorithm(texts[0], texts[1], key)
    try:
        return c2pa.Signer.from_info(c2pa.C2paSignerInfo(*(text.encode() for text in (algorithm, *texts)), None))
    except c2pa.C2paError as error:
        raise OutputError(
            f"{key.certificates} and {key.key} do not sign ({_reason(error)}); expected {_KEYS}"
        ) from None


def _algorithm(certificates: str, pem: str, key: SigningKey) -> str:
    """C2PA's name of the signing algorithm. Raises OutputError unless the key is that of a valid certificate."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from cryptography.x509 import load_pem_x509_certificates

    try:
        private = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):
        raise OutputError(f"{key.key} is not a PEM private key without a password; expected {_KEYS}") from None
    try:
        leaf = load_pem_x509_certificates(certificates.encode())[0]
    except ValueError:
        raise OutputError(f"{key.certificates} is not a PEM certificate chain; expected {_KEYS}") from None
    now = datetime.datetime.now(datetime.timezone.utc)
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        raise OutputError(
            f"{key.certificates} is valid from {leaf.not_valid_before_utc:%Y-%m-%d} to "
            f"{leaf.not_valid_after_utc:%Y-%m-%d}; expected one that is valid today: renew it"
        )
    if leaf.public_key() != private.public_key():
        raise OutputError(f"{key.key} is not the key of the first certificate of {key.certificates}; expected {_KEYS}")
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return {256: "es256", 384: "es384", 521: "es512"}[private.curve.key_size]
    if isinstance(private, rsa.RSAPrivateKey):
        return "ps256"
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    raise OutputError(f"{key.key} is a key of a kind that C2PA does not support; expected EC, RSA or Ed25519: {_KEYS}")


def _library() -> "ModuleType":
    try:
        import c2pa
    except ImportError:
        raise SetupError(missing_package("c2pa-python", "provenance", "signs videos and reads signatures")) from None
    module: ModuleType = c2pa
    return module


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:160]


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
