"""What liblxc's log says of a start that failed. Pure.

A line is `<tool> <name> <time> <priority> <part> - <file>:<function>:<line> - [<errno's text> - ]<words>`
(lxc_log, log.c). The first error is the cause, those after it are its consequences.
"""

import re

ERROR = re.compile(r" ERROR +\S+ - \S+ - (.+)$", re.MULTILINE)
RANDOM = re.compile(r"\"?\bveth[A-Za-z0-9]{6}\b\"?")
"""liblxc's name for a link that has none; a condition must not change with each try."""
MOST = 200
"""Characters."""


def cause(log: str) -> str:
    """The words of the first error; empty if there is none."""
    found = ERROR.search(log)
    if found is None:
        return ""
    words = "".join(character for character in found[1] if character.isprintable())
    return RANDOM.sub("its link", words)[:MOST]
