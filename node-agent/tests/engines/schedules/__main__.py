"""Play schedules side by side: `python -m node-agent.tests.engines.schedules --help`."""

import argparse
import fcntl
import sys
import tempfile
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from . import lxc
from .lxc import LxcWorld
from .model import Tally
from .play import Failure, play_all, replay
from .proxmox import ProxmoxWorld
from .world import World

LOCK = Path("/tmp/dsecos-schedules.lock")
WORKERS = {"lxc": 4, "proxmox": 5}


def _world(engine: str, number: int) -> World:
    home = Path(tempfile.mkdtemp(prefix=lxc.HOME, dir="/tmp"))
    return LxcWorld(home, number) if engine == "lxc" else ProxmoxWorld(home, number)


def _work(engine: str, number: int, workers: int, first: int, count: int, out: Connection) -> None:
    seeds = range(first + number, first + count, workers)

    def tell(failure: Failure) -> None:
        print(_told(engine, failure), flush=True)
        out.send(failure.schedule.seed)

    tally, _ = play_all(lambda: _world(engine, number), seeds, tell)
    out.send(tally)


def _told(engine: str, failure: Failure) -> str:
    lines = "\n".join(f"  - {what}" for what in failure.what)
    seed = failure.schedule.seed
    return f"\n{engine}, seed {seed}: {replay(engine, seed)}\n{failure.schedule}\n{lines}"


def main() -> int:
    """Play, print, and say by the exit code whether all promises were kept."""
    parser = argparse.ArgumentParser(description="Random schedules of operations, kills and faults.")
    parser.add_argument("--engine", choices=sorted(WORKERS), default="lxc")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=200, help="how many, each with the seed after the last")
    parser.add_argument("--workers", type=int, default=0, help="worlds side by side")
    options = parser.parse_args()
    workers = min(options.workers or WORKERS[options.engine], options.count)
    begun = time.monotonic()
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lxc.sweep(Path("/tmp"))
        tally, failed, broken = _side_by_side(options.engine, workers, options.seed, options.count)
    _report(options.engine, tally, time.monotonic() - begun)
    for seed in failed:
        print(f"FAILED: {replay(options.engine, seed)}")
    return 1 if failed or broken else 0


def _side_by_side(engine: str, workers: int, first: int, count: int) -> tuple[Tally, list[int], bool]:
    context = get_context("fork")
    begun = []
    for number in range(workers):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(engine, number, workers, first, count, theirs))
        process.start()
        theirs.close()
        begun.append((process, ours))
    total, failed = Tally(), []
    for process, ours in begun:
        while True:
            try:
                told = ours.recv()
            except EOFError:
                break
            if isinstance(told, Tally):
                total.add(told)
            else:
                failed.append(told)
        process.join()
    return total, sorted(failed), any(process.exitcode for process, _ in begun)


def _report(engine: str, tally: Tally, seconds: float) -> None:
    def told(counts: dict[str, int]) -> str:
        return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"

    print(
        f"{engine}: {tally.schedules} schedules, {tally.steps} steps, {tally.calls} calls, "
        f"{tally.kills} kills ({tally.midway} midway), {sum(tally.faults.values())} faults, "
        f"{tally.rounds} rounds of the controller, {seconds:.0f} s"
    )
    print(f"  faults: {told(tally.faults)}")
    print(f"  errors: {told(tally.errors)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
