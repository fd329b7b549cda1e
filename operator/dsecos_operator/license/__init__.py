"""Whether new deployments may be made."""
