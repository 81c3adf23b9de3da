"""Checking an ID token, as OpenID Connect Core 1.0 says in 3.1.3.7."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from daiic.gateway.login.jose import JoseError, JsonWebKey, JsonWebToken

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Signatures with a private key; never `none`, nor a secret that we share."""
LEEWAY = 60
"""Seconds that the provider's clock may differ from ours."""
KEY_TYPES = ("RSA", "EC")

_TOKENS = JsonWebToken(list(ALGORITHMS))


class TokenError(Exception):
    """An ID token that proves nothing; the message says why."""


class UnknownKey(TokenError):
    """No key that we know has signed it; the provider may have a new one."""


def verified(
    token: str, keys: Mapping[str, Any], *, issuer: str, client_id: str, nonce: str
) -> dict[str, Any]:
    """Return the claims of `token`, which one of `keys`, a JSON Web Key Set, has signed.

    Raises:
        UnknownKey: if none of them is the one that the token names.
        TokenError: if the token is wrong, too old, or for somebody else.
    """
    needed: dict[str, dict[str, Any]] = {
        "iss": {"essential": True, "value": issuer},
        "aud": {"essential": True, "value": client_id},
        "sub": {"essential": True},
        "exp": {"essential": True},
        "iat": {"essential": True},
        "nonce": {"essential": True, "value": nonce},
    }
    try:
        claims = _TOKENS.decode(token, _finder(keys), claims_options=needed)
        claims.validate(now=int(time.time()), leeway=LEEWAY)
    except JoseError as error:
        raise TokenError(f"the ID token is not valid: {error}") from None
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise TokenError(f"the ID token cannot be read: {type(error).__name__}") from None
    audience = claims["aud"]
    several = isinstance(audience, list) and len(audience) > 1
    if claims.get("azp", None if several else client_id) != client_id:
        raise TokenError("the ID token was made for another client (azp)")
    subject = claims["sub"]
    if not (isinstance(subject, str) and subject.isascii() and 0 < len(subject) <= 255):
        raise TokenError("the ID token does not name its subject in 1 to 255 ASCII characters")
    return dict(claims)


def _finder(keys: Mapping[str, Any]) -> Callable[[Mapping[str, Any], Any], Any]:
    listed = keys.get("keys")
    known = [
        key
        for key in (listed if isinstance(listed, list) else [])
        if isinstance(key, dict)
        and key.get("kty") in KEY_TYPES
        and key.get("use", "sig") == "sig"
        and "d" not in key
    ]

    def find(header: Mapping[str, Any], payload: Any) -> Any:
        algorithm, wanted = header.get("alg"), header.get("kid")
        fitting = [
            key
            for key in known
            if (wanted is None or key.get("kid") == wanted)
            and key.get("alg", algorithm) == algorithm
        ]
        if not fitting or (wanted is None and len(fitting) > 1):
            raise UnknownKey("the ID token is signed with a key that the provider does not publish")
        return JsonWebKey.import_key(fitting[0])

    return find
