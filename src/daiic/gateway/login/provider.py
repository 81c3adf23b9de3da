"""An OpenID Connect provider: what it publishes, and what it says about who has logged in."""

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpx
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from daiic.gateway.login.bounded_http import BoundedHttp, ProviderError
from daiic.gateway.login.id_token import UnknownKey, verified
from daiic.gateway.login.safe_url import is_safe_url
from daiic.gateway.login.tickets import Attempt

KEPT = 3600.0
"""Seconds for which what it publishes is used without asking again."""
ASK_AGAIN = 60.0
"""Seconds after which its keys may be asked for early, because one is missing."""
ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")


class Provider:
    """One issuer, and us as its client `client_id`."""

    def __init__(
        self,
        issuer: str,
        client_id: str,
        client_secret: str,
        scopes: tuple[str, ...],
        redirect_uri: str,
        http: BoundedHttp,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`redirect_uri` is where it sends browsers back to; a `client_secret` of "" is none."""
        self.issuer = issuer
        self._client_id = client_id
        self._client_secret = client_secret
        self._scopes = scopes
        self._redirect_uri = redirect_uri
        self._http = http
        self._clock = clock
        self._published: dict[str, Any] = {}
        self._published_at = 0.0
        self._keys: dict[str, Any] = {}
        self._keys_at = 0.0

    async def close(self) -> None:
        """Close connections to it."""
        await self._http.close()

    async def login_url(self, attempt: Attempt) -> str:
        """Return where a browser logs in.

        Raises:
            ProviderError: if the provider does not say.
        """
        endpoint = (await self._discover())["authorization_endpoint"]
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._redirect_uri,
            "scope": " ".join(self._scopes),
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": create_s256_code_challenge(attempt.verifier),
            "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(query)}"

    async def claims(self, code: str, attempt: Attempt) -> dict[str, Any]:
        """Return what the provider says about who has logged in and got `code`.

        Raises:
            ProviderError: if it says nothing that can be used.
            TokenError: if what it says proves nothing.
        """
        published = await self._discover()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": attempt.verifier,
        }
        auth = None
        methods = published.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        if self._client_secret and "client_secret_basic" in methods:
            auth = httpx.BasicAuth(quote(self._client_id, ""), quote(self._client_secret, ""))
        else:
            form["client_id"] = self._client_id
            if self._client_secret:
                form["client_secret"] = self._client_secret
        answer = await self._http.post(published["token_endpoint"], form, auth)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise ProviderError(f"{published['token_endpoint']} sends no ID token")
        try:
            return self._verified(token, await self._get_keys(KEPT), attempt)
        except UnknownKey:
            return self._verified(token, await self._get_keys(ASK_AGAIN), attempt)

    def _verified(self, token: str, keys: dict[str, Any], attempt: Attempt) -> dict[str, Any]:
        return verified(
            token, keys, issuer=self.issuer, client_id=self._client_id, nonce=attempt.nonce
        )

    async def _discover(self) -> dict[str, Any]:
        if self._published and self._clock() - self._published_at < KEPT:
            return self._published
        url = f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
        published = await self._http.get(url)
        if published.get("issuer") != self.issuer:
            raise ProviderError(
                f"{url} is of another issuer: oidc_issuer must be written exactly as it says"
            )
        for name in ENDPOINTS:
            if not is_safe_url(published.get(name)):
                raise ProviderError(f"{url} has no https URL as {name}")
        self._published, self._published_at = published, self._clock()
        return published

    async def _get_keys(self, at_most_old: float) -> dict[str, Any]:
        if not self._keys or self._clock() - self._keys_at >= at_most_old:
            published = await self._discover()
            self._keys = await self._http.get(published["jwks_uri"])
            self._keys_at = self._clock()
        return self._keys
