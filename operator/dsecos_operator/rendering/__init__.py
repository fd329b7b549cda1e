"""From a catalog template or a compose document to the document that a guest runs."""

from dsecos_operator.rendering.catalog import Entry
from dsecos_operator.rendering.confinement import Confinement
from dsecos_operator.rendering.policy import Policy
from dsecos_operator.rendering.refused import Refused
from dsecos_operator.rendering.renderer import Renderer, Rendering, Request
from dsecos_operator.rendering.worker import Worker

__all__ = ["Confinement", "Entry", "Policy", "Refused", "Renderer", "Rendering", "Request", "Worker"]
