"""Random schedules of operations, kills and faults, which any engine has to survive.

A schedule comes from a seed alone. It is played against a world (`lxc`, `proxmox`), through an engine in a
process of its own that is killed now and then. Afterwards a plain controller makes what is declared so, and
the world is searched, without the engine's help, for anything that should not be there.

    python -m node-agent.tests.engines.schedules --engine lxc --seed 17 --count 1
"""
