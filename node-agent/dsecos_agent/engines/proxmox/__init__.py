"""Guests as containers and VMs of Proxmox VE, driven through its API."""
