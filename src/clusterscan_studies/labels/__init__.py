"""Labels: from what experts, volunteers, spectra and catalogues say to the class of each object."""
