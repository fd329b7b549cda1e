"""Running the host's tools: bounded output, a time limit, no shell, nothing left behind."""
