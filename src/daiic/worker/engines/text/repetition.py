"""Answers that a server of models cannot continue in the middle are made once more, unseen.

A grammar begins with the answer: such a server has no way to tell it what was said before. The same
seed makes the same answer again, of which only what was not delivered is passed on. Where the
machine computes a little differently and the answer turns out another one, it starts over.
"""

from collections.abc import AsyncGenerator

from daiic.wire import daiic_pb2 as pb

Parts = AsyncGenerator[pb.Result, None]


async def after(delivered: pb.Resume, parts: Parts) -> Parts:
    """Yield what `parts`, a whole answer, adds to what was `delivered` of it.

    If it turns out to be another answer, it comes whole, and its first part says `started_over`.
    """
    again, text, known = pb.Result(), "", len(delivered.tokens)
    caught_up = False
    async for part in parts:
        if caught_up:
            yield part
            continue
        text += part.text
        again.MergeFrom(part)
        again.text = text
        same = min(known, len(again.tokens))
        if again.tokens[:same] != delivered.tokens[:same]:
            again.started_over = caught_up = True
            yield again
        elif same == known and len(text) >= len(delivered.text):
            again.text = text[len(delivered.text) :]
            del again.tokens[:known], again.logprobs[:known]
            caught_up = True
            yield again
        elif part.final:  # it ends earlier than before
            again.started_over = True
            yield again
