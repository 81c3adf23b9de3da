"""Feeds a fuzz target: inputs made from a seed, or inputs that atheris finds by coverage.

`python tests/fuzz/driver.py http_requests` tries 100,000 inputs that the seed decides (`--count`,
`--seed`). With `--coverage SECONDS`, atheris looks for inputs that reach new code; that needs
`pip install atheris`, which nothing else here does, and `--corpus FOLDER` keeps what it found.

A target is a module beside this file with `SAMPLES` (inputs that are good), `WORDS` (bytes that
matter inside them) and `target()`: it returns what takes one input and raises if that goes badly.
"""

import argparse
import importlib
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

TESTS = Path(__file__).parents[1]
INSTRUMENTED = ["daiic", "uvicorn", "starlette", "tomllib"]
LONGEST = 1 << 16

Target = Callable[[bytes], None]


def inputs(
    count: int, seed: int, samples: Sequence[bytes], words: Sequence[bytes]
) -> Iterator[bytes]:
    """Yield `count` changed samples, the same for the same seed."""
    rnd = random.Random(seed)
    for _ in range(count):
        data = bytearray(rnd.choice(samples))
        for _ in range(rnd.choice((0, 1, 1, 2, 3, 8))):
            at = rnd.randrange(len(data) + 1)
            change = rnd.random()
            if change < 0.45:
                data[at:at] = rnd.choice(words) * rnd.choice((1, 1, 1, 2, 50, 2000))
            elif change < 0.6:
                data[at:at] = rnd.randbytes(rnd.randrange(1, 9))
            elif change < 0.75:
                del data[at : at + rnd.choice((1, 2, 4, 16, 64))]
            elif change < 0.9 and at < len(data):
                data[at] ^= 1 << rnd.randrange(8)
            else:
                other = rnd.choice(samples)
                data[at:at] = other[rnd.randrange(len(other) + 1) :]
            del data[LONGEST:]
        yield bytes(data)


def run(target: Target, data: Iterator[bytes]) -> int:
    """Give all of `data` to `target` and return how many there were.

    Raises:
        Exception: what the target raised, with the input as a note.
    """
    number = 0
    for number, each in enumerate(data, 1):
        try:
            target(each)
        except Exception as error:
            error.add_note(f"input {number}: {each!r}")
            raise
    return number


def main() -> None:
    """Run one target as the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="the target's module, such as http_requests")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--coverage", type=int, metavar="SECONDS")
    parser.add_argument("--corpus", type=Path)
    options = parser.parse_args()
    sys.path.insert(0, str(TESTS))
    if options.coverage:
        _by_coverage(options.name, options.coverage, options.corpus)
        return
    module = importlib.import_module(f"fuzz.{options.name}")
    begin = time.perf_counter()
    tried = run(module.target(), inputs(options.count, options.seed, module.SAMPLES, module.WORDS))
    print(
        f"{options.name}: {tried} inputs in {time.perf_counter() - begin:.0f} s, nothing went badly"
    )


def _by_coverage(name: str, seconds: int, corpus: Path | None) -> None:
    import atheris  # not a dependency of this project

    with atheris.instrument_imports(include=INSTRUMENTED):
        module = importlib.import_module(f"fuzz.{name}")
        target = module.target()
    folder = corpus or Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    folder.mkdir(parents=True, exist_ok=True)
    for number, sample in enumerate(module.SAMPLES):
        (folder / f"sample-{number}").write_bytes(sample)
    dictionary = folder.with_suffix(".dict")
    quoted = ["".join(f"\\x{byte:02x}" for byte in word[:64]) for word in module.WORDS if word]
    dictionary.write_text("".join(f'"{word}"\n' for word in quoted))
    flags = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-dict={dictionary}"]
    atheris.Setup(
        [name, *flags, f"-artifact_prefix={folder}.", "-rss_limit_mb=4096", str(folder)], target
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
