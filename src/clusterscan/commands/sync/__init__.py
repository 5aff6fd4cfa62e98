"""List the present contents of the sources, before the workflow looks at its inputs."""
