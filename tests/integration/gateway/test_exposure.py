"""What other machines and the pages of other sites can reach."""

import pytest

from daiic.gateway.http.api_keys import KeyFile
from integration.gateway.conftest import StartGateway
from support.peers.scripted_head import ScriptedHead
from support.processes.gateway_process import RunningGateway, gateway_process

CHAT = {"model": "stub-chat", "messages": [{"role": "user", "content": "hello"}]}
PATH = "/v1/chat/completions"


async def test_only_json_is_read_so_that_no_web_page_can_post_unasked(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    async with gateway.http as http:
        for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
            answer = await http.post(PATH, content=b"{}", headers={"Content-Type": kind})
            assert answer.status_code == 415
    assert not head.tasks


async def test_a_keyless_gateway_answers_to_local_names_only(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway("--public-url=https://ai.example.org/")
    async with gateway.http as http:
        for host in ("[", "[::1", "a b", "a/b", "localhost:99999999", "ä"):
            answer = await http.get("/v1/models", headers={"Host": host.encode()})
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_host")
        for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:7700"):
            answer = await http.get("/v1/models", headers={"Host": host})
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "host_not_allowed")
        for host in ("localhost:7700", "127.0.0.1", "[::1]:7700", "ai.example.org"):
            assert (await http.get("/v1/models", headers={"Host": host})).status_code == 200
        made = await http.post("/v1/images/generations", json={"prompt": "x"})
        assert made.json()["data"][0]["url"].startswith("https://ai.example.org/v1/images/files/")


async def test_no_answer_sends_a_client_to_the_host_that_it_named(
    start_gateway: StartGateway, keys: KeyFile
) -> None:
    key = keys.create("ann")
    gateway = await start_gateway(f"--api-keys-file={keys.path}")
    async with gateway.http as http:
        headers = {"Host": "evil.example", "Authorization": f"Bearer {key}"}
        answer = await http.get("/healthz/", headers=headers)
        assert answer.status_code == 404 and "location" not in answer.headers


async def test_browsers_of_other_origins_need_permission(start_gateway: StartGateway) -> None:
    origin = "https://chat.example.org"
    gateway = await start_gateway(f"--cors-origins={origin}")
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-any"}
    async with gateway.http as http:
        allowed = await http.options(PATH, headers={"Origin": origin, **ask})
        assert allowed.headers["access-control-allow-origin"] == origin
        other = await http.options(PATH, headers={"Origin": "https://evil.example", **ask})
        assert "access-control-allow-origin" not in other.headers
        answer = await http.post(PATH, json=CHAT, headers={"Origin": origin})
        assert answer.headers["access-control-allow-origin"] == origin


async def test_without_the_setting_no_origin_is_allowed(gateway: RunningGateway) -> None:
    async with gateway.http as http:
        answer = await http.post(PATH, json=CHAT, headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--listen=0.0.0.0:0",), "without API keys"),
        (("--listen=0.0.0.0:0", "--api-keys-file=/nonexistent"), "daiic apikey create"),
        (("--cors-origins=*,http://a",), "cors_origins"),
        (("--listen=7700",), "host:port"),
    ],
)
async def test_unsafe_or_wrong_settings_stop_the_start(flags: tuple[str, ...], says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        async with gateway_process(*flags):
            pass


async def test_a_public_address_is_served_when_told_so_or_with_keys(
    head: ScriptedHead, keys: KeyFile
) -> None:
    keys.create("ann")
    for flag in ("--allow-keyless-public=true", f"--api-keys-file={keys.path}"):
        async with gateway_process(
            f"--heads={head.address}", "--listen=0.0.0.0:0", flag
        ) as gateway:
            assert "0.0.0.0" in gateway.url
