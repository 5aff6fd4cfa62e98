"""Source `hips`: static HiPS trees of FITS tiles, reprojected to the tiles' images."""
