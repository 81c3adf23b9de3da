"""Seeded endless conversations in which the assistant calls tools, and thoughts before answers.

Names of tools and of their parameters vary, as do the values in questions: what is learned is to
copy them, from the tools that are offered and from the question.
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from conversations import SYSTEM_PROMPTS, Exchange, reworded

# fmt: off
CITIES = (
    "Oslo", "Rome", "Paris", "Berlin", "London", "Madrid", "Vienna", "Tokyo", "Lima", "Cairo",
    "New York", "Boston", "Zurich", "Prague", "Dublin", "Lisbon", "Athens", "Seoul", "Delhi",
    "San Francisco", "Hamburg", "Munich", "Toronto", "Sydney", "Warsaw", "Moscow", "Helsinki",
)
PEOPLE = ("Anna", "Ben", "Clara", "David", "Eva", "Frank", "Grace", "Ada", "Tom", "Maria")
ROOMS = ("kitchen", "bedroom", "office", "cellar", "garden", "hall", "bathroom", "garage")
LANGUAGES = ("French", "German", "Spanish", "Italian", "Latin", "Greek", "Dutch", "Polish")
SKIES = ("sunny", "rainy", "cloudy", "windy", "clear", "foggy", "snowy", "stormy", "warm", "cold")
WORDS = (
    "red", "blue", "old", "new", "small", "large", "fast", "quiet", "bread", "river", "music",
    "train", "garden", "winter", "summer", "card", "worker", "model", "head", "apple", "stone",
    "bird", "house", "light", "water", "letter", "story", "morning", "friend", "hello", "dinner",
    "cluster", "memory", "green", "tea", "coffee", "late", "today", "tomorrow", "milk", "paper",
)
# fmt: on


@dataclass(slots=True, frozen=True)
class Tool:
    """Something to call: `ask` makes a question and the values it gives for `parameters`.

    Each of `names` and each set of `parameters` may be what it is called; `types` are those of the
    parameters. `tells` makes a result and what to say of it.
    """

    names: tuple[str, ...]
    descriptions: tuple[str, ...]
    parameters: tuple[tuple[str, ...], ...]
    types: tuple[str, ...]
    ask: Callable[[random.Random], tuple[str, tuple[Any, ...]]]
    tells: Callable[[random.Random, tuple[Any, ...]], tuple[str, str]]


def _name(rng: random.Random, known: tuple[str, ...]) -> str:
    """One of `known`, or one that nobody has heard of."""
    if rng.random() < 0.6:
        return rng.choice(known)
    return _invented(rng).capitalize()


def _invented(rng: random.Random) -> str:
    pairs = rng.choice((2, 2, 3, 3, 4))
    word = "".join(rng.choice("bcdfghjklmnprstvwz") + rng.choice("aeiouy") for _ in range(pairs))
    return word + rng.choice(("", "", "n", "rk", "st", "l", "m"))


def _phrase(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.choice((1, 2, 2, 3, 4))))


def _number(rng: random.Random) -> int:
    return rng.randrange(rng.choice((10, 100, 100, 1000, 10000)))


def _weather(rng: random.Random) -> tuple[str, tuple[Any, ...]]:
    city = _name(rng, CITIES)
    forms = (
        "what is the weather in {}?",
        "what's the weather in {}?",
        "how is the weather in {}?",
        "what is the weather like in {}?",
        "what is the weather in {} today?",
        "tell me the weather in {}",
        "is it raining in {}?",
    )
    return rng.choice(forms).format(city), (city,)


def _sky(rng: random.Random, values: tuple[Any, ...]) -> tuple[str, str]:
    sky, degrees = rng.choice(SKIES), f"{rng.randrange(-9, 40)} degrees"
    told = rng.choice((sky, f"{sky}, {degrees}", f"{sky} and {degrees}", degrees, _phrase(rng)))
    return told, f"The weather in {values[0]} is {told}."


def _time(rng: random.Random) -> tuple[str, tuple[Any, ...]]:
    city = _name(rng, CITIES)
    forms = ("what time is it in {}?", "tell me the time in {}", "what is the time in {}?")
    return rng.choice(forms).format(city), (city,)


def _clock(rng: random.Random, values: tuple[Any, ...]) -> tuple[str, str]:
    told = f"{rng.randrange(24):02}:{rng.randrange(60):02}"
    return told, f"It is {told} in {values[0]}."


def _sum(rng: random.Random) -> tuple[str, tuple[Any, ...]]:
    values = _number(rng), _number(rng)
    forms = (
        "what is {} plus {}?",
        "add {} and {}",
        "add {} to {}",
        "what is {} + {}?",
        "how much is {} and {}?",
        "what is the sum of {} and {}?",
    )
    return rng.choice(forms).format(*values), values


def _product(rng: random.Random) -> tuple[str, tuple[Any, ...]]:
    values = _number(rng), _number(rng)
    forms = ("what is {} times {}?", "multiply {} by {}", "what is {} * {}?")
    return rng.choice(forms).format(*values), values


def _is(rng: random.Random, values: tuple[Any, ...]) -> tuple[str, str]:
    told = str(_number(rng))
    return told, f"The answer is {told}."


def _search(rng: random.Random) -> tuple[str, tuple[Any, ...]]:
    phrase = _phrase(rng)
    forms = ("search for {}", "look up {}", "find {} on the web", "search the web for {}")
    return rng.choice(forms).format(phrase), (phrase,)


def _found(rng: random.Random, values: tuple[Any, ...]) -> tuple[str, str]:
    told = _phrase(rng)
    return told, f"I found this: {told}."


def _message(rng: random.Random) -> tuple[str, tuple[Any, ...]]:
    person, phrase = _name(rng, PEOPLE), _phrase(rng)
    forms = ("send {} the message {}", "write to {}: {}", "tell {} this: {}")
    return rng.choice(forms).format(person, phrase), (person, phrase)


def _sent(rng: random.Random, values: tuple[Any, ...]) -> tuple[str, str]:
    told = rng.choice(("sent", "done", "ok", "delivered", "waiting"))
    return told, f"The message to {values[0]}: {told}."


def _translation(rng: random.Random) -> tuple[str, tuple[Any, ...]]:
    phrase, language = _phrase(rng), rng.choice(LANGUAGES)
    forms = ("translate {} into {}", "translate {} to {}", "what is {} in {}?")
    return rng.choice(forms).format(phrase, language), (phrase, language)


def _translated(rng: random.Random, values: tuple[Any, ...]) -> tuple[str, str]:
    told = _invented(rng)
    return told, f"In {values[1]}, it is {told}."


def _light(rng: random.Random) -> tuple[str, tuple[Any, ...]]:
    room, lit = rng.choice(ROOMS), rng.random() < 0.5
    forms = ("turn {1} the light in the {0}", "switch the light in the {0} {1}")
    return rng.choice(forms).format(room, "on" if lit else "off"), (room, lit)


def _lit(rng: random.Random, values: tuple[Any, ...]) -> tuple[str, str]:
    told = rng.choice(("ok", "done", "broken", "on", "off"))
    return told, f"The light in the {values[0]}: {told}."


def _dice(rng: random.Random) -> tuple[str, tuple[Any, ...]]:
    return rng.choice(("roll the dice", "roll a die", "throw the dice")), ()


def _rolled(rng: random.Random, values: tuple[Any, ...]) -> tuple[str, str]:
    told = str(rng.randrange(1, 13))
    return told, f"The dice show {told}."


# fmt: off
TOOLS = (
    Tool(("get_weather", "weather", "get_current_weather", "weather_in", "lookup_weather"),
         ("Get the weather in a city.", "Tells the weather.", "The weather now", ""),
         (("city",), ("location",), ("place",), ("town",)), ("string",), _weather, _sky),
    Tool(("get_time", "time", "current_time", "time_in", "get_current_time"),
         ("Get the time in a city.", "What time it is", ""),
         (("city",), ("location",), ("place",), ("town",)), ("string",), _time, _clock),
    Tool(("add", "add_numbers", "sum", "plus", "add_two_numbers"),
         ("Add two numbers.", "The sum of two numbers", ""),
         (("a", "b"), ("x", "y"), ("first", "second")), ("integer",) * 2, _sum, _is),
    Tool(("multiply", "multiply_numbers", "product", "times"),
         ("Multiply two numbers.", "The product of two numbers", ""),
         (("a", "b"), ("x", "y"), ("first", "second")), ("integer",) * 2, _product, _is),
    Tool(("search", "web_search", "find", "look_up"),
         ("Search the web.", "Finds pages", ""),
         (("query",), ("text",), ("words",)), ("string",), _search, _found),
    Tool(("send_message", "message", "send_mail", "write_to"),
         ("Send a message.", "Writes to somebody", ""),
         (("to", "text"), ("name", "message"), ("person", "body")), ("string",) * 2,
         _message, _sent),
    Tool(("translate", "translate_text", "translation"),
         ("Translate a text.", "Says it in another language", ""),
         (("text", "language"), ("phrase", "into")), ("string",) * 2, _translation, _translated),
    Tool(("set_light", "switch_light", "light"),
         ("Switch a light.", "Turns lights on and off", ""),
         (("room", "on"), ("place", "lit")), ("string", "boolean"), _light, _lit),
    Tool(("roll_dice", "roll", "dice"), ("Roll the dice.", "A number by chance", ""),
         ((),), (), _dice, _rolled),
)
# fmt: on


@dataclass(slots=True, frozen=True)
class Offer:
    """A tool under the names that it has in one conversation."""

    tool: Tool
    name: str
    parameters: tuple[str, ...]

    def described(self, rng: random.Random) -> dict[str, Any]:
        """It as OpenAI's API has it, in one of the ways in which clients write schemas."""
        titled = rng.random() < 0.15
        properties: dict[str, Any] = {}
        for name, kind in zip(self.parameters, self.tool.types, strict=True):
            properties[name] = {"type": kind}
            if titled:
                properties[name] = {"title": name.capitalize(), "type": kind}
            elif rng.random() < 0.2:
                properties[name]["description"] = f"the {name}"
        schema = {"type": "object", "properties": properties, "required": list(self.parameters)}
        if rng.random() < 0.3:
            schema["additionalProperties"] = False
        if titled:
            schema["title"] = f"{self.name}_args"
        function = {
            "name": self.name,
            "description": rng.choice(self.tool.descriptions),
            "parameters": schema,
        }
        return {"type": "function", "function": function}

    def call(self, values: tuple[Any, ...]) -> dict[str, Any]:
        """The assistant's call of it."""
        arguments = dict(zip(self.parameters, values, strict=True))
        return {"type": "function", "function": {"name": self.name, "arguments": arguments}}


def _offers(rng: random.Random) -> list[Offer]:
    tools = rng.sample(TOOLS, rng.choice((1, 1, 2, 2, 3, 4)))
    return [Offer(tool, rng.choice(tool.names), rng.choice(tool.parameters)) for tool in tools]


def _result(rng: random.Random, told: str) -> str:
    """What tools return: a text, or JSON of some shape."""
    shape = rng.random()
    if shape < 0.75:
        return told
    if shape < 0.85:
        return json.dumps(told)
    return json.dumps({rng.choice(("result", "answer", "value")): told})


def thought(question: str) -> str:
    """What the assistant thinks of a question that it answers itself."""
    return f'The user says "{question}" I can answer that in short.'


def tool_conversations(
    exchanges: list[Exchange], seed: int
) -> Iterator[tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
    """Endless conversations and the tools that are offered in them.

    In most of them a tool is called, in some two at once; in some the question needs none, in some
    the tool that it needs is not there.
    """
    rng = random.Random(seed)
    while True:
        offers = _offers(rng)
        tools = [offer.described(rng) for offer in offers]
        messages: list[dict[str, Any]] = []
        if rng.random() < 0.3:
            messages.append({"role": "system", "content": rng.choice(SYSTEM_PROMPTS)})
        thinks = rng.random() < 0.2
        for _ in range(rng.choice((1, 1, 2, 3))):
            way = rng.random()
            if way < 0.12:
                _plain(messages, rng.choice(exchanges), rng, thinks)
            elif way < 0.2:
                _lacking(messages, offers, rng, thinks)
            else:
                _called(messages, rng.choice(offers), rng, thinks, 2 if way > 0.9 else 1)
        yield messages, tools


def _plain(
    messages: list[dict[str, Any]], exchange: Exchange, rng: random.Random, thinks: bool
) -> None:
    question = reworded(rng.choice(exchange.questions), rng)
    answer = rng.choice(exchange.answers)
    messages.append({"role": "user", "content": question})
    _say(messages, answer, thought(question) if thinks else "")


def _lacking(
    messages: list[dict[str, Any]], offers: list[Offer], rng: random.Random, thinks: bool
) -> None:
    there = {offer.tool.names for offer in offers}
    tool = rng.choice([tool for tool in TOOLS if tool.names not in there])
    messages.append({"role": "user", "content": reworded(tool.ask(rng)[0], rng)})
    thought_of = "No tool that I have does that." if thinks else ""
    _say(messages, "I have no tool for that.", thought_of)


def _called(
    messages: list[dict[str, Any]], offer: Offer, rng: random.Random, thinks: bool, times: int
) -> None:
    asked = [offer.tool.ask(rng) for _ in range(times)]
    question = " And ".join(reworded(question, rng) for question, _ in asked)
    messages.append({"role": "user", "content": question})
    values = " and ".join(
        value if isinstance(value, str) else json.dumps(value)
        for _, given in asked
        for value in given
    )
    _say(
        messages,
        "",
        f"The tool {offer.name} does that, with {values or 'nothing'}." if thinks else "",
        [offer.call(given) for _, given in asked],
    )
    told = [offer.tool.tells(rng, given) for _, given in asked]
    messages += [{"role": "tool", "content": _result(rng, result)} for result, _ in told]
    _say(
        messages,
        " ".join(answer for _, answer in told),
        f"The tool says {told[0][0]}. I tell the user." if thinks else "",
    )


def _say(
    messages: list[dict[str, Any]],
    content: str,
    reasoning: str,
    calls: list[dict[str, Any]] | None = None,
) -> None:
    said: dict[str, Any] = {"role": "assistant", "content": content}
    if reasoning:
        said["reasoning_content"] = reasoning
    if calls:
        said["tool_calls"] = calls
    messages.append(said)
