"""Claims that the service signs for itself, as a JWS (HS256, RFC 7515) of one type."""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Any

import jwt

_ALGORITHM = "HS256"


class SignedTokens:
    """Signs and opens claims; the first key signs, all verify.

    Args:
        keys: the service's secrets.
        purpose: what the keys are derived for, so that no token is valid for another purpose.
        kind: the header `typ`.
        required: the claims without which a token is not valid.

    """

    def __init__(self, keys: Sequence[bytes], purpose: bytes, kind: str, required: Sequence[str]) -> None:
        self._keys = [hmac.digest(key, purpose, hashlib.sha256) for key in keys]
        self._kind = kind
        self._options: Any = {"require": list(required)}

    def sign(self, claims: dict[str, Any]) -> str:
        """Return a new token."""
        return jwt.encode(claims, self._keys[0], _ALGORITHM, headers={"typ": self._kind})

    def open(self, token: str) -> dict[str, Any]:
        """Return a token's claims; raises `jwt.ExpiredSignatureError`, and `jwt.InvalidTokenError` else."""
        for key in self._keys:
            try:
                found = jwt.decode_complete(token, key, algorithms=[_ALGORITHM], options=self._options)
            except jwt.ExpiredSignatureError:
                raise
            except jwt.PyJWTError:
                continue  # the next key may be the one that signed it
            if found["header"].get("typ") == self._kind:
                claims: dict[str, Any] = found["payload"]
                return claims
        raise jwt.InvalidTokenError
