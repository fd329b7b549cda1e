"""Counters of dropped packets."""

from ipaddress import ip_address

from dsecos_agent.firewall.model import Denied, DeniedPeer, Direction
from dsecos_agent.nodefirewall.denied import LOOK_EVERY, PACKETS, DeniedPackets, message


def reading(**packets: int) -> dict[tuple[str, Direction], Denied]:
    return {(name, Direction.INGRESS): Denied(count, count * 60) for name, count in packets.items()}


def counted(guest: str) -> float:
    return float(PACKETS.labels(guest, Direction.INGRESS)._value.get())


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def watched(clock: Clock | None = None) -> DeniedPackets:
    return DeniedPackets(clock or Clock())


def test_what_was_dropped_before_us_is_no_news() -> None:
    denied = watched()
    denied.seen(reading(early=7))
    assert not denied.look()


def test_one_event_a_minute_and_guest() -> None:
    clock = Clock()
    denied = watched(clock)

    def told(**packets: int) -> list[str]:
        denied.seen(reading(**packets))
        return [*denied.looked(())]

    told(a=0, b=0)
    assert told(a=1, b=0) == ["a"]
    clock.now += LOOK_EVERY
    assert told(a=2, b=1) == ["b"]
    clock.now += LOOK_EVERY
    assert told(a=3, b=1) == ["a"]
    assert counted("a") == 3


def test_peers_are_looked_at_when_something_was_dropped_and_until_they_are_forgotten() -> None:
    clock = Clock()
    denied = watched(clock)
    denied.seen(reading(g=0))
    assert not denied.look(), "an idle node lists nothing"
    denied.seen(reading(g=1))
    assert denied.look()
    denied.looked([peer("192.0.2.9", 1, Direction.INGRESS)])
    assert not denied.look()
    clock.now += LOOK_EVERY
    assert denied.look(), "the kernel may have forgotten what is told"
    denied.looked([])
    clock.now += LOOK_EVERY
    assert not denied.look(), "there is nothing to be forgotten"


def test_however_much_is_dropped_peers_are_looked_at_seldom() -> None:
    clock = Clock()
    denied = watched(clock)
    denied.seen(reading(h=0))
    looks = 0
    for number in range(1, 13):
        denied.seen(reading(h=number * 10_000))
        if denied.look():
            looks += 1
            denied.looked([peer("192.0.2.9", number, Direction.INGRESS)])
        clock.now += LOOK_EVERY / 6
    assert looks == 2


def test_an_event_waits_for_the_look_that_names_its_peers() -> None:
    clock = Clock()
    denied = watched(clock)
    denied.seen(reading(c=0, f=0))
    denied.seen(reading(c=0, f=1))
    denied.looked([])
    denied.seen(reading(c=1, f=1))
    assert not denied.look()
    clock.now += LOOK_EVERY
    assert denied.look()
    found = [peer("192.0.2.9", 1, Direction.INGRESS)]
    assert denied.looked(found) == {"c": message([Direction.INGRESS], found)}


def peer(address: str, packets: int, direction: Direction, port: int | None = 22) -> DeniedPeer:
    protocol = "tcp" if port else "icmp"
    return DeniedPeer("c", direction, ip_address(address), protocol, port, packets)


def test_a_message_names_who_it_was_and_holds_no_counter() -> None:
    peers = [
        peer("192.0.2.9", 1, Direction.INGRESS),
        peer("10.21.0.5", 123, Direction.INGRESS),
        peer("2001:db8::1", 12, Direction.EGRESS, 443),
        peer("192.0.2.1", 11, Direction.EGRESS, None),
    ]
    assert message([Direction.INGRESS], peers) == (
        "packets to it (TCP port 22 from 10.21.0.5, TCP port 22 from 192.0.2.9) were dropped: "
        "nobody exposed their port to their sender"
    )
    assert message([Direction.EGRESS], peers) == (
        "packets from it (TCP port 443 of 2001:db8::1, ICMP of 192.0.2.1) were dropped: "
        "its zone does not let them out"
    )


def test_of_many_the_busiest_are_named() -> None:
    peers = [peer(f"192.0.2.{number}", number, Direction.INGRESS) for number in range(1, 100)]
    text = message([Direction.INGRESS, Direction.SPOOFED], peers)
    assert [word for word in text.split() if word.startswith("192.")] == [
        "192.0.2.99,",
        "192.0.2.98,",
        "192.0.2.97)",
    ]
    assert text.endswith("packets from it were dropped: they bore an address that is not its own")


def test_a_counter_that_began_anew_counts_on() -> None:
    denied = watched()
    denied.seen(reading(d=10))
    denied.seen(reading(d=3))
    assert counted("d") == 3


def test_a_guest_that_is_gone_leaves_no_metric() -> None:
    denied = watched()
    denied.seen(reading(e=0))
    denied.seen(reading(e=1))
    denied.seen({})
    assert not [
        each for metric in PACKETS.collect() for each in metric.samples if each.labels.get("guest") == "e"
    ]
