"""What llama-server's chat endpoint streams, as parts of an answer."""

import json
from collections.abc import Mapping
from typing import Any

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.llama_cpp.sampling import logprobs_in

_REASONS = {
    "stop": pb.FINISH_REASON_STOP,
    "length": pb.FINISH_REASON_LENGTH,
    "tool_calls": pb.FINISH_REASON_TOOL_CALLS,
}


class ChatAnswer:
    """One answer as it comes: text and reasoning at once, calls of tools when they are whole.

    The tokens of a part are those that llama-server told beside its text; it tells none of the
    marks around reasoning and calls, which the usage counts nevertheless.
    """

    def __init__(self, *, resumed: int, logprobs: int | None, tools: bool) -> None:
        """`resumed` tokens were delivered before; `logprobs` as the task's `Sampling` has it.

        With `tools`, blanks are kept back until text follows: before a call they mean nothing.
        """
        self._resumed = resumed
        self._logprobs = logprobs
        self._tools = tools
        self._blanks = ""
        self._kept_tokens: list[int] = []
        self._calls: dict[int, pb.ToolCallPart] = {}
        self._reason: pb.FinishReason = pb.FINISH_REASON_STOP
        self._reasoning_tokens = 0
        self._usage = pb.Usage()

    def push(self, event: Mapping[str, Any]) -> pb.Result | None:
        """Return the part that `event` adds to the answer, if it adds one."""
        for choice in event.get("choices") or ():
            self._reason = _REASONS.get(choice.get("finish_reason") or "", self._reason)
            told = (choice.get("logprobs") or {}).get("content") or []
            return self._delta(choice.get("delta") or {}, told)
        usage = event.get("usage")
        if usage:
            prompt = int(usage["prompt_tokens"])
            cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
            self._usage = pb.Usage(
                prompt_tokens=max(prompt - self._resumed, 0),
                completion_tokens=self._resumed + int(usage["completion_tokens"]),
                cached_tokens=int(cached),
            )
        return None

    def _delta(self, delta: Mapping[str, Any], told: list[dict[str, Any]]) -> pb.Result | None:
        tokens = [int(one["id"]) for one in told]
        for call in delta.get("tool_calls") or ():
            self._call(call)
        reasoning, text = delta.get("reasoning_content") or "", delta.get("content") or ""
        if not reasoning and not text:
            return None
        if reasoning:
            self._reasoning_tokens += len(tokens)
        if self._tools:
            text = self._blanks + text
            whole = text.rstrip()
            text, self._blanks = whole, text[len(whole) :]
        if not reasoning and not text:
            self._kept_tokens += tokens
            return None
        tokens, self._kept_tokens = self._kept_tokens + tokens, []
        part = pb.Result(text=text, reasoning=reasoning, tokens=tokens)
        if self._logprobs is not None:
            part.logprobs.extend(logprobs_in(told, self._logprobs))
        return part

    def _call(self, said: Mapping[str, Any]) -> None:
        call = self._calls.setdefault(int(said["index"]), pb.ToolCallPart(index=said["index"]))
        function = said.get("function") or {}
        call.id += said.get("id") or ""
        call.name += function.get("name") or ""
        call.arguments += function.get("arguments") or ""

    def ended_before(self, prompt_tokens: int) -> pb.Result:
        """Return the last part of an answer that was as long as it may be when it moved here."""
        self._reason = pb.FINISH_REASON_LENGTH
        self._usage = pb.Usage(prompt_tokens=prompt_tokens, completion_tokens=self._resumed)
        return self.final()

    def final(self) -> pb.Result:
        """Return the last part: the calls, why it ended, and what it took."""
        calls = [call for _, call in sorted(self._calls.items()) if _is_whole(call.arguments)]
        reason = self._reason
        if calls and reason == pb.FINISH_REASON_STOP:
            reason = pb.FINISH_REASON_TOOL_CALLS
        elif not calls and reason == pb.FINISH_REASON_TOOL_CALLS:
            reason = pb.FINISH_REASON_STOP
        self._usage.reasoning_tokens = self._reasoning_tokens
        return pb.Result(
            final=True,
            text="" if calls else self._blanks,
            tokens=[] if calls else self._kept_tokens,
            tool_calls=calls,
            finish_reason=reason,
            usage=self._usage,
        )


def _is_whole(arguments: str) -> bool:
    """Return whether a call was not cut off in its arguments."""
    try:
        return isinstance(json.loads(arguments), dict)
    except (ValueError, RecursionError):
        return False
