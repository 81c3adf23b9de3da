"""An OpenID Connect provider on loopback, which can be told to answer as it should not."""

import asyncio
import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from daiic.gateway.login.jose import JsonWebKey, JsonWebToken

CLIENT_ID = "daiic"
CLIENT_SECRET = "a secret: with/odd characters"

Change = Callable[[dict[str, Any]], object]


class OidcProvider:
    """`claims` are said of whoever logs in. Tests may replace all of these:

    `change_claims`, `change_header`, `change_discovery` are called with what is
    about to be sent; `sign` makes the token; `answer` replaces the answer of a path.
    """

    def __init__(self) -> None:
        self.claims: dict[str, Any] = {
            "sub": "1234",
            "email": "ann@example.org",
            "email_verified": True,
            "groups": ["staff"],
        }
        self.header = {"alg": "RS256", "kid": "one"}
        self.key = JsonWebKey.generate_key("RSA", 2048, {"kid": "one", "use": "sig"}, True)
        self.change_claims: Change = lambda claims: None
        self.change_discovery: Change = lambda document: None
        self.sign = self._sign
        self.answers: dict[str, Callable[[], Response]] = {}
        self.asked: list[str] = []
        self._codes: dict[str, dict[str, list[str]]] = {}

    async def __aenter__(self) -> Self:
        app = Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._discovery),
                Route("/authorize", self._authorize),
                Route("/token", self._token, methods=["POST"]),
                Route("/keys", self._keys),
            ]
        )
        config = uvicorn.Config(app, port=0, log_level="error", lifespan="off")
        self._server = uvicorn.Server(config)
        self._server.config.load()
        self._serving = asyncio.create_task(self._server.serve())
        while not self._server.started:
            await asyncio.sleep(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.issuer = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.should_exit = True
        await self._serving

    def code_for(self, login_url: str) -> tuple[str, str]:
        """Return the code and state that a browser is sent back with from `login_url`."""
        query = parse_qs(urlsplit(login_url).query)
        code = secrets.token_urlsafe()
        self._codes[code] = query
        return code, query["state"][0]

    def _replaced(self, request: Request) -> Response | None:
        self.asked.append(request.url.path)
        answer = self.answers.get(request.url.path)
        return answer() if answer else None

    async def _discovery(self, request: Request) -> Response:
        document = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
        }
        self.change_discovery(document)
        return self._replaced(request) or JSONResponse(document)

    async def _authorize(self, request: Request) -> Response:
        code, state = self.code_for(str(request.url))
        return RedirectResponse(f"{request.query_params['redirect_uri']}?code={code}&state={state}")

    async def _keys(self, request: Request) -> Response:
        return self._replaced(request) or JSONResponse({"keys": [self.key.as_dict(False)]})

    async def _token(self, request: Request) -> Response:
        form = parse_qs((await request.body()).decode())
        query = self._codes.pop(form["code"][0], None)
        _scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        known = base64.b64decode(credentials).decode() == (
            f"{CLIENT_ID}:a%20secret%3A%20with%2Fodd%20characters"
        )
        verifier = form.get("code_verifier", [""])[0]
        digest = hashlib.sha256(verifier.encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if query is None or query["code_challenge"] != [challenge] or not known:
            return JSONResponse({"error": "invalid_grant"}, 400)
        if query["redirect_uri"] != form["redirect_uri"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        claims = self.claims | {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": int(time.time()),
            "exp": int(time.time()) + 300,
            "nonce": query["nonce"][0],
        }
        self.change_claims(claims)
        return self._replaced(request) or JSONResponse(
            {"access_token": "x", "token_type": "Bearer", "id_token": self.sign(claims)}
        )

    def _sign(self, claims: dict[str, Any]) -> str:
        token = JsonWebToken([self.header["alg"]]).encode(self.header, claims, self.key)
        return token.decode()


def unsigned(claims: dict[str, Any]) -> str:
    """Return a token that says that it needs no signature."""

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none'})}.{part(claims)}."
