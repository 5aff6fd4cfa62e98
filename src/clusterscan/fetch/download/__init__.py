"""Download many files politely, and keep only files that are complete and correct."""
