"""Images of containers: OCI layouts, docker's archives, layers, root file systems of layers."""
