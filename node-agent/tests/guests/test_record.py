"""Records survive the process, and nothing else."""

from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from dsecos_agent.firewall.model import ExposedPort, GuestPolicy, ZonePolicy
from dsecos_agent.guests.record import Fate, Record, Records, Removal, VolumeFate
from dsecos_agent.nodefirewall.render import Forgotten
from dsecos_agent.storage.protocol import VolumeRef
from dsecos_api.types import DeletionPolicy

FULL = Record(
    owner_uid="uid",
    autostart=True,
    prepared=True,
    started=True,
    started_at="2026-11-21T00:00:00Z",
    compose_digest="d1",
    removal=Removal(
        DeletionPolicy.DELETE,
        "default",
        (VolumeFate(VolumeRef("acme", "shop", "pgdata"), "default", DeletionPolicy.RETAIN),),
    ),
    fate=Fate.ORPHANED,
    forgotten=Forgotten(
        ZonePolicy("dtz1", IPv4Interface("10.20.0.1/24")),
        GuestPolicy(
            "shop", "dtg1", "dtz1", "02:00:00:00:00:01", IPv4Address("10.20.0.2"), (ExposedPort(80),)
        ),
    ),
)


def test_another_process_reads_what_was_written(tmp_path: Path) -> None:
    Records(tmp_path).put("shop", FULL)
    assert Records(tmp_path).get("shop") == FULL
    assert (tmp_path / "shop.json").stat().st_mode & 0o777 == 0o600


def test_a_damaged_record_is_as_none(tmp_path: Path) -> None:
    Records(tmp_path).put("shop", FULL)
    (tmp_path / "shop.json").write_text("{")
    assert Records(tmp_path).get("shop") is None


def test_another_owners_record_is_begun_anew(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.put("shop", FULL)
    assert records.update("shop", "other", prepared=True) == Record("other", prepared=True)


def test_dropped_is_gone(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.put("shop", FULL)
    records.drop("shop")
    records.drop("shop")
    assert Records(tmp_path).names() == []
