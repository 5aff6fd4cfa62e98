"""Physics that simulations and real data share: cosmology, pressure profile, SZ spectrum, PSFs."""
