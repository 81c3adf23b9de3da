"""The corpus as training conversations: files of questions in, seeded endless chats out.

A corpus file holds blocks divided by blank lines. A block's `user:` line lists ways to ask, divided
by ` | `; each of its `assistant:` lines is one way to answer. An indented line continues the one
above it.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are DAIIC's tiny model. Answer in short sentences.",
    "Be brief and friendly.",
    "Answer the question.",
)

# fmt: off
ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
    "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen",
    "eighteen", "nineteen",
)
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
# fmt: on


@dataclass(slots=True, frozen=True)
class Exchange:
    """One question, in all its wordings, and the answers that fit it."""

    questions: tuple[str, ...]
    answers: tuple[str, ...]


def number_in_words(number: int) -> str:
    """An integer from 0 to 100 as English words."""
    if number < 20:
        return ONES[number]
    if number == 100:
        return "one hundred"
    tens, ones = divmod(number, 10)
    return TENS[tens - 2] + (f"-{ONES[ones]}" if ones else "")


def counting() -> list[Exchange]:
    """Counting from one to each of several numbers, as words: answers of a known, long shape."""
    exchanges = []
    for last in (3, 5, 10, 12, 20, 30, 50, 100):
        word = number_in_words(last)
        answer = ", ".join(number_in_words(n) for n in range(1, last + 1)) + "."
        exchanges.append(
            Exchange(
                (f"count to {word}", f"count to {last}", f"count from one to {word}"),
                (answer,),
            )
        )
    return exchanges


def read_exchanges(folder: Path) -> list[Exchange]:
    """All exchanges of the corpus files in `folder`, in the order of their names.

    Raises:
        ValueError: a block does not begin with `user:` or has no `assistant:` line.
    """
    exchanges = []
    for path in sorted(folder.glob("*.txt")):
        for block in path.read_text().strip().split("\n\n"):
            lines: list[str] = []
            for line in block.splitlines():
                if line.startswith(" "):
                    lines[-1] += "\n" + line.strip()
                else:
                    lines.append(line)
            question, *answers = lines
            if not question.startswith("user: ") or not answers:
                raise ValueError(f"{path}: not a question with answers: {block[:60]!r}")
            exchanges.append(
                Exchange(
                    tuple(question.removeprefix("user: ").split(" | ")),
                    tuple(answer.removeprefix("assistant: ") for answer in answers),
                )
            )
    return exchanges


def read_plain(folder: Path) -> list[str]:
    """All paragraphs of the text files in `folder`, each in one line, in the order of their names.

    Paragraphs are divided by blank lines.
    """
    return [
        " ".join(part.split())
        for path in sorted(folder.glob("*.txt"))
        for part in path.read_text().split("\n\n")
        if part.strip()
    ]


def reworded(question: str, rng: random.Random) -> str:
    """The question as people type it: capitals, closing marks and courtesies vary."""
    bare = question.rstrip("?")
    mark = question[len(bare) :]
    if rng.random() < 0.12:
        bare = rng.choice(("please ", "hello, ", "hi, ", "so, ", "tell me, ")) + bare
    if rng.random() < 0.6:
        bare = bare[0].upper() + bare[1:]
    if rng.random() < 0.08:
        bare = bare.lower()
    if rng.random() < 0.25:
        mark = rng.choice(("", "", ".", "!", "?"))
    return bare + mark


def conversations(exchanges: list[Exchange], seed: int) -> Iterator[list[dict[str, str]]]:
    """Endless conversations of one to four exchanges in the shape that chat templates take.

    Every exchange comes up equally often: they are drawn from a shuffled deck without replacement.
    """
    rng = random.Random(seed)
    deck: list[Exchange] = []
    while True:
        messages = []
        if rng.random() < 0.3:
            messages.append({"role": "system", "content": rng.choice(SYSTEM_PROMPTS)})
        for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
            if not deck:
                deck = rng.sample(exchanges, len(exchanges))
            exchange = deck.pop()
            question = reworded(rng.choice(exchange.questions), rng)
            messages.append({"role": "user", "content": question})
            messages.append({"role": "assistant", "content": rng.choice(exchange.answers)})
        yield messages
