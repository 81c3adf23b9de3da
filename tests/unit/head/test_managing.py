"""A task that manages a model goes to the worker that it names, and to no other."""

from daiic.wire import daiic_pb2 as pb

GIB = 1 << 30
DELETE = pb.ManageTask(action=pb.ManageTask.DELETE)


def model(name="m", **fields):
    return pb.ModelStatus(name=name, kind=pb.TEXT, state=pb.AVAILABLE, **fields)


def test_it_goes_to_the_worker_that_it_names_though_that_cannot_hold_the_model(cluster):
    cluster.worker("a", [model()])
    small = cluster.worker("b", [model(needs=10 * GIB)], ram=pb.Memory(total=GIB, free=GIB))
    client = cluster.client()
    client.ask("m", worker_id="b", manage=DELETE)
    assert small.task().manage == DELETE
    assert not client.errors()


def test_without_a_worker_it_is_refused(cluster):
    worker = cluster.worker("a", [model()])
    client = cluster.client()
    client.ask("m", manage=DELETE)
    error = client.error()
    assert error.code == pb.BAD_REQUEST and "worker_id" in error.remedy
    assert not worker.tasks()


def test_nobody_downloads_a_model_for_it(cluster):
    worker = cluster.worker("a", [], can_download=True)
    client = cluster.client()
    client.ask("owner/name", worker_id="a", manage=DELETE)
    assert client.errors() and not worker.tasks()
