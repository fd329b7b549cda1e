"""From a seed to a schedule: pure, so that a seed is all that a failure has to print."""

from dataclasses import replace
from random import Random

from dsecos_agent.engines.model import GuestState

from .model import GIB, MIB, Act, Call, Fault, Kill, Schedule, Step, Verb, Vocabulary, Wanted

KILLS = 0.45
FAULTS = 0.3
TOGETHER = 0.3
"""Shares of the steps: acts whose engine is killed, faults, acts of more than one call."""

WEIGHTS = {
    Verb.WRITE: 4,
    Verb.START: 8,
    Verb.STOP: 3,
    Verb.SHUTDOWN: 3,
    Verb.SUSPEND: 2,
    Verb.RESUME: 2,
    Verb.DESTROY: 2,
    Verb.SET_LIMITS: 2,
    Verb.RESIZE: 2,
    Verb.SNAPSHOT: 3,
    Verb.ROLLBACK: 2,
    Verb.REMOVE_SNAPSHOT: 2,
    Verb.MIGRATE: 2,
}

OF_ADOPTED = {Verb.DESTROY: Verb.RELEASE, Verb.MIGRATE: Verb.START}
"""What happens to an adopted guest instead: it outlives us, and is there where it can be adopted again."""

UNABLE = 0.2
"""Of a verb that the engine says it cannot do: asked for all the same, now and then."""


def generate(seed: int, words: Vocabulary) -> Schedule:
    """The schedule of this seed."""
    random = Random(seed)
    names = random.sample(sorted(words.guests), random.randint(1, len(words.guests)))
    wanted = {name: Wanted(words.guests[name], adopts=words.adopts.get(name, "")) for name in names}
    steps: list[Step] = [_first(random, wanted)]
    for _ in range(random.randint(7, 18)):
        if steps and random.random() < FAULTS:
            steps.append(_fault(random, words, wanted))
        else:
            steps.append(_act(random, words, wanted))
    return Schedule(seed, tuple(steps), wanted)


def _first(random: Random, wanted: dict[str, Wanted]) -> Act:
    """Most guests are there from the beginning: what happens to nothing is soon told."""
    calls = []
    for guest, want in wanted.items():
        if random.random() < 0.8:
            wanted[guest] = replace(want, state=GuestState.STOPPED)
            calls.append(Call(guest, Verb.WRITE, wanted[guest]))
    return Act(tuple(calls))


def _fault(random: Random, words: Vocabulary, wanted: dict[str, Wanted]) -> Fault:
    name = random.choices(list(words.faults), list(words.faults.values()))[0]
    guest = random.choice(list(wanted))
    if name in words.moves:
        wanted[guest] = replace(wanted[guest], node=None)
    return Fault(name, guest, random.randrange(1 << 16))


def _act(random: Random, words: Vocabulary, wanted: dict[str, Wanted]) -> Act:
    count = random.choice((2, 2, 3)) if random.random() < TOGETHER else 1
    guests = random.choices(list(wanted), k=1)
    if count > 1:
        # On one guest as often as on several.
        guests = guests * count if random.random() < 0.5 else random.choices(list(wanted), k=count)
    calls = []
    for guest in guests:
        call = _call(random, words, guest, wanted[guest])
        wanted[guest] = call.wanted
        calls.append(call)
    kill = None
    if random.random() < KILLS:
        delay = random.uniform(0, words.kill_delay) if random.random() < 0.4 else 0.0
        kill = Kill(random.randint(1, words.kill_within), delay)
    return Act(tuple(calls), kill)


def _call(random: Random, words: Vocabulary, guest: str, want: Wanted) -> Call:
    if want.state is None and random.random() < 0.8:
        verb = Verb.WRITE
    else:
        weights = [weight if words.can(want.kind, verb) else UNABLE for verb, weight in WEIGHTS.items()]
        verb = random.choices(list(WEIGHTS), weights)[0]
    if want.adopts:
        verb = OF_ADOPTED.get(verb, verb)
    snapshot = random.choice(("first", "second"))
    target = random.choice(words.nodes) if words.nodes else "elsewhere"
    grace = random.choice((0.0, 0.0, 1.0, 5.0))
    able = words.can(want.kind, verb)
    after = _declared(random, verb, want, snapshot, target) if able else want
    return Call(guest, verb, after, snapshot, target, grace)


def _declared(random: Random, verb: Verb, want: Wanted, snapshot: str, target: str) -> Wanted:
    """What is declared once somebody has asked for this."""
    if verb is Verb.WRITE:
        changed = replace(
            want,
            hostname=random.choice(("first", "second", "third")),
            memory=random.choice((64, 96, 128)) * MIB,
        )
        return replace(changed, state=want.state or GuestState.STOPPED)
    if want.state is None:
        return want
    if verb is Verb.RELEASE:
        return Wanted(kind=want.kind, disk=want.disk, adopts=want.adopts)
    if verb is Verb.DESTROY:
        # Who kills the engine before it is gone and asks for it anew, finds a disk that no longer shrinks.
        return Wanted(kind=want.kind, disk=want.disk)
    held = want.state is GuestState.SUSPENDED
    alive = want.state is not GuestState.STOPPED
    match verb:
        case Verb.START:
            return replace(want, state=GuestState.RUNNING)
        case Verb.STOP | Verb.SHUTDOWN:
            return replace(want, state=GuestState.STOPPED)
        case Verb.SUSPEND if alive:
            return replace(want, state=GuestState.SUSPENDED)
        case Verb.RESUME if held:
            return replace(want, state=GuestState.RUNNING)
        case Verb.SET_LIMITS:
            return replace(want, memory=random.choice((64, 96, 128)) * MIB)
        case Verb.RESIZE:
            return replace(want, disk=want.disk + GIB)
        case Verb.SNAPSHOT:
            return replace(want, snapshots=want.snapshots | {snapshot})
        case Verb.ROLLBACK if snapshot in want.snapshots:
            return replace(want, state=GuestState.STOPPED)
        case Verb.REMOVE_SNAPSHOT:
            return replace(want, snapshots=want.snapshots - {snapshot})
        case Verb.MIGRATE:
            return replace(want, node=target)
    return want
