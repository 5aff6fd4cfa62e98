"""Source `local`: a folder of FITS images, coadded on each tile."""
