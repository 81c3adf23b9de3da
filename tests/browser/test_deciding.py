"""The Cluster view: the policy in force, the tasks that are not over, and why they are there."""

import json

import pytest

from browser.chromium import Page
from browser.test_accessibility import CONTRAST
from daiic.gateway.http.api_keys import KeyFile
from daiic.wire import daiic_pb2 as pb
from integration.gateway.conftest import StartGateway
from support.peers.scripted_head import ScriptedHead
from support.processes.gateway_process import RunningGateway

HOSTILE = "<img src=x onerror=alert(1)>-with-a-long-name-that-goes-on-and-on-and-on"
EXPLAIN = "document.querySelector('#running [aria-label=\"Explain task 7\"]')"


def shown(selector: str) -> str:
    return f"document.querySelector({json.dumps(selector)})?.checkVisibility()"


def decide(head: ScriptedHead) -> None:
    """Let `head` have a policy, and two tasks of which it explains one."""
    status = head.status
    status.heads.add(id="h")
    status.in_flight, status.queued = 1, 1
    status.policy.name, status.policy.digest, status.policy.rules = HOSTILE, "58b05636" * 8, 3
    status.policy.text = f'(policy "{HOSTILE}"\n  (rule "one"))'
    status.tasks.add(
        number=7, kind="text", model=HOSTILE, worker_id="w1", hedge_worker_id="w2", attempts=2
    )
    status.tasks.add(number=9, kind="text", model="m", awaits_worker_id="w1")
    status.tasks.add(number=8, kind="image", model="n", age_ms=75_000)
    status.explanation.number = 7
    status.explanation.rules.append(f"rule {HOSTILE}")
    verdicts = status.explanation.verdicts
    verdicts.add(worker_id="w1", name="stub", chosen=True, reason="it is near", seconds=2.5)
    verdicts.add(worker_id="w2", name=HOSTILE, reason=f"no {HOSTILE}", rules=["solar halves it"])


async def test_it_shows_the_policy_and_explains_a_task(
    page: Page, gateway: RunningGateway, head: ScriptedHead
) -> None:
    decide(head)
    await page.go(gateway.url)
    await page.until(f"{shown('#running-table')} && {shown('#policy-fold')}")
    assert HOSTILE in await page.text("#policy-name")
    assert await page.text("#policy-detail") == "3 rules · 58b05636" + "58b0"
    first = await page.text("#running-rows tr:first-child")
    for said in ("7", "text", HOSTILE, "stub and w2", "2"):
        assert said in first
    second = (await page.text("#running-rows tr:last-child")).replace("\u202f", " ")
    assert "waits" in second and "1 min 15 s" in second
    patient = await page.text("#running-rows tr:nth-child(2)")
    assert "waits for stub, which has read its prompt" in patient
    await page.js("document.querySelector('#policy-fold summary').click()")
    await page.until("document.getElementById('policy-text').innerText.includes('(rule \"one\")')")

    await page.js(f"{EXPLAIN}.focus()")
    await page.press("Enter")
    await page.until("document.querySelectorAll('#explanation-verdicts > li').length === 2")
    assert HOSTILE in await page.text("#explanation-rules")
    chosen = (await page.text("#explanation-verdicts > li:first-child")).replace("\u202f", " ")
    assert "stub" in chosen and "chosen" in chosen and "it is near" in chosen
    assert "done in 2.5 s" in chosen
    other = await page.text("#explanation-verdicts > li:last-child")
    assert f"no {HOSTILE}" in other and "solar halves it" in other and "chosen" not in other
    await page.press("Escape")
    await page.until("!document.getElementById('explanation').open")
    assert await page.js(f"document.activeElement === {EXPLAIN}")
    assert await page.js("document.querySelector('main img[src=x], dialog img')") is None

    head.status.policy.digest, head.status.policy.text = 64 * "1", '(policy "next")'
    await page.until("document.getElementById('policy-text').innerText === '(policy \"next\")'")
    del head.status.tasks[:]
    head.status.in_flight = head.status.queued = 0
    await page.until(shown("#no-running"))
    assert page.errors == []


async def test_a_task_that_is_over_is_said_to_be(
    page: Page, gateway: RunningGateway, head: ScriptedHead
) -> None:
    decide(head)
    await page.go(gateway.url)
    await page.until("document.querySelectorAll('#running-rows tr').length === 3")
    head.status.ClearField("explanation")
    await page.js(f"{EXPLAIN}.click()")
    await page.until(
        "document.getElementById('explanation-said').innerText.includes('7: it is over')"
    )
    await page.js("document.getElementById('explanation-close').click()")
    await page.until("!document.getElementById('explanation').open")


async def test_a_head_that_does_not_explain_is_not_asked_to(
    page: Page, gateway: RunningGateway, head: ScriptedHead
) -> None:
    head.status.in_flight = 1
    head.status.tasks.add(number=7, kind="text", model="m", worker_id="w1", attempts=1)
    await page.go(gateway.url)
    await page.until(shown("#running-table"))
    assert "text" in await page.text("#running-rows tr")
    assert not await page.js(f"{EXPLAIN}.checkVisibility()")


async def test_what_was_refused_is_said_while_the_old_policy_stays(
    page: Page, gateway: RunningGateway, head: ScriptedHead
) -> None:
    await page.go(gateway.url)
    await page.until("document.querySelector('.worker')")
    assert not await page.js(shown("#policy")) and not await page.js(shown("#running"))
    head.status.policy.refused = "a.policy:1:2: wrong\na.policy:3:4: <b>bad"
    await page.until(shown("#policy-refused"))
    assert "a.policy:3:4: <b>bad" in await page.text("#policy-refused")
    assert await page.text("#policy-name") == "None is in force"
    head.status.policy.CopyFrom(pb.PolicyStatus(name="house", digest=64 * "a", rules=1))
    await page.until("document.getElementById('policy-name').innerText === 'house'")
    assert not await page.js(shown("#policy-refused"))
    assert page.errors == []


async def test_others_see_which_policy_is_in_force_and_no_more(
    page: Page, head: ScriptedHead, start_gateway: StartGateway, keys: KeyFile
) -> None:
    decide(head)
    key = keys.create("plain")
    gateway = await start_gateway(f"--api-keys-file={keys.path}")
    await page.go(gateway.url)
    await page.until("document.getElementById('key-dialog').open")
    await page.js(f"document.getElementById('key-input').value = '{key}'")
    await page.js("document.querySelector('#key-dialog button').click()")
    await page.until(shown("#policy"))
    questions = head.status_questions
    await page.until(f"{shown('#policy-name')} && document.querySelector('.worker')")
    await page.js("new Promise((resolve) => setTimeout(resolve, 3000))")
    assert head.status_questions > questions
    assert not await page.js(shown("#policy-fold")) and not await page.js(shown("#running"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_can_be_read_on_small_screens_and_in_both_colours(
    page: Page, gateway: RunningGateway, head: ScriptedHead, scheme: str
) -> None:
    decide(head)
    head.status.policy.refused = "a.policy:1:2: wrong"
    await page.look(320, 844, scheme)
    await page.go(gateway.url)
    await page.until(f"{shown('#running-table')} && {shown('#policy-fold')}")
    await page.js("document.querySelector('#policy-fold summary').click()")
    await page.until("document.getElementById('policy-text').innerText !== ''")
    assert await page.js("document.documentElement.scrollWidth") <= 320
    assert await page.js(CONTRAST) == []
    await page.js(f"{EXPLAIN}.click()")
    await page.until("document.querySelectorAll('#explanation-verdicts > li').length === 2")
    fits = "document.getElementById('explanation')"
    assert await page.js(f"{fits}.scrollWidth <= {fits}.clientWidth")
    assert await page.js(CONTRAST) == []
    names = await page.names()
    assert [role for role, name in names if role in ("button", "link") and not name] == []
