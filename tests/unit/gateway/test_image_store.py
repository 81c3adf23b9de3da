"""Images are kept for a while and within a bound."""

from daiic.gateway.openai.image_store import ImageStore


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_image_can_be_fetched_until_it_expires() -> None:
    clock = Clock()
    store = ImageStore(60, 1000, clock)
    name = store.put(b"png", "png")
    clock.now = 59
    assert store.get(name) == b"png"
    clock.now = 60
    assert store.get(name) is None


def test_the_oldest_image_makes_room() -> None:
    store = ImageStore(60, 1000, Clock())
    names = [store.put(b"x" * 400, "webp") for _ in range(3)]
    assert [store.get(name) is not None for name in names] == [False, True, True]


def test_one_image_larger_than_the_bound_is_still_served() -> None:
    store = ImageStore(60, 10, Clock())
    assert store.get(store.put(b"x" * 400, "webp")) is not None


def test_names_cannot_be_guessed() -> None:
    store = ImageStore(60, 1000, Clock())
    names = {store.put(b"x", "jpeg") for _ in range(50)}
    assert len(names) == 50 and min(map(len, names)) >= 32
