"""The kinds of dsecos.io, their conditions, and the generator of their YAML."""
