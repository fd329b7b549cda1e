"""The kernel's memory of connections (conntrack(8))."""

from dsecos_agent.processes import run

SIDES = ("--orig-src", "--orig-dst", "--reply-src", "--reply-dst")


async def forget_connections(address: str) -> None:
    """Forget every connection that has this address at any end."""
    for side in SIDES:
        await run(["conntrack", "-D", side, address], time_limit=10)
