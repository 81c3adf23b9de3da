"""The languages for games, sound and sensors stand alone, and stand together."""

from itertools import combinations
from pathlib import Path

import pytest

from support.processes import built, heads
from support.processes.program_process import ProgramProcess

LANGUAGES = ("audio", "game", "iot")
SOME = [chosen for count in (1, 2, 3) for chosen in combinations(LANGUAGES, count)]
LOADING = """
(handler-bind ((warning #'muffle-warning))
  (dolist (name '({chosen}))
    (asdf:load-system (format nil "hydramesh/~A" name))))
(dolist (name '("audio" "game" "iot" "head/core"))
  (when (find-package (string-upcase (format nil "hydramesh/~A" name)))
    (format t "~&there is ~A~%" name)))
"""
TOGETHER = """
(defgame chase
  (:players 4)
  (:state (x (real -9 9 0.01))))

(defaudio-stream talk
  (:codec :pcm)
  (:rate 16000))

(defsensor light
  (:range 0 1000)
  (:period 1 :second)
  (:device "lamp" 800)
  (:threshold bright :above 500)
  (:on bright (device value)
    (log-info "too bright" :device device :value value)))
"""


@pytest.mark.parametrize("chosen", SOME, ids="-".join)
def test_each_language_loads_without_the_others(chosen: tuple[str, ...], tmp_path: Path) -> None:
    script = tmp_path / "load.lisp"
    script.write_text(LOADING.format(chosen=" ".join(f'"{name}"' for name in chosen)))
    with built.or_skip("hydramesh"):
        said = built.lisp("lisp", built.libdcf(), "--load", str(script), "--quit")
    there = [line.split()[-1] for line in said.splitlines() if line.startswith("there is")]
    assert tuple(there) == chosen


async def test_one_program_has_a_game_sound_and_sensors(
    hydramesh: heads.Head, tmp_path: Path
) -> None:
    program = tmp_path / "together.lisp"
    program.write_text(TOGETHER)
    settings = {"domain_listen": "127.0.0.1:0", "heads": ""}
    async with ProgramProcess(hydramesh, program, **settings) as process:
        line = await process.says(r"running .*")
        assert all(name in line for name in ("chase", "talk", "light"))
        await process.says(r"too bright .*lamp")
        assert process.stop() == 0, process.log
