"""Stage known: read the reference catalogues and unite them."""
