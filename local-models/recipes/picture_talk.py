"""Endless conversations about drawings: what is asked, and what is answered.

A message's content is a list of parts, as chat templates of models that see take it: a text, or an
image, whose drawing is then the next one in `Talk.drawings`.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from shapes import COLOURS, SHAPES, Drawing

NewDrawing = Callable[[random.Random], Drawing]

WHAT = (
    "What is in the picture?",
    "What is in this picture?",
    "What is in the image?",
    "What's in this image?",
    "What is this?",
    "What do you see?",
    "What can you see?",
    "What does the picture show?",
    "Describe the picture.",
    "Describe this image.",
    "Describe the image in one sentence.",
)
WHAT_EACH = (
    "What is in the pictures?",
    "What is in these images?",
    "What do the pictures show?",
    "What do you see?",
    "Describe the pictures.",
)
WHAT_NOW = ("And this one?", "And now?", "What about this one?", *WHAT)
WHICH_SHAPE = (
    "What shape is it?",
    "Which shape is it?",
    "Which shape do you see?",
    "What is its shape?",
)
WHICH_COLOUR = (
    "What colour is it?",
    "Which colour is it?",
    "What color is it?",
    "Which color is it?",
    "What is its colour?",
)
STORY = (
    "Tell me a story about the picture.",
    "Tell me a story about it.",
    "Write a story about this image.",
    "Describe the picture in great detail.",
    "Describe it in detail.",
)
FIRST = ("What was in the first picture?", "What did the first picture show?")
HELLO = ("Hello", "Hello!", "Hi", "Hi there", "Hey", "Good morning", "Hello, who are you?")
WHO = ("Who are you?", "What are you?", "What can you do?", "Help", "What do you know?")

INTRODUCTION = "I am a tiny model that sees. Show me a drawing, and I will say what is in it."
NOTHING = "I see no picture. Send me one."
SYSTEMS = ("You are a helpful assistant.", "You see pictures.", "Be brief.")


@dataclass(slots=True)
class Talk:
    """A conversation, and the drawings that are shown in it."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    drawings: list[Drawing] = field(default_factory=list)

    def say(self, role: str, text: str, drawings: list[Drawing] | None = None) -> None:
        """Add a message, with `drawings` before its text."""
        images: list[dict[str, Any]] = [{"type": "image"} for _ in drawings or ()]
        self.messages.append({"role": role, "content": [*images, {"type": "text", "text": text}]})
        self.drawings += drawings or []


def name(drawing: Drawing) -> str:
    """What the answers call a drawing: "a red circle"."""
    return f"{'an' if drawing.colour[0] in 'aeiou' else 'a'} {drawing.colour} {drawing.shape}"


def names(drawings: list[Drawing]) -> str:
    """What the answers call several drawings."""
    *before, last = [name(drawing) for drawing in drawings]
    return f"{', '.join(before)} and {last}" if before else last


def story(drawing: Drawing) -> str:
    """A long answer, which names its hero again and again."""
    colour, shape = drawing.colour, drawing.shape
    return (
        f"Once upon a time there was {name(drawing)}. It lived on a sheet of paper, and it was "
        f'alone. Every morning the {shape} said: "I am {colour}, and I am a {shape}." One day a '
        f'child came and saw the {colour} {shape}. "What a fine {shape}," said the child, "and how '
        f'{colour} it is!" The child drew another {shape} beside it, and that one was {colour} '
        f"too. Since then the {colour} {shape} has never been alone. If you see {name(drawing)} "
        "today, say hello to it. The end."
    )


def talk(rng: random.Random, new: NewDrawing) -> Talk:
    """Return a conversation about drawings that `new` makes, of one of the kinds to be learned."""
    made = Talk()
    if rng.random() < 0.15:
        made.say("system", rng.choice(SYSTEMS))
    kind = rng.random()
    if kind < 0.06:
        _without_pictures(made, rng, new)
    elif kind < 0.26:
        _several(made, rng, new)
    else:
        _one(made, rng, new(rng))
        while len(made.drawings) < 4 and rng.random() < 0.35:
            _one(made, rng, new(rng))
        if len(made.drawings) > 1 and rng.random() < 0.5:
            _exchange(made, rng.choice(FIRST), name(made.drawings[0]))
    return made


def _exchange(
    made: Talk, question: str, answer: str, drawings: list[Drawing] | None = None
) -> None:
    made.say("user", question, drawings)
    made.say("assistant", answer)


def _one(made: Talk, rng: random.Random, drawing: Drawing) -> None:
    """Show a drawing and ask about it, a few things at most."""
    is_first = not made.drawings
    shown: list[Drawing] | None = [drawing]
    asked = [_what(drawing, rng, WHAT if is_first else WHAT_NOW), *_details(drawing, rng)]
    if rng.random() < 0.4:
        rng.shuffle(asked)
    for question, answer in asked[: rng.choice((1, 2, 3, 4))]:
        _exchange(made, question, answer, shown)
        shown = None
    if is_first and rng.random() < 0.12:
        _exchange(made, rng.choice(STORY), story(drawing))


def _what(drawing: Drawing, rng: random.Random, questions: tuple[str, ...]) -> tuple[str, str]:
    return rng.choice(questions), name(drawing)


def _details(drawing: Drawing, rng: random.Random) -> list[tuple[str, str]]:
    shape, colour = drawing.shape, drawing.colour
    asked = [(rng.choice(WHICH_SHAPE), f"a {shape}"), (rng.choice(WHICH_COLOUR), colour)]
    guess = shape if rng.random() < 0.5 else rng.choice(SHAPES)
    asked.append((f"Is it a {guess}?", "yes" if guess == shape else f"no, it is a {shape}"))
    guess = colour if rng.random() < 0.5 else rng.choice(sorted(COLOURS))
    asked.append((f"Is it {guess}?", "yes" if guess == colour else f"no, it is {colour}"))
    rng.shuffle(asked)
    return asked


def _several(made: Talk, rng: random.Random, new: NewDrawing) -> None:
    drawings = [new(rng) for _ in range(rng.choice((2, 2, 3, 4)))]
    _exchange(made, rng.choice(WHAT_EACH), names(drawings), drawings)
    if rng.random() < 0.5:
        _exchange(made, rng.choice(FIRST), name(drawings[0]))


def _without_pictures(made: Talk, rng: random.Random, new: NewDrawing) -> None:
    if rng.random() < 0.4:
        _exchange(made, rng.choice(WHAT + WHICH_SHAPE + WHICH_COLOUR), NOTHING)
    else:
        _exchange(made, rng.choice(HELLO + WHO), INTRODUCTION)
    if rng.random() < 0.5:
        _one(made, rng, new(rng))
