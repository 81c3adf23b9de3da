"""A text answer on the terminal while it is made, even if another model starts it over."""

from rich.text import Text

from daiic.cli.exits import err, out, write, write_dimmed
from daiic.model_identity import differences
from daiic.shown import shown
from daiic.wire import daiic_pb2 as pb


class AnswerPrinter:
    """Prints an answer part by part; `text` is the answer so far.

    On a terminal, what the model thinks before goes ahead of it, dimmed.
    """

    def __init__(self) -> None:
        self.text = ""
        self._thinking = False
        self._model = pb.ModelIdentity()

    def add(self, part: pb.Result) -> None:
        """Print what `part` adds, or say that what was printed so far is void."""
        if part.started_over:
            if self.text or self._thinking:
                out.print()
            err.print(f"[yellow]the answer starts over:[/] {self._why(part.model)}")
            self.text = ""
            self._thinking = False
        if part.model_name:
            err.print(Text.assemble(("another model answers: ", "yellow"), shown(part.model_name)))
        if part.HasField("model"):
            self._model = part.model
        if part.reasoning:
            self._thinking = True
            write_dimmed(part.reasoning)
        if part.text and self._thinking:
            self._thinking = False
            write_dimmed("\n\n")
        self.text += part.text
        write(part.text)

    def _why(self, model: pb.ModelIdentity) -> str:
        differing = differences(self._model, model)
        if not differing:
            return "another model took over"
        return f"another model took over, with other {' and '.join(differing)}"
