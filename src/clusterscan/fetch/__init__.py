"""Get a survey's images: sources list their objects and write raw tile images."""
