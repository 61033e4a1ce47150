"""The edges that speak HTTP: Docker's plugin socket, our admin socket, and the CLI's end of it."""
