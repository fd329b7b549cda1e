"""The dsecos command."""
