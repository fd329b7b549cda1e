"""Rules of License."""

from __future__ import annotations

from tests.api.objects import ABSENT
from tests.api.rules import Table, below, cel, max_length, minimum, pattern, required
from tests.api.rules.parts import LABEL, SECRET_KEY_REF, STATUS, TIME

ONE_OF = "name exactly one of development: true and keySecretRef"
KEY_REF = {"namespace": "dsecos-system", "name": "license", "key": "token"}

TABLES = (
    Table(
        "License",
        "dsecos",
        {
            "": required("spec"),
            "spec": (
                cel(ONE_OF, [False, ABSENT], [True], field="development"),
                cel("server goes with keySecretRef", [KEY_REF], [ABSENT], field="keySecretRef"),
            ),
            "spec.server": (
                pattern(["https://license.example", ABSENT], ["http://license.example", ""]),
                max_length(253, "https://"),
            ),
            **below("spec.keySecretRef", SECRET_KEY_REF),
            "spec.keySecretRef": required("namespace", "name", "key"),
            "spec.keySecretRef.namespace": LABEL,
            **STATUS,
            "status.maxNodes": (minimum(0),),
            "status.expires": TIME,
        },
    ),
    Table(
        "License",
        "trial",
        {
            "spec": (
                cel(ONE_OF, [{"development": True}, {"keySecretRef": KEY_REF}], [{}, {"development": False}]),
                cel(
                    "server goes with keySecretRef",
                    [{"server": "https://l", "keySecretRef": KEY_REF}],
                    [{"development": True, "server": "https://l"}],
                ),
            ),
        },
    ),
)
