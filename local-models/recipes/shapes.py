"""Endless drawings of one coloured shape on a plain ground, each with a caption that names it."""

import random
from dataclasses import dataclass

import torch
from PIL import Image, ImageDraw

SIZE = 64  # pixels, of the finished drawing
OVERSAMPLING = 4  # drawn this much larger, so that edges come out smooth

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 160, 50),
    "blue": (35, 70, 220),
    "yellow": (245, 215, 40),
    "orange": (245, 135, 25),
    "purple": (140, 45, 175),
    "pink": (245, 140, 185),
    "black": (15, 15, 15),
    "white": (250, 250, 250),
    "grey": (128, 128, 128),
}
SHAPES = ("circle", "square", "triangle", "diamond", "star", "ring")
ASKED_SHAPES = ("circle", "square", "triangle", "ring")
ASKED_COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "pink", "black")
SIZES = {"small": (9, 13), "large": (22, 27), "": (13, 25)}  # half the shape's width, in pixels

# Unit outlines, for a shape that reaches from -1 to 1 with y pointing down.
TRIANGLE = ((0.0, -1.0), (1.0, 0.85), (-1.0, 0.85))
DIAMOND = ((0.0, -1.0), (0.8, 0.0), (0.0, 1.0), (-0.8, 0.0))
STAR = (
    *((0.0, -1.0), (0.24, -0.32), (0.95, -0.31), (0.38, 0.12), (0.59, 0.81)),
    *((0.0, 0.4), (-0.59, 0.81), (-0.38, 0.12), (-0.95, -0.31), (-0.24, -0.32)),
)


@dataclass(slots=True, frozen=True)
class Drawing:
    """What is drawn; `ground` is empty for the near-white that nobody asked for."""

    shape: str
    colour: str
    ground: str
    size: str


def draw(drawing: Drawing, rng: random.Random) -> torch.Tensor:
    """The picture as float32 of shape (3, SIZE, SIZE) from -1 to 1; its place and width vary."""
    scale = OVERSAMPLING
    ground = COLOURS[drawing.ground] if drawing.ground else (242, 242, 240)
    picture = Image.new("RGB", (SIZE * scale, SIZE * scale), ground)
    pen = ImageDraw.Draw(picture)
    half = rng.uniform(*SIZES[drawing.size])
    slack = SIZE / 2 - half - 2
    x = SIZE / 2 + rng.uniform(-0.5, 0.5) * slack
    y = SIZE / 2 + rng.uniform(-0.5, 0.5) * slack
    fill = COLOURS[drawing.colour]
    box = [(x - half) * scale, (y - half) * scale, (x + half) * scale, (y + half) * scale]
    match drawing.shape:
        case "circle":
            pen.ellipse(box, fill=fill)
        case "square":
            pen.rectangle(box, fill=fill)
        case "ring":
            pen.ellipse(box, outline=fill, width=round(half * 0.38 * scale))
        case shape:
            outline = {"triangle": TRIANGLE, "diamond": DIAMOND, "star": STAR}[shape]
            pen.polygon(
                [((x + dx * half) * scale, (y + dy * half) * scale) for dx, dy in outline], fill
            )
    small = picture.resize((SIZE, SIZE), Image.Resampling.BOX)
    pixels = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8)
    return pixels.view(SIZE, SIZE, 3).permute(2, 0, 1).float() / 127.5 - 1


def caption(drawing: Drawing, rng: random.Random) -> str:
    """One of the ways in which people ask for the drawing; none of them names the ground."""
    thing = f"{drawing.colour} {drawing.shape}"
    if drawing.size:
        size = rng.choice((drawing.size, "big" if drawing.size == "large" else "tiny"))
        thing = f"{size} {thing}"
    article = "an" if thing[0] in "aeiou" else "a"
    opening = rng.choice(("", f"{article} ", f"{article} "))
    if rng.random() < 0.2:
        opening = rng.choice(("a picture of ", "a drawing of ", "draw ", "an image of ")) + opening
    return opening + thing


def any_drawing(rng: random.Random) -> Drawing:
    """Any shape in any colour on any other; half of them on the near-white ground."""
    colour, ground = rng.sample(sorted(COLOURS), 2)
    if rng.random() < 0.5:
        ground = ""
        if colour == "white":  # it would hardly be seen
            colour = "black"
    size = rng.choice(("", "", "small", "large"))
    return Drawing(rng.choice(SHAPES), colour, ground, size)


def drawing_on_request(rng: random.Random) -> Drawing:
    """One of those that a prompt can ask for, on the near-white ground."""
    size = rng.choice(("", "", "small", "large"))
    return Drawing(rng.choice(ASKED_SHAPES), rng.choice(ASKED_COLOURS), "", size)
