"""A test double of the Proxmox VE API, served over HTTPS, with faults."""
