"""Play schedules, and say what is wrong afterwards."""

import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from dsecos_agent.engines.model import Capabilities

from .child import EngineProcess, Result
from .generate import generate
from .model import Act, Schedule, Tally, Verb
from .world import World

STEP_LIMIT = 60.0
CONVERGE_LIMIT = 120.0
"""Seconds; what takes longer hangs."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A promise that was not kept."""

    schedule: Schedule
    what: tuple[str, ...]


class Player:
    """Plays schedules in one world."""

    def __init__(self, world: World) -> None:
        """The world is as new."""
        self._world = world
        self._capabilities: Capabilities | None = None
        self.tally = Tally()

    def play(self, seed: int) -> Failure | None:
        """One schedule, from nothing to the search afterwards."""
        self._world.reset()
        if self._capabilities is None:
            asked = EngineProcess(self._world)
            self._capabilities = asked.capabilities()
            asked.kill()
        schedule = generate(seed, self._world.vocabulary(self._capabilities))
        try:
            found = self._run(schedule)
        except (TimeoutError, RuntimeError, AssertionError) as error:
            found = [str(error) or traceback.format_exc()]
        self.tally.schedules += 1
        for name, count in self._world.struck().items():
            self.tally.faults[name] = self.tally.faults.get(name, 0) + count
        return Failure(schedule, tuple(found)) if found else None

    def _run(self, schedule: Schedule) -> list[str]:
        engine: EngineProcess | None = None
        found: list[str] = []
        try:
            for number, step in enumerate(schedule.steps, 1):
                self.tally.steps += 1
                starts: Counter[str] = Counter()
                if isinstance(step, Act):
                    engine = engine or EngineProcess(self._world)
                    results, lives = engine.act(step, STEP_LIMIT)
                    engine = engine if lives else None
                    starts.update(call.guest for call in step.calls if call.verb is Verb.START)
                    wrong = self._count(step, results)
                else:
                    wrong = []
                    if self._world.fault(step.name, step.guest, step.number):
                        self.tally.faults[step.name] = self.tally.faults.get(step.name, 0) + 1
                    starts[step.guest] = 1
                wrong += self._world.watch(starts)
                found += [f"step {number}: {what}" for what in wrong]
            self._world.heal()
            engine = engine or EngineProcess(self._world)
            found += self._settle(engine, schedule)
        finally:
            if engine is not None:
                engine.kill()
        return found

    def _settle(self, engine: EngineProcess, schedule: Schedule) -> list[str]:
        """Converge, also after what killed engines had begun has ended."""
        while True:
            self.tally.rounds += engine.converge(schedule.wanted, self._world.rounds, CONVERGE_LIMIT)
            if not self._world.quiet():
                found = self._world.violations(schedule.wanted)
                return (
                    [*found, "\n      ".join(["the controller and the engine:", *engine.story()])]
                    if found
                    else []
                )

    def _count(self, act: Act, results: list[Result] | None) -> list[str]:
        self.tally.calls += len(act.calls)
        if act.kill is not None:
            self.tally.kills += 1
            self.tally.midway += results is None
        elif results is None:
            return ["the engine's process died by itself"]
        wrong = []
        for call, result in zip(act.calls, results or [], strict=bool(results)):
            if result.error:
                self.tally.errors[result.error] = self.tally.errors.get(result.error, 0) + 1
            if result.bug:
                wrong.append(f"{call} raised what no engine may raise\n{result.message}")
        return wrong


def play_all(
    make: Callable[[], World], seeds: Iterable[int], tell: Callable[[Failure], None]
) -> tuple[Tally, float]:
    """Play these seeds in one world; the tally and the seconds that it took."""
    begun = time.monotonic()
    world = make()
    try:
        player = Player(world)
        for seed in seeds:
            failure = player.play(seed)
            if failure is not None:
                tell(failure)
    finally:
        world.close()
    return player.tally, time.monotonic() - begun


def replay(engine: str, seed: int) -> str:
    """The command that plays one schedule again."""
    return f"make schedules ENGINE={engine} SEED={seed} COUNT=1"


CHECKOUT = Path(__file__).resolve().parents[4]
"""Its root; the package is run from there."""
