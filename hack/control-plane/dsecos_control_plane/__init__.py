"""The embedded control plane: make up, make down."""
