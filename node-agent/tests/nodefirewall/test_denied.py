"""Counters of dropped packets."""

from dsecos_agent.firewall.model import Denied, Direction
from dsecos_agent.nodefirewall.denied import PACKETS, DeniedPackets


def reading(**packets: int) -> dict[tuple[str, Direction], Denied]:
    return {(name, Direction.INGRESS): Denied(count, count * 60) for name, count in packets.items()}


def counted(guest: str) -> float:
    return float(PACKETS.labels(guest, Direction.INGRESS)._value.get())


def test_what_was_dropped_before_us_is_no_news() -> None:
    assert DeniedPackets().seen(reading(early=7)) == []


def test_one_event_a_minute_and_guest() -> None:
    now = 1000.0
    denied = DeniedPackets(lambda: now)
    denied.seen(reading(a=0, b=0))
    assert [guest for guest, _ in denied.seen(reading(a=1, b=0))] == ["a"]
    now += 5
    assert [guest for guest, _ in denied.seen(reading(a=2, b=1))] == ["b"]
    now += 60
    assert [guest for guest, _ in denied.seen(reading(a=3, b=1))] == ["a"]
    assert counted("a") == 3


def test_messages_hold_no_counter() -> None:
    denied = DeniedPackets(lambda: 1000.0)
    denied.seen(reading(c=0))
    ((_, message),) = denied.seen(reading(c=123))
    assert "123" not in message


def test_a_counter_that_began_anew_counts_on() -> None:
    denied = DeniedPackets(lambda: 1000.0)
    denied.seen(reading(d=10))
    denied.seen(reading(d=3))
    assert counted("d") == 3


def test_a_guest_that_is_gone_leaves_no_metric() -> None:
    denied = DeniedPackets(lambda: 1000.0)
    denied.seen(reading(e=0))
    denied.seen(reading(e=1))
    denied.seen({})
    assert not [
        each for metric in PACKETS.collect() for each in metric.samples if each.labels.get("guest") == "e"
    ]
