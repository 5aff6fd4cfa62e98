"""What the sources hold now, written down before the workflow looks at its inputs."""
