"""How any DsecOS controller runs."""
