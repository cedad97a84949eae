"""The stopwatch's own arithmetic, and that there is what the profile takes the time of."""

import threading
from types import SimpleNamespace

from torch import nn

from vit_tickets.pipeline.networks import registry

from .profile import of_generate, of_loader, of_step
from .stopwatch import Place, Stopwatch


class Loop:
    """A loop whose functions move a clock."""

    def __init__(self):
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def read(self):
        for number in range(2):
            self.now += 1
            yield number

    def decode(self, number: int) -> int:
        self.now += 10
        return self.resize(number)

    def resize(self, number: int) -> int:
        self.now += 100
        return number

    def run(self) -> list[int]:
        found = []
        for number in self.read():
            self.now += 1000
            found.append(self.decode(number))
        return found


def test_a_part_has_what_no_part_within_it_has():
    loop = Loop()
    watch = Stopwatch(loop.clock)
    places = [Place("read", loop, "read"), Place("decode", loop, "decode"), Place("resize", loop, "resize")]
    with watch.at(places):
        assert loop.run() == [0, 1]
    assert watch.seconds == {"read": 2, "decode": 20, "resize": 200}
    assert loop.run() == [0, 1]
    assert watch.seconds.total() == 222


def test_a_part_may_follow_from_the_arguments():
    loop = Loop()
    watch = Stopwatch(loop.clock)
    with watch.at([Place(lambda number: f"decode {number}", loop, "decode")]):
        loop.run()
    assert watch.seconds == {"decode 0": 110, "decode 1": 110}


def test_threads_are_in_parts_of_their_own():
    loop = Loop()
    watch = Stopwatch(loop.clock)

    def outer() -> None:
        thread = threading.Thread(target=loop.decode, args=(0,))
        thread.start()
        thread.join()

    holder = SimpleNamespace(outer=outer)
    with watch.at([Place("outer", holder, "outer"), Place("decode", loop, "decode")]):
        holder.outer()
    assert watch.seconds == {"outer": 110, "decode": 110}  # the clock here is one for all threads


def test_what_is_profiled_is_there():
    network = registry.create_model("deit_micro")
    selector = SimpleNamespace(spec=SimpleNamespace(stages=(2, 4)), network=network, normalise=None)
    learner = SimpleNamespace(model=network, optimizer=SimpleNamespace(step=None))
    places = [*of_generate(selector), *of_step(SimpleNamespace(learner=learner)), *of_loader()]
    assert all(hasattr(place.owner, place.name) for place in places)
    before = nn.utils.clip_grad_norm_
    with Stopwatch().at([Place("clip", nn.utils, "clip_grad_norm_")]):
        assert nn.utils.clip_grad_norm_ is not before
    assert nn.utils.clip_grad_norm_ is before
