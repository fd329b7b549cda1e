"""The real operator, as nobody with its own credentials, against a real API server."""
