"""Whether a bundle comes from whom it should: an Ed25519 signature over bundle.json, which holds all other hashes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from breastlens.errors import BundleError, DataError
from breastlens.models.bundle import CARD, FIGURES

NAME = f"{CARD}.sig"
FIGURES_NAME = f"{FIGURES}.sig"
_MOST_BYTES = 4096


def read_public_key(path: Path) -> bytes:
    """Read a public key, so that a wrong file is told before anything is loaded.

    Raises:
        DataError: It is no Ed25519 public key in PEM.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        content = path.read_bytes()
        key = load_pem_public_key(content)
    except OSError as error:
        raise DataError(f"--public-key {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"--public-key {path} is no public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise DataError(
            f"--public-key {path} is no Ed25519 key: openssl genpkey -algorithm ed25519 makes one"
        )
    return content


def require_signature(directory: Path, public_key: bytes) -> Callable[[bytes], None]:
    """A check for ``load_bundle``: that the card it reads was signed.

    Args:
        directory: The bundle, where the signature lies as ``bundle.json.sig``: 64 bytes.
        public_key: From ``read_public_key``.
    """

    def check(content: bytes) -> None:
        path = directory / NAME
        if not _is_there(path):
            raise BundleError(f"{directory} is not signed: it has no {NAME}, which --public-key asks for")
        if not _is_signed(path, content, public_key):
            raise BundleError(f"{path} was not made by the key of --public-key for this bundle")

    return check


def are_figures_signed(directory: Path, public_key: bytes) -> bool:
    """Whether what a training run found of a model was signed together with that very model.

    The model is whole before it is known how well it does; so this signature is one of its own, and a bundle without it
    is served. It is over ``bundle.json`` and behind it ``figures.json``, so that figures of another model will not do.

    Args:
        directory: The bundle, where the signature lies as ``figures.json.sig``: 64 bytes.
        public_key: From ``read_public_key``.
    """
    path = directory / FIGURES_NAME
    content = (directory / CARD).read_bytes() + (directory / FIGURES).read_bytes()
    return _is_there(path) and _is_signed(path, content, public_key)


def _is_there(path: Path) -> bool:
    return not path.is_symlink() and path.is_file() and path.stat().st_size <= _MOST_BYTES


def _is_signed(path: Path, content: bytes, public_key: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        load_pem_public_key(public_key).verify(path.read_bytes(), content)  # type: ignore[union-attr,call-arg]
    except InvalidSignature:
        return False
    return True
