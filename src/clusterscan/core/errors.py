"""Errors a user can fix.

ClusterscanError
├── ConfigError      a setting is wrong
├── SourceError      a survey's source cannot deliver the requested data
├── CatalogueError   a catalogue cannot be read or holds impossible rows
├── ImageError       an image is damaged or does not fit its description
├── ModelError       a network or its weights do not fit
└── ProductError     an earlier stage's product is missing or damaged

Every message says what is wrong, where (file, row, tile), and how to fix it. Any other exception
is a bug and keeps its traceback.
"""


class ClusterscanError(Exception):
    """Base class of all errors that a user can fix."""


class ConfigError(ClusterscanError):
    """A setting is wrong."""


class SourceError(ClusterscanError):
    """A survey's source cannot deliver the requested data."""


class CatalogueError(ClusterscanError):
    """A catalogue cannot be read or holds impossible rows."""


class ImageError(ClusterscanError):
    """An image is damaged or does not fit its description."""


class ModelError(ClusterscanError):
    """A network or its weights do not fit."""


class ProductError(ClusterscanError):
    """An earlier stage's product is missing or damaged."""
