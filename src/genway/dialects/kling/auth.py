"""Kling's tokens: a JWT that a client makes from an access key and a secret key.

Here both are one genway key: `iss` names it and it signs the token (HS256). A genway key is stored as a hash, so a signature
by a second secret could only be checked by keeping that secret; this way nothing more is stored, and clients that can do
nothing but Kling's scheme work as they are. The token holds the key where anybody who has it can read it, so it is to be
kept as the key itself is; what it adds is its end. A key sent as the plain bearer is taken as well.
"""

from __future__ import annotations

from genway.errors import Unauthenticated

LEEWAY_SECONDS = 30
REFUSED, EARLY, EXPIRED = 1002, 1003, 1004


class TokenRefused(Unauthenticated):
    """The token is broken, signed by something else, or not of this time. kling_code: 1002, 1003 or 1004."""

    def __init__(self, message: str, kling_code: int) -> None:
        super().__init__(message)
        self.kling_code = kling_code


def unwrap(token: str) -> str:
    """The genway key in a JWT, or the token as it is where it is none. Raises TokenRefused."""
    if token.count(".") != 2 or not token.startswith("eyJ"):
        return token
    import jwt  # noqa: PLC0415 - slow to import, and only tokens need it

    try:
        key = jwt.decode(token, options={"verify_signature": False}).get("iss")
        if not isinstance(key, str) or not key:
            raise TokenRefused("the token's `iss` names no access key", REFUSED)
        options = {"require": ["iss", "exp"], "verify_aud": False, "verify_iat": False}
        jwt.decode(token, key, algorithms=["HS256"], leeway=LEEWAY_SECONDS, options=options)  # type: ignore[arg-type]
    except jwt.ImmatureSignatureError:
        raise TokenRefused("the token is not valid yet: its `nbf` lies in the future", EARLY) from None
    except jwt.ExpiredSignatureError:
        raise TokenRefused("the token has expired; make a new one", EXPIRED) from None
    except jwt.PyJWTError as error:
        raise TokenRefused(f"the token is not valid: {error}; access key and secret key are both your key", REFUSED) from None
    return key
