"""Task errors on the wire and for people."""

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb


def test_an_error_comes_back_from_the_wire_as_it_was() -> None:
    error = TaskError(pb.QUEUE_FULL, "1024 tasks wait", "try again later")
    back = TaskError.from_wire(pb.Error.FromString(error.to_wire(7).SerializeToString()))
    assert (back.code, back.message, back.remedy) == (error.code, error.message, error.remedy)
    assert back.name == "QUEUE_FULL"
    assert str(back) == "1024 tasks wait: try again later"


def test_a_code_of_a_newer_peer_has_a_name_too() -> None:
    error = TaskError.from_wire(pb.Error(code=99, message="from the future"))
    assert error.name == "ERROR_CODE_99"
    assert str(error) == "from the future"
