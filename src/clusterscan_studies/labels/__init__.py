"""Labels: the class of each object from experts, volunteers, spectra or catalogues."""
