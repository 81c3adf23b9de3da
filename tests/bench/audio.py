"""What sound over a bad link is like, and what a stream takes of a processor.

`python tests/bench/audio.py` sends a sweep from 200 to 3400 Hz over a simulated link of 30 ± 10 ms
that loses 0, 5 and 20 % of the packets, with a fixed seed, and prints for each codec how much of
what was heard is noise and how much later it is. The baseline is silence in place of what was lost
(`gaps`), with a codec that loses nothing. Then it prints the processor time of one stream in one
direction, in one Lisp process (audio.lisp), through the code that speaks and listens in a program.
"""

import math
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.processes import built

BUILD = Path(built.WORKSPACE) / "hydramesh" / "build.sh"
SECONDS = 20
"""As in audio.lisp."""


def main() -> None:
    """Run it and print both tables."""
    said = subprocess.run(
        [BUILD, "lisp", "--load", Path(__file__).with_suffix(".lisp"), "--quit"],
        capture_output=True,
        text=True,
    )
    if said.returncode:
        raise SystemExit(f"sound is not measured: {said.stderr[-2000:]}")
    lines = [words for line in said.stdout.splitlines() if (words := line.split())]
    print("-- a sweep over 30 ± 10 ms")
    print(
        f"{'codec':14}{'Hz':>7}{'block':>7}{'loss':>6}{'SNR':>9}{'gaps':>9}{'latency':>10}{'kbit/s':>8}"
        f"{'lost':>6}{'restored':>10}{'late':>6}"
    )
    for kind, *rest in lines:
        if kind == "link":
            codec, rate, block, loss, snr, latency, kilobits, lost, restored, late = rest
            noise = "exact" if float(snr) > 120 else f"{float(snr):.1f} dB"
            blocks = SECONDS * 1000 / float(block)
            gaps = f"{10 * math.log10(blocks / int(lost)):.1f} dB" if int(lost) else "exact"
            print(
                f"{codec:14}{rate:>7}{block:>7}{float(loss):>6.0%}{noise:>9}{gaps:>9}"
                f"{float(latency):>7.1f} ms{float(kilobits):>8.0f}{lost:>6}{restored:>10}{late:>6}"
            )
    print("-- processor time and garbage of a block: filtered, coded; taken, decoded, mixed")
    for kind, *rest in lines:
        if kind == "work":
            codec, rate, block, *figures = rest
            each = [
                f"{float(time):7.1f} µs {int(garbage):7d} bytes {float(share):5.2f} % of a core"
                for time, garbage, share in (figures[:3], figures[3:])
            ]
            print(f"{codec:14}{rate:>7}{block:>4} ms  {each[0]}  {each[1]}")


if __name__ == "__main__":
    main()
