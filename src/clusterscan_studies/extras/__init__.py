"""Extra pages of single studies, besides the table and the common plots."""
