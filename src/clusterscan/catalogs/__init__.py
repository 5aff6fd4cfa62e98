"""Reference catalogues: read, validated, and written in one form."""
