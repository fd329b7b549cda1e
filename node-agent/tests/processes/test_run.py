"""Running a program to its end, whatever it does."""

import asyncio
from pathlib import Path

import psutil
import pytest
from dsecos_agent.processes import ToolFailedError, ToolMissingError, ToolTimeoutError, check, run
from dsecos_agent.processes.files import write_atomically

from tests.patience import async_until


async def test_output_and_exit_code() -> None:
    result = await run(["sh", "-c", "echo out; echo err >&2; exit 3"], time_limit=10)
    assert (result.exit_code, result.stdout, result.stderr, result.truncated) == (
        3,
        b"out\n",
        b"err\n",
        False,
    )


async def test_a_signal_is_told_as_a_shell_does() -> None:
    assert (await run(["sh", "-c", "kill -9 $$"], time_limit=10)).exit_code == 137


async def test_the_end_of_too_much_output_is_kept() -> None:
    result = await run(["sh", "-c", "head -c 5000000 /dev/zero; echo end"], time_limit=30, output_limit=100)
    assert result.truncated
    assert len(result.stdout) == 100
    assert result.stdout.endswith(b"end\n")


async def test_input_of_any_size_read_or_not() -> None:
    data = b"x" * 3_000_000
    assert (await run(["wc", "-c"], stdin=data, time_limit=30)).text().strip() == "3000000"
    assert (await run(["true"], stdin=data, time_limit=30)).exit_code == 0


async def test_out_of_time_everything_of_it_is_killed(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with pytest.raises(ToolTimeoutError):
        await run(["sh", "-c", f"sleep 1000 & echo $! > {note}; wait"], time_limit=0.5)
    assert await gone(int(await asyncio.to_thread(note.read_text)))


async def test_whoever_is_cancelled_leaves_nothing_behind(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    task = asyncio.create_task(run(["sh", "-c", f"echo $$ > {note}; exec sleep 1000"], time_limit=100))
    assert await async_until(lambda: note.exists() and note.stat().st_size > 0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await gone(int(await asyncio.to_thread(note.read_text)))


async def test_a_daemon_that_keeps_the_pipes_does_not_keep_us() -> None:
    result = await run(["sh", "-c", "setsid sleep 60 & echo $!"], time_limit=50)
    daemon = int(result.stdout)
    assert psutil.pid_exists(daemon)
    psutil.Process(daemon).kill()


async def test_no_descriptor_is_left_open() -> None:
    await run(["true"], stdin=b"x", time_limit=10)
    before = open_descriptors()
    for _ in range(20):
        await run(["sh", "-c", "sleep 5 & true"], stdin=b"x", time_limit=10)
    await asyncio.sleep(0.05)
    assert open_descriptors() <= before


async def test_the_environment_is_what_is_given() -> None:
    result = await run(["/usr/bin/env"], env={"ONLY": "this"}, time_limit=10)
    assert result.text() == "ONLY=this\n"


async def test_errors() -> None:
    with pytest.raises(ToolMissingError):
        await run(["/no/such/tool"], time_limit=1)
    with pytest.raises(ToolFailedError, match="sh failed with exit code 4: why"):
        await check(["sh", "-c", "echo why >&2; exit 4"], time_limit=10)


async def gone(pid: int) -> bool:
    return await async_until(lambda: not Path(f"/proc/{pid}").exists())


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_atomically(target, "one")
    with target.open() as reader:
        write_atomically(target, "two", mode=0o644)
        assert reader.read() == "one"
    assert target.read_text() == "two"
    assert target.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
