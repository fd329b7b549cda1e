"""`make up`: from a bare machine to a running application. Every step is skipped where its result is there
already.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from dsecos_control_plane import (
    builds,
    configs,
    credentials,
    home,
    images,
    lifecycle,
    objects,
    pki,
    prepare,
    processes,
    venvs,
)
from dsecos_control_plane.files import mirror
from dsecos_control_plane.identity import identity
from dsecos_control_plane.kubectl import Kubectl
from dsecos_control_plane.progress import Steps
from dsecos_control_plane.settings import SOURCE, Settings


@dataclass(frozen=True)
class Options:
    """How far to go.

    `only_control_plane`: etcd, API server and controller manager, and nothing else. `sample` False:
    everything but the sample application.
    """

    only_control_plane: bool = False
    sample: bool = True


class Up:
    """The steps of one `make up`."""

    def __init__(self, settings: Settings, steps: Steps) -> None:
        self._settings = settings
        self._steps = steps
        self._backend = lifecycle.choose_backend(settings)
        self._kubectl = Kubectl(settings)

    def run(self, options: Options) -> None:
        """Do all steps.

        Raises:
            ControlPlaneError: one of them failed; what was done stays, and the next run goes on from there.
        """
        prepare.check_host()
        settings = self._settings
        home.prepare(settings)
        with ThreadPoolExecutor(max_workers=1) as beside:
            images_built: Future[None] | None = None
            if not options.only_control_plane:
                prepare.install_packages(settings, self._steps)
                output = settings.home / "images"
                images_built = beside.submit(prepare.build_images, settings, self._steps, output)
            self._programs()
            self._keys()
            self._control_plane()
            if images_built is None:
                return
            self._install()
            images_built.result()
        images.install_compose(settings)
        self._registry()
        self._operator()
        self._agent()
        self._steps.note(f"Everything runs after {self._steps.elapsed}. {self.administer}")
        if options.sample:
            self._sample()

    @property
    def administer(self) -> str:
        """How to reach the cluster."""
        return f"[bold]export KUBECONFIG={self._settings.kubeconfig} PATH={self._settings.bin}:$PATH[/]"

    def _programs(self) -> None:
        settings = self._settings
        wanted = ("kubectl",) if settings.external_kubeconfig else tuple(builds.PROGRAMS)
        builds.install(prepare.build_programs(settings, self._steps, wanted), settings.bin, wanted)

    def _keys(self) -> None:
        with self._steps.step("Keys and certificates") as say:
            say(", ".join(pki.ensure(self._settings, cluster=not self._settings.external_kubeconfig)))
            configs.write_all(self._settings)

    def _control_plane(self) -> None:
        settings = self._settings
        if settings.external_kubeconfig:
            with self._steps.step("Cluster of KUBECONFIG") as say:
                path = "--output=jsonpath={.clusters[0].cluster.server}"
                say(self._kubectl("config", "view", "--minify", path))
                self._kubectl("get", "--raw=/version")
            return
        with self._steps.step("etcd, API server, controller manager") as say:
            say(_told(lifecycle.start_control_plane(settings, self._backend)))

    def _install(self) -> None:
        with self._steps.step("Kinds of dsecos.io, operator's roles"):
            objects.install(self._kubectl)
            mirror(SOURCE / "manifests" / "catalog", self._settings.home / "catalog")

    def _registry(self) -> None:
        settings = self._settings
        with self._steps.step("Registry") as say:
            lifecycle.start(self._backend, processes.registries(settings))
            images.push(settings, say)

    def _operator(self) -> None:
        settings = self._settings
        with self._steps.step("Operator") as say:
            key = venvs.ensure(settings, "operator")
            user = identity(settings, "operator")
            credentials.ensure(settings, objects.OPERATOR, settings.home / "operator" / "kubeconfig", user)
            say(_told(lifecycle.start(self._backend, [processes.operator(settings, key)])))

    def _agent(self) -> None:
        settings, kubectl = self._settings, self._kubectl
        with self._steps.step(f"Agent of {settings.node_name}") as say:
            key = venvs.ensure(settings, "agent")
            objects.register_node(settings, kubectl)
            kubeconfig = settings.home / "agent" / "kubeconfig"
            credentials.ensure(settings, objects.agent_account(settings), kubeconfig, None)
            started = _told(lifecycle.start(self._backend, [processes.agent(settings, key)]))
            say("waiting for the node to be Ready")
            name = f"nodes.dsecos.io/{settings.node_name}"
            kubectl.wait("condition=Ready", name, timeout=objects.NODE_SECONDS)
            kubectl.apply(objects.development_license())
            say(started)

    def _sample(self) -> None:
        with self._steps.step(f"Sample application in namespace {objects.SAMPLE_NAMESPACE}") as say:
            urls = objects.deploy_sample(self._kubectl, say)
        for url in urls:
            self._steps.note(f"The sample answers at [bold]{url}[/]")
        self._steps.note("Look around: kubectl get dsecos -A. Change it: kubectl edit stack -n demo.")


def _told(started: list[str]) -> str:
    return f"started {', '.join(started)}" if started else ""
