"""`make down` and `make clean`: the host as it was before, whatever state things are in."""

from dsecos_control_plane import home, host, lifecycle, restore
from dsecos_control_plane.progress import Steps
from dsecos_control_plane.settings import Settings

CONTROLLERS = ("agent", "operator")
"""Stopped first: they would undo what is done next."""


def down(settings: Settings, steps: Steps) -> None:
    """Stop everything of this instance and take it from the host; data in the home stays.

    Raises:
        ControlPlaneError: something could not be removed; the next run goes on from there.
    """
    if not (settings.home / home.MARKER).exists():
        steps.note(f"{settings.home} holds no instance: nothing to stop")
        return
    backend = lifecycle.choose_backend(settings)
    with steps.step("Agent and operator"):
        backend.remove(CONTROLLERS)
    with steps.step("Guests, name servers, links, firewall, mounts") as say:
        removed = host.release(settings)
        say(", ".join(f"{len(names)} {what}" for what, names in removed.items() if names))
    with steps.step("Registry and control plane"):
        backend.close()
    with steps.step("Settings of the host"):
        restore.sysctls(settings)
        restore.subordinate_ids(settings)


def clean(settings: Settings, steps: Steps) -> None:
    """Do what `down` does and remove all data.

    Raises:
        ControlPlaneError: something could not be removed or given back, or the home is not ours.
    """
    down(settings, steps)
    with steps.step("Containers that were taken over") as say:
        say(f"{len(host.give_back(settings))} given back")
    with steps.step(f"Data in {settings.home}"):
        home.remove(settings)
