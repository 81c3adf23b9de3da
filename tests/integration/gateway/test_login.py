"""Logging in to the page through an OpenID Connect provider, also one that means ill."""

import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, RedirectResponse, Response

from daiic.gateway.http.api_keys import KeyFile
from daiic.gateway.login.jose import JsonWebKey, JsonWebToken
from integration.gateway.conftest import StartGateway
from support.peers.oidc_provider import CLIENT_ID, CLIENT_SECRET, OidcProvider, unsigned

CHAT = {"model": "stub-chat", "messages": [{"role": "user", "content": "Hello"}]}
PATH = "/v1/chat/completions"
PUBLIC = "http://gateway.test"
SAME = {"Origin": PUBLIC}


@pytest.fixture
async def provider() -> AsyncIterator[OidcProvider]:
    async with OidcProvider() as provider:
        yield provider


@pytest.fixture
def flags(provider: OidcProvider, tmp_path: Path) -> list[str]:
    secret = tmp_path / "secret"
    secret.write_text(f"{CLIENT_SECRET}\n")
    return [
        f"--oidc-issuer={provider.issuer}",
        f"--oidc-client-id={CLIENT_ID}",
        f"--oidc-client-secret-file={secret}",
        f"--public-url={PUBLIC}",
        "--oidc-allowed-emails=@example.org",
        "--oidc-admin-groups=admins",
    ]


async def log_in(http: httpx.AsyncClient, provider: OidcProvider) -> httpx.Response:
    """Go the way of a browser, and return where it ends."""
    begun = await http.get("/login")
    assert begun.status_code == 302, begun.text
    code, state = provider.code_for(begun.headers["location"])
    return await http.get("/login/callback", params={"code": code, "state": state})


async def test_who_has_logged_in_needs_no_key_until_logging_out(
    start_gateway: StartGateway, provider: OidcProvider, flags: list[str], keys: KeyFile
) -> None:
    key = keys.create("ann")
    gateway = await start_gateway(*flags, f"--api-keys-file={keys.path}")
    async with gateway.http as http:
        assert (await http.get("/api/session")).json() == {"login": True, "user": None}
        assert (await http.get("/v1/models")).status_code == 401
        ended = await log_in(http, provider)
        assert (ended.status_code, ended.headers["location"]) == (303, "/")
        cookie = next(c for c in ended.headers.get_list("set-cookie") if "session" in c).lower()
        assert "httponly" in cookie and "samesite=lax" in cookie and "max-age=43200" in cookie
        assert (await http.get("/api/session")).json()["user"] == "ann@example.org"
        assert (await http.get("/v1/models")).status_code == 200
        assert (await http.post(PATH, json=CHAT, headers=SAME)).status_code == 200
        used = (await http.get("/v1/usage?group_by=api_key_id")).json()["data"][-1]["results"]
        assert [result["api_key_name"] for result in used] == ["ann@example.org"]
        assert (await http.post("/logout", headers=SAME)).status_code == 204
        assert (await http.get("/v1/models")).status_code == 401
        with_key = await http.get("/v1/models", headers={"Authorization": f"Bearer {key}"})
        assert with_key.status_code == 200


async def test_page_of_another_origin_cannot_use_a_session(
    start_gateway: StartGateway, provider: OidcProvider, flags: list[str]
) -> None:
    gateway = await start_gateway(*flags)
    async with gateway.http as http:
        await log_in(http, provider)
        for headers in (
            {},
            {"Origin": "https://evil.test"},
            {"Origin": "null"},
            {"Origin": f"{PUBLIC}.evil.test"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ):
            refused = await http.post(PATH, json=CHAT, headers=headers)
            assert refused.status_code == 403, headers
            assert refused.json()["error"]["code"] == "origin_not_allowed"
            assert (await http.post("/logout", headers=headers)).status_code == 403
            if "Sec-Fetch-Site" in headers:
                assert (await http.get("/v1/models", headers=headers)).status_code == 403
        assert (await http.post(PATH, json=CHAT, headers=SAME)).status_code == 200


def _other_key(provider: OidcProvider, kid: str = "one") -> Callable[[dict[str, Any]], str]:
    key = JsonWebKey.generate_key("RSA", 2048, {"kid": kid}, True)
    return lambda claims: JsonWebToken(["RS256"]).encode(provider.header, claims, key).decode()


def _with_public_key_as_secret(provider: OidcProvider) -> Callable[[dict[str, Any]], str]:
    header = {"alg": "HS256", "kid": "one"}
    return lambda claims: JsonWebToken(["HS256"]).encode(header, claims, CLIENT_SECRET).decode()


HOSTILE: dict[str, Callable[[OidcProvider], object]] = {
    "wrong nonce": lambda p: setattr(p, "change_claims", lambda c: c.update(nonce="x")),
    "no nonce": lambda p: setattr(p, "change_claims", lambda c: c.pop("nonce")),
    "wrong audience": lambda p: setattr(p, "change_claims", lambda c: c.update(aud="other")),
    "several audiences": lambda p: setattr(
        p, "change_claims", lambda c: c.update(aud=[CLIENT_ID, "other"])
    ),
    "for another party": lambda p: setattr(p, "change_claims", lambda c: c.update(azp="other")),
    "wrong issuer": lambda p: setattr(
        p, "change_claims", lambda c: c.update(iss="https://evil.test")
    ),
    "expired": lambda p: setattr(
        p, "change_claims", lambda c: c.update(exp=int(time.time()) - 600)
    ),
    "never expires": lambda p: setattr(p, "change_claims", lambda c: c.pop("exp")),
    "from the future": lambda p: setattr(
        p, "change_claims", lambda c: c.update(iat=int(time.time()) + 6000)
    ),
    "no subject": lambda p: setattr(p, "change_claims", lambda c: c.pop("sub")),
    "odd subject": lambda p: setattr(p, "change_claims", lambda c: c.update(sub={"a": 1})),
    "endless subject": lambda p: setattr(p, "change_claims", lambda c: c.update(sub="x" * 9999)),
    "odd times": lambda p: setattr(p, "change_claims", lambda c: c.update(exp="soon")),
    "unsigned": lambda p: setattr(p, "sign", unsigned),
    "another key": lambda p: setattr(p, "sign", _other_key(p)),
    "symmetric": lambda p: setattr(p, "sign", _with_public_key_as_secret(p)),
    "junk": lambda p: setattr(p, "sign", lambda claims: "a.b.c"),
    "unknown key id": lambda p: setattr(p, "sign", _other_key(p, "two")),
}


async def test_token_that_proves_nothing_lets_nobody_in(
    start_gateway: StartGateway, provider: OidcProvider, flags: list[str]
) -> None:
    gateway = await start_gateway(*flags)
    honest = vars(provider).copy()
    async with gateway.http as http:
        for what, make_hostile in HOSTILE.items():
            make_hostile(provider)
            refused = await log_in(http, provider)
            assert (refused.status_code, what) == (400, what)
            assert refused.json()["error"]["code"] == "login_failed"
            assert (await http.get("/v1/models")).status_code == 401
            vars(provider).update(honest)
        assert (await log_in(http, provider)).status_code == 303


@pytest.mark.parametrize("keys", [{}, {"keys": None}, {"keys": [1, {}, {"kty": "RSA"}]}])
async def test_provider_that_publishes_no_key_lets_nobody_in(
    start_gateway: StartGateway, provider: OidcProvider, flags: list[str], keys: dict[str, Any]
) -> None:
    provider.answers["/keys"] = lambda: JSONResponse(keys)
    gateway = await start_gateway(*flags)
    async with gateway.http as http:
        assert (await log_in(http, provider)).status_code == 400


BROKEN: dict[str, tuple[str, Callable[[], Response]]] = {
    "huge": ("/token", lambda: Response(b"x" * 10_000_000)),
    "compressed": ("/token", lambda: Response(b"x", headers={"Content-Encoding": "gzip"})),
    "sends elsewhere": ("/token", lambda: RedirectResponse("http://127.0.0.1:1/")),
    "no JSON": ("/token", lambda: Response(b"[" * 100_000)),
    "a list": ("/token", lambda: JSONResponse([])),
    "an error": ("/token", lambda: JSONResponse({"error": "x"}, 500)),
    "no token": ("/token", lambda: JSONResponse({})),
    "odd token": ("/token", lambda: JSONResponse({"id_token": [1]})),
    "huge keys": ("/keys", lambda: Response(b"x" * 10_000_000)),
}


async def test_provider_that_answers_nonsense_is_reported_and_lets_nobody_in(
    start_gateway: StartGateway, provider: OidcProvider, flags: list[str]
) -> None:
    gateway = await start_gateway(*flags)
    async with gateway.http as http:
        for what, (path, answer) in BROKEN.items():
            provider.answers = {path: answer}
            refused = await log_in(http, provider)
            assert (refused.status_code, what) == (502, what)
            assert refused.json()["error"]["code"] == "login_unavailable"
            assert (await http.get("/v1/models")).status_code == 401
        provider.answers.clear()
        assert (await log_in(http, provider)).status_code == 303


async def test_provider_that_publishes_what_cannot_be_trusted_is_not_used(
    start_gateway: StartGateway, provider: OidcProvider, flags: list[str]
) -> None:
    gateway = await start_gateway(*flags)
    async with gateway.http as http:
        for change in (
            {"issuer": "https://evil.test"},
            {"authorization_endpoint": "http://evil.test/authorize"},
            {"token_endpoint": "file:///etc/passwd"},
            {"jwks_uri": None},
            {"authorization_endpoint": "https://x\r\nSet-Cookie: a=b"},
        ):
            provider.change_discovery = lambda document, change=change: document.update(change)
            assert (await http.get("/login")).status_code == 502, change


async def test_login_that_another_browser_began_is_refused(
    start_gateway: StartGateway, provider: OidcProvider, flags: list[str]
) -> None:
    gateway = await start_gateway(*flags)
    async with gateway.http as victim, gateway.http as attacker:
        begun = await attacker.get("/login")
        code, state = provider.code_for(begun.headers["location"])
        query = {"code": code, "state": state}
        assert (await victim.get("/login/callback", params=query)).status_code == 400
        await victim.get("/login")
        assert (await victim.get("/login/callback", params=query)).status_code == 400
        for odd in ({}, {"state": "\u00e9"}, {"state": state}, {"error": "x", "state": state}):
            assert (await attacker.get("/login/callback", params=odd)).status_code == 400
        forged = {"Cookie": "daiic-session=a.b.c; daiic-login=x"}
        assert (await victim.get("/v1/models", headers=forged)).status_code == 401
        other = query | {"iss": "https://evil.test"}
        assert (await attacker.get("/login/callback", params=other)).status_code == 400
        sent = query | {"next": "https://evil.test/", "redirect_uri": "//evil.test"}
        ended = await attacker.get("/login/callback", params=sent)
        assert (ended.status_code, ended.headers["location"]) == (303, "/")
        assert (await attacker.get("/login/callback", params=query)).status_code == 400


async def test_only_those_who_are_allowed_come_in(
    start_gateway: StartGateway, provider: OidcProvider, flags: list[str]
) -> None:
    gateway = await start_gateway(*flags)
    usual = provider.claims
    cases: list[tuple[dict[str, Any], int]] = [
        ({"email": "ANN@Example.ORG"}, 303),
        ({"email": "ann@sub.example.org"}, 403),
        ({"email": "ann@example.org.evil.test"}, 403),
        ({"email": "ann@evil.test"}, 403),
        ({"email_verified": False}, 403),
        ({"email_verified": "true"}, 403),
        ({"email": ["ann@example.org"]}, 403),
        ({"email": "x@evil.test", "groups": "admins"}, 303),
        ({"email": None, "groups": [{}, None, "admins"]}, 303),
    ]
    for claims, status in cases:
        provider.claims = usual | claims
        async with gateway.http as http:
            assert (await log_in(http, provider)).status_code == status, claims
            expected = 200 if status == 303 else 401
            assert (await http.get("/v1/models")).status_code == expected


async def test_sessions_outlive_a_restart_but_not_their_time(
    start_gateway: StartGateway, provider: OidcProvider, flags: list[str], tmp_path: Path
) -> None:
    flags = [*flags, f"--state-dir={tmp_path / 'state'}", "--session-lifetime=4"]
    one, other = await start_gateway(*flags), await start_gateway(*flags)
    async with one.http as http:
        await log_in(http, provider)
        cookies = {cookie.name: cookie.value for cookie in http.cookies.jar}
    assert ((tmp_path / "state" / "session.key").stat().st_mode & 0o777) == 0o600
    async with httpx.AsyncClient(base_url=other.url, cookies=cookies) as http:
        assert (await http.get("/v1/models")).status_code == 200
        deadline = time.monotonic() + 30
        while (await http.get("/v1/models")).status_code == 200:
            assert time.monotonic() < deadline


async def test_admins_see_what_all_used(
    start_gateway: StartGateway, provider: OidcProvider, flags: list[str]
) -> None:
    gateway = await start_gateway(*flags)
    provider.claims["sub"] = "ann"
    async with gateway.http as ann, gateway.http as admin:
        await log_in(ann, provider)
        await ann.post(PATH, json=CHAT, headers=SAME)
        provider.claims |= {"sub": "boss", "groups": ["admins"]}
        await log_in(admin, provider)
        page = (await admin.get("/v1/usage?group_by=api_key_id&limit=1")).json()
        assert [r["api_key_id"] for r in page["data"][-1]["results"]] == ["user:ann"]
        assert (await admin.get("/api/benches")).json()["may_start"]


async def test_new_keys_of_the_provider_are_learned(
    start_gateway: StartGateway, provider: OidcProvider, flags: list[str]
) -> None:
    gateway = await start_gateway(*flags)
    async with gateway.http as http:
        assert (await log_in(http, provider)).status_code == 303
        assert (await log_in(http, provider)).status_code == 303
        assert provider.asked.count("/keys") == 1
        assert provider.asked.count("/.well-known/openid-configuration") == 1


async def test_without_a_provider_there_is_nothing_to_log_in_to(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway()
    async with gateway.http as http:
        assert (await http.get("/api/session")).json() == {"login": False, "user": None}
        for path in ("/login", "/login/callback"):
            assert (await http.get(path)).status_code == 404
        assert json.loads((await http.get("/v1/models")).text)["data"]
