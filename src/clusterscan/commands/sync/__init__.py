"""List what the sources hold now, before the workflow looks at its inputs."""
