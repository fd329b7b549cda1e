"""Guest templates and OCI images from Debian packages."""
