"""JSON Web Tokens, from the place where every authlib before 2.0 has them.

Newer ones warn of it, and name a package instead that the authlib of nixpkgs does not bring.
"""

import warnings

with warnings.catch_warnings(record=True):
    from authlib.jose import JsonWebKey, JsonWebToken
    from authlib.jose.errors import JoseError

__all__ = ["JoseError", "JsonWebKey", "JsonWebToken"]
