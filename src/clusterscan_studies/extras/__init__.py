"""What single studies show besides the table and the common plots."""
