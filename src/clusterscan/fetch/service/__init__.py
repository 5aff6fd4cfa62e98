"""Sources that are services: images cut to order, kept like any other download."""
