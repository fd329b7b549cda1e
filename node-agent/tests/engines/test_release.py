"""What was taken over is given back when an instance leaves its host."""

from collections.abc import Callable

from dsecos_agent.engines.protocol import Engine
from dsecos_agent.release import release_all

from .foreign import AdoptingLxc, Foreign, wanted


class TestRelease(AdoptingLxc):
    async def test_all_is_given_back_as_it_was_and_goes_on(
        self, engine: Engine, make: Callable[..., Foreign]
    ) -> None:
        running, stopped = make(), make()
        await running.start()
        before = [each.config.read_bytes() for each in (running, stopped)]
        init = running.init()
        await engine.write_config(wanted(running))
        await engine.write_config(wanted(stopped, name="mail"))
        released, failures = await release_all(engine)
        assert (sorted(released), failures) == (sorted([running.name, stopped.name]), [])
        assert [each.config.read_bytes() for each in (running, stopped)] == before
        assert running.init() == init
        assert await release_all(engine) == ([], [])

    async def test_one_that_cannot_be_given_back_is_told_and_keeps_no_other(
        self, engine: Engine, make: Callable[..., Foreign]
    ) -> None:
        whole, damaged = make(), make()
        await engine.write_config(wanted(whole))
        await engine.write_config(wanted(damaged, name="mail"))
        text = damaged.config.read_text("latin-1").replace("adopted: end", "adopted: e n d")
        damaged.config.write_text(text, "latin-1")
        released, failures = await release_all(engine)
        assert released == [whole.name]
        assert [failure.partition(":")[0] for failure in failures] == [damaged.name]
